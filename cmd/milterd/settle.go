package main

import (
	"maps"
	"time"
)

const (
	// settleTime is how long files must be left alone after a change before they
	// are read, so that they are read whole; settleLimit is how long one that is
	// never left alone is waited for.
	settleTime  = 200 * time.Millisecond
	settleLimit = 2 * time.Second
	// A file that is smaller than the one in force may be half written: a policy
	// with half its entries refuses for good what it should relay. So it must be
	// left alone for unfinishedTime, and is waited for until unfinishedLimit.
	unfinishedTime  = time.Second
	unfinishedLimit = time.Minute
)

// settling is what is known of files since one of them began to change. Its zero
// value: none has.
type settling struct {
	first time.Time
	// unfinished is a file that may be half written. From then on time is counted
	// from quiet, when the files were first seen as they are in seen.
	unfinished string
	quiet      time.Time
	seen       map[string]fingerprint
}

// pause is how long to wait after a change before the files are looked at.
func (s *settling) pause(now time.Time) time.Duration {
	if s.first.IsZero() {
		s.first = now
	}
	return max(0, min(settleTime, settleLimit-now.Sub(s.first)))
}

// sight is what a look at the files has come to.
type sight int

const (
	lookAgain sight = iota // after settleTime
	settled                // the files can be read, if one has changed
	gaveUp                 // one has been half written for too long
)

// look says whether the files that w watches can be read at that time.
func (s *settling) look(now time.Time, w *watcher) sight {
	if s.unfinished == "" {
		if s.unfinished = w.unfinished(); s.unfinished == "" {
			return settled
		}
		s.quiet, s.seen = now, w.look()
	}
	if seen := w.look(); !maps.EqualFunc(seen, s.seen, fingerprint.same) {
		s.quiet, s.seen = now, seen
	}
	switch {
	case now.Sub(s.quiet) >= unfinishedTime:
		return settled
	case now.Sub(s.first) >= unfinishedLimit:
		return gaveUp
	}
	return lookAgain
}

// look is what the files look like now.
func (w *watcher) look() map[string]fingerprint {
	prints := make(map[string]fingerprint, len(w.prints))
	for name := range w.prints {
		prints[name] = takePrint(name)
	}
	return prints
}

// unfinished names a file that has changed and is smaller than the one in force,
// unless it came into its place by a rename: that is whole.
func (w *watcher) unfinished() string {
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

// loaded notes that the files are in force as they were last noted.
func (w *watcher) loaded() { w.inForce = maps.Clone(w.prints) }
