// Package watch tells when the files of a configuration have changed and can be read:
// written in place, replaced by a rename, or reached through a symbolic link that
// changed. Files are read once they are left alone; one that became smaller may be half
// written and is given more time.
package watch

import (
	"context"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"github.com/fsnotify/fsnotify"
)

// Reasons to read the files again beside a change of one of them.
const (
	// Hangup: an administrator asks for it.
	Hangup = "SIGHUP"
	// Retrying: the last reading failed, and perhaps for another reason than its files.
	Retrying = "trying again after a failure"
)

// Watcher watches the directories of files, since a watch on a file ends when the file
// is replaced, and looks at the files themselves from time to time: on network file
// systems, and in directories that came later, no event tells of a change. It belongs to
// one goroutine.
type Watcher struct {
	poll   time.Duration
	notify *fsnotify.Watcher // nil if the kernel gives no events
	events <-chan fsnotify.Event
	errors <-chan error
	// prints and inForce are what each file looked like before it was read, and when it was
	// put in force.
	prints, inForce fingerprints
	// renamed are the files that came into their places as they are, since they
	// were noted.
	renamed map[string]bool
	// written is a file that an event says was written. Its print may still be
	// the same: the kernel's clock is coarse.
	written string
	// failed: the last reading was not put in force, so every poll is a reason for
	// another.
	failed bool
}

// New makes a watcher of no files, which looks at them as often as poll says.
func New(poll time.Duration) *Watcher {
	w := &Watcher{poll: poll, prints: make(fingerprints), renamed: make(map[string]bool)}
	// Without events the files are still polled.
	if notify, err := fsnotify.NewWatcher(); err == nil {
		w.notify, w.events, w.errors = notify, notify.Events, notify.Errors
	}
	return w
}

func (w *Watcher) Close() error {
	if w.notify == nil {
		return nil
	}
	return w.notify.Close()
}

// Refresh notes what the files look like before they are read: what changes meanwhile
// shows as a change afterwards.
func (w *Watcher) Refresh() {
	w.written = ""
	clear(w.renamed)
	w.prints = w.prints.now()
}

// Add watches more files, whether they exist or not.
func (w *Watcher) Add(names ...string) {
	for _, name := range names {
		name = absolute(name)
		if _, known := w.prints[name]; !known {
			w.watchDirectories(name)
			w.prints[name] = takePrint(name)
		}
	}
}

// InForce notes that these files are in force as they were last noted, and forgets all
// others.
func (w *Watcher) InForce(names ...string) {
	w.failed = false
	var wanted, directories []string
	for _, name := range names {
		wanted = append(wanted, absolute(name))
		directories = append(directories, directoriesOf(absolute(name))...)
	}
	maps.DeleteFunc(w.prints, func(name string, _ fingerprint) bool { return !slices.Contains(wanted, name) })
	w.inForce = maps.Clone(w.prints)
	if w.notify == nil {
		return
	}
	for _, d := range w.notify.WatchList() {
		if !slices.Contains(directories, d) {
			// It fails only if the directory is gone, and with it the watch.
			_ = w.notify.Remove(d)
		}
	}
}

// Failed notes that the files could not be put in force.
func (w *Watcher) Failed() { w.failed = true }

// watchDirectories asks for events about a file. Directories that do not exist
// (yet) are left to polling.
func (w *Watcher) watchDirectories(name string) {
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
func (w *Watcher) changed() string {
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

// Wakeup is why Next returned.
type Wakeup struct {
	Reason string // why the files are to be read again
	// Unfinished is set instead if they are not to be: this file may be half written
	// and has been waited for in vain.
	Unfinished string
}

// Next waits for a reason to read the files again and says what it is. It is not
// ok when ctx ends.
func (w *Watcher) Next(ctx context.Context, hangups <-chan os.Signal) (why Wakeup, ok bool) {
	poll := time.NewTicker(w.poll)
	defer poll.Stop()
	look := time.NewTimer(time.Hour)
	look.Stop()
	defer look.Stop()
	var s settling
	wait := func() {
		if s.unfinished == "" {
			look.Reset(s.pause(time.Now(), w.whole()))
		}
	}
	for {
		select {
		case <-ctx.Done():
			return Wakeup{}, false
		case <-hangups:
			return Wakeup{Reason: Hangup}, true
		case e := <-w.events:
			// What others write beside a file puts off no look at it. It may be the swap of
			// a link that leads to one.
			if w.event(e) || s.first.IsZero() {
				wait()
			}
		case <-w.errors:
			// Events were lost: the files themselves tell.
			clear(w.renamed)
			wait()
		case now := <-look.C:
			switch s.look(now, w) {
			case lookAgain:
				look.Reset(settleTime)
			case gaveUp:
				return Wakeup{Unfinished: s.unfinished}, true
			case settled:
				s = settling{}
				if name := w.changed(); name != "" {
					return Wakeup{Reason: name + " changed"}, true
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
			case w.failed:
				return Wakeup{Reason: Retrying}, true
			}
		}
	}
}

// event notes what an event says about a file.
func (w *Watcher) event(e fsnotify.Event) (ours bool) {
	if _, ours := w.prints[e.Name]; !ours || e.Has(fsnotify.Chmod) {
		return false
	}
	w.written = e.Name
	// A file that a program creates in its place is written afterwards, one that
	// is renamed into it is not.
	w.renamed[e.Name] = e.Has(fsnotify.Create)
	return true
}

// fingerprint tells a changed file from the one noted; info is nil if there is no file.
type fingerprint struct{ info fs.FileInfo }

func takePrint(name string) fingerprint {
	info, _ := os.Stat(name)
	return fingerprint{info}
}

func (p fingerprint) same(q fingerprint) bool {
	if p.info == nil || q.info == nil {
		return p.info == nil && q.info == nil
	}
	return os.SameFile(p.info, q.info) && p.info.Size() == q.info.Size() &&
		p.info.ModTime().Equal(q.info.ModTime()) && p.info.Mode() == q.info.Mode() &&
		changeTime(p.info) == changeTime(q.info)
}

// changeTime is when a file's owner, permissions or text last changed. Unlike the time
// of modification it cannot be set, and it shows a chown, too.
func changeTime(info fs.FileInfo) int64 {
	if stat, ok := info.Sys().(*syscall.Stat_t); ok {
		return stat.Ctim.Nano()
	}
	return 0
}

// fingerprints are those of files, by name.
type fingerprints map[string]fingerprint

func (p fingerprints) now() fingerprints {
	prints := make(fingerprints, len(p))
	for name := range p {
		prints[name] = takePrint(name)
	}
	return prints
}

func (p fingerprints) same(q fingerprints) bool { return maps.EqualFunc(p, q, fingerprint.same) }
