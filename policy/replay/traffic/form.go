package traffic

import (
	"errors"
	"fmt"
	"io"

	"milterd/policy/replay"
)

// Form is the form of traffic logs, for replay.Stream.
func Form() replay.Form { return replay.Form{Recognise: recognise, Read: Read} }

// Read makes sessions of a traffic log and hands them over, in the order in which the
// connections end, until each is false. name stands in sessions and errors, which begin
// with FILE:LINE:. Connections without a message make no session.
func Read(name string, r io.Reader, each func(*replay.Session) bool) error {
	l, im := newLines(r), newImporter(name, each)
	for !im.stopped {
		e, err := l.next()
		if err != nil {
			im.finishAll()
			if errors.Is(err, io.EOF) {
				return im.err()
			}
			return errors.Join(fmt.Errorf("%s:%d: %w", name, l.number+1, err), im.err())
		}
		im.entry(e)
	}
	return nil
}
