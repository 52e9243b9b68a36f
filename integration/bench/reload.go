package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// The first line of a table that refuses the sender of the sessions, and one as long
// that does not: a file that became smaller is given more time.
const (
	refusing  = "From:good.example\tREJECT\n"
	accepting = "From:evil.example\tREJECT\n"
)

// pollPause is the time between two sessions that look for a new verdict.
const pollPause = 2 * time.Millisecond

// reloads measures how long it takes from the moment a table of so many lines is saved
// until a session is judged by it: the file renamed into its place, and written there.
func (b *bench) reloads(lines int, out io.Writer) error {
	s := setting{name: "milterd-reload", program: b.milterd, lines: lines}
	f, err := startMilterd(b.dir, "127.0.0.1:9", s)
	if err != nil {
		return err
	}
	b.filters = append(b.filters, f)
	o, err := negotiated(f.socket)
	if err != nil {
		return f.failed(err)
	}
	table := tableFile(b.dir, lines)
	text, err := os.ReadFile(table)
	if err != nil {
		return err
	}
	rename := func(text []byte) error {
		whole := filepath.Join(b.dir, "access.new")
		return errors.Join(os.WriteFile(whole, text, 0o600), os.Rename(whole, table))
	}
	write := func(text []byte) error { return os.WriteFile(table, text, 0o600) }
	refuses := false
	for _, how := range []struct {
		name string
		save func([]byte) error
	}{{"renamed into its place", rename}, {"written in its place", write}} {
		var took, slowest []float64
		for range b.rounds {
			line := accepting
			if refuses = !refuses; refuses {
				line = refusing
			}
			// The reload before has come to its end.
			time.Sleep(time.Second)
			if err := how.save(append([]byte(line), text...)); err != nil {
				return err
			}
			inForce, session, err := b.awaitVerdict(f.socket, newScript(0, o), refuses)
			if err != nil {
				return f.failed(err)
			}
			took, slowest = append(took, inForce.Seconds()), append(slowest, session.Seconds())
		}
		slices.Sort(took)
		fmt.Fprintf(out, "a table of %d lines %s, %d times: in force after %.2f s (%.2f to %.2f); the slowest session meanwhile took %.3f s\n",
			lines, how.name, b.rounds, took[len(took)/2], took[0], took[len(took)-1], slices.Max(slowest))
	}
	return nil
}

// awaitVerdict runs sessions until one is refused, or not, and returns how long it took
// and how long the slowest session did.
func (b *bench) awaitVerdict(socket string, s script, refused bool) (took, slowest time.Duration, err error) {
	for began := time.Now(); time.Since(began) < patience; time.Sleep(pollPause) {
		at := time.Now()
		err := session(socket, s)
		slowest = max(slowest, time.Since(at))
		switch {
		case err != nil && !errors.Is(err, errRefused):
			return 0, 0, err
		case errors.Is(err, errRefused) == refused:
			return time.Since(began), slowest, nil
		}
	}
	return 0, 0, fmt.Errorf("no session is judged by the new table within %v", patience)
}
