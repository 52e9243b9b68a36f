package watch

import (
	"maps"
	"slices"
	"time"
)

const (
	// settleTime is how long files must be left alone after a change before they
	// are read, so that they are read whole; settleLimit is how long one that is
	// never left alone is waited for.
	settleTime  = 200 * time.Millisecond
	settleLimit = 2 * time.Second
	// wholeTime is enough if nothing but renames put files into their places: those
	// are whole, and it only has to show that no program goes on to write.
	wholeTime = 50 * time.Millisecond
	// A file that is smaller than the one in force may be half written: a policy
	// with half its entries refuses for good what it should relay. So it must be
	// left alone for unfinishedTime, and is waited for until UnfinishedLimit.
	unfinishedTime = time.Second
)

// UnfinishedLimit is how long a file that may be half written is waited for.
const UnfinishedLimit = time.Minute

// settling is what is known of files since one of them began to change. Its zero
// value: none has.
type settling struct {
	first time.Time
	// unfinished is a file that may be half written. From then on time is counted
	// from quiet, when the files were first seen as they are in seen.
	unfinished string
	quiet      time.Time
	seen       fingerprints
}

// pause is how long to wait after a change before the files are looked at. whole: all
// files that have changed came into their places by a rename.
func (s *settling) pause(now time.Time, whole bool) time.Duration {
	if s.first.IsZero() {
		s.first = now
	}
	pause := settleTime
	if whole {
		pause = wholeTime
	}
	return max(0, min(pause, settleLimit-now.Sub(s.first)))
}

// state is what a look at the files has come to.
type state int

const (
	lookAgain state = iota // after settleTime
	settled                // the files can be read, if one has changed
	gaveUp                 // one has been half written for too long
)

// look says whether the files that w watches can be read at that time.
func (s *settling) look(now time.Time, w *Watcher) state {
	if s.unfinished == "" {
		if s.unfinished = w.unfinished(); s.unfinished == "" {
			return settled
		}
		s.quiet, s.seen = now, w.prints.now()
	}
	if seen := w.prints.now(); !seen.same(s.seen) {
		s.quiet, s.seen = now, seen
	}
	switch {
	case now.Sub(s.quiet) >= unfinishedTime:
		return settled
	case now.Sub(s.first) >= UnfinishedLimit:
		return gaveUp
	}
	return lookAgain
}

// whole reports whether files came into their places by renames, and none has changed
// in another way.
func (w *Watcher) whole() bool {
	return len(w.renamed) > 0 && !slices.Contains(slices.Collect(maps.Values(w.renamed)), false)
}

// unfinished names a file that has changed and is smaller than the one in force,
// unless it came into its place by a rename: that is whole.
func (w *Watcher) unfinished() string {
	for name, old := range w.inForce {
		now := takePrint(name)
		switch {
		case old.info == nil || now.info == nil || now.info.Size() >= old.info.Size():
		case now.same(w.prints[name]): // it was read, and found wanting
		case w.renamed[name] && now.info.Size() > 0:
		default:
			return name
		}
	}
	return ""
}
