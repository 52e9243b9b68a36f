package main

import (
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/fsnotify/fsnotify"
)

// pollInterval is how often files are looked at where no event tells of a
// change: on network file systems, and in directories that came later.
const pollInterval = 30 * time.Second

// watcher tells when one of some files may have changed: written in place,
// replaced by a rename, or reached through a symbolic link that changed. It
// watches their directories, since a watch on a file ends when the file is
// replaced, and looks at the files themselves from time to time. It belongs to
// one goroutine.
type watcher struct {
	poll time.Duration
	// notify is nil where the kernel gives no events.
	notify *fsnotify.Watcher
	events <-chan fsnotify.Event
	errors <-chan error
	// prints is what each file looked like before it was read.
	prints map[string]fingerprint
	// inForce is what each file looked like when it was put in force.
	inForce map[string]fingerprint
	// renamed are the files that came into their places as they are, since they
	// were noted.
	renamed map[string]bool
	// written is a file that an event says was written. Its print may still be
	// the same: the kernel's clock is coarse.
	written string
	// retry: the last reading failed, so every poll is a reason for another.
	retry bool
}

// retrying is the reason for another attempt although no file has changed.
const retrying = "trying again after a failure"

// fingerprint tells a changed file from the one noted; info is nil where there is no file.
type fingerprint struct {
	info fs.FileInfo
}

func takePrint(name string) fingerprint {
	info, err := os.Stat(name)
	if err != nil {
		return fingerprint{}
	}
	return fingerprint{info: info}
}

func (p fingerprint) same(q fingerprint) bool {
	if p.info == nil || q.info == nil {
		return p.info == nil && q.info == nil
	}
	return os.SameFile(p.info, q.info) && p.info.Size() == q.info.Size() &&
		p.info.ModTime().Equal(q.info.ModTime()) && p.info.Mode() == q.info.Mode() &&
		changeTime(p.info) == changeTime(q.info)
}

func newWatcher(poll time.Duration) *watcher {
	w := &watcher{poll: poll, prints: make(map[string]fingerprint), renamed: make(map[string]bool)}
	// Without events the files are still polled.
	if notify, err := fsnotify.NewWatcher(); err == nil {
		w.notify, w.events, w.errors = notify, notify.Events, notify.Errors
	}
	return w
}

func (w *watcher) close() error {
	if w.notify == nil {
		return nil
	}
	return w.notify.Close()
}

// refresh notes what the files look like now.
func (w *watcher) refresh() {
	w.written = ""
	clear(w.renamed)
	for name := range w.prints {
		w.prints[name] = takePrint(name)
	}
}

// add watches more files, whether they exist or not.
func (w *watcher) add(names ...string) {
	for _, name := range names {
		name = absolute(name)
		if _, known := w.prints[name]; !known {
			w.watchDirectories(name)
			w.prints[name] = takePrint(name)
		}
	}
}

// keep forgets all other files.
func (w *watcher) keep(names ...string) {
	wanted := make(map[string]bool)
	directories := make(map[string]bool)
	for _, name := range names {
		name = absolute(name)
		wanted[name] = true
		for _, d := range directoriesOf(name) {
			directories[d] = true
		}
	}
	for name := range w.prints {
		if !wanted[name] {
			delete(w.prints, name)
		}
	}
	if w.notify == nil {
		return
	}
	for _, d := range w.notify.WatchList() {
		if !directories[d] {
			// It fails only if the directory is gone, and with it the watch.
			_ = w.notify.Remove(d)
		}
	}
}

// watchDirectories asks for events about a file. Directories that do not exist
// (yet) are left to polling.
func (w *watcher) watchDirectories(name string) {
	if w.notify == nil {
		return
	}
	for _, d := range directoriesOf(name) {
		if !slices.Contains(w.notify.WatchList(), d) {
			_ = w.notify.Add(d)
		}
	}
}

// directoriesOf lists the directory that holds a file's name, and the one that
// holds the file if that name is a symbolic link.
func directoriesOf(name string) []string {
	directories := []string{filepath.Dir(name)}
	if target, err := filepath.EvalSymlinks(name); err == nil && filepath.Dir(target) != directories[0] {
		directories = append(directories, filepath.Dir(target))
	}
	return directories
}

func absolute(name string) string {
	full, err := filepath.Abs(name)
	if err != nil {
		return name
	}
	return full
}

// changed names a file that is not as it was noted, empty if there is none.
func (w *watcher) changed() string {
	if w.written != "" {
		return w.written
	}
	for name, noted := range w.prints {
		if !takePrint(name).same(noted) {
			return name
		}
	}
	return ""
}

// hangup is the reason for a reload that an administrator has asked for.
const hangup = "SIGHUP"

// wakeup is why next returned.
type wakeup struct {
	// reason is why the files are to be read again.
	reason string
	// unfinished is set instead where they are not to be: a file that may be half
	// written has been waited for in vain.
	unfinished string
}

// next waits for a reason to read the files again and says what it is. It is not
// ok when ctx ends.
func (w *watcher) next(ctx context.Context, hangups <-chan os.Signal) (why wakeup, ok bool) {
	poll := time.NewTicker(w.poll)
	defer poll.Stop()
	look := time.NewTimer(time.Hour)
	look.Stop()
	defer look.Stop()
	var s settling
	wait := func() {
		if s.unfinished == "" {
			look.Reset(s.pause(time.Now()))
		}
	}
	for {
		select {
		case <-ctx.Done():
			return wakeup{}, false
		case <-hangups:
			return wakeup{reason: hangup}, true
		case e := <-w.events:
			w.event(e)
			wait()
		case <-w.errors:
			// Events were lost: the files themselves tell.
			clear(w.renamed)
			wait()
		case now := <-look.C:
			switch s.look(now, w) {
			case lookAgain:
				look.Reset(settleTime)
			case gaveUp:
				return wakeup{unfinished: s.unfinished}, true
			case settled:
				s = settling{}
				if name := w.changed(); name != "" {
					return wakeup{reason: name + " changed"}, true
				}
			}
		case <-poll.C:
			for name := range w.prints {
				w.watchDirectories(name)
			}
			switch {
			case !s.first.IsZero():
			case w.changed() != "":
				wait()
			case w.retry:
				return wakeup{reason: retrying}, true
			}
		}
	}
}

// event notes what an event says about a file.
func (w *watcher) event(e fsnotify.Event) {
	if _, ours := w.prints[e.Name]; !ours || e.Has(fsnotify.Chmod) {
		return
	}
	w.written = e.Name
	// A file that a program creates in its place is written afterwards, one that
	// is renamed into it is not.
	w.renamed[e.Name] = e.Has(fsnotify.Create)
}
