package replay

import (
	"errors"
	"fmt"
)

// maxBroken is how many lines of a file that cannot be read are reported one by one.
const maxBroken = 20

// errTooLong is what is wrong with a line that is too long.
var errTooLong = fmt.Errorf("line of more than %d bytes", maxLine)

// broken are lines that cannot be read: what is wrong with the first ones, and how
// many others there are. A file may hold nothing else, so no more is kept.
type broken struct {
	errs []error
	more int
}

// full: of a further line only the number counts.
func (b *broken) full() bool { return len(b.errs) >= maxBroken }

// add takes the next line's error; nil for none.
func (b *broken) add(err error) {
	switch {
	case err == nil:
	case b.full():
		b.more++
	default:
		b.errs = append(b.errs, err)
	}
}

// merge takes those of the block that comes next, and gives those of them that are
// to be reported.
func (b *broken) merge(next broken) error {
	begin := len(b.errs)
	for _, err := range next.errs {
		b.add(err)
	}
	b.more += next.more
	return errors.Join(b.errs[begin:]...)
}

// rest says how many lines of a file are not reported one by one.
func (b *broken) rest(name string) error {
	switch b.more {
	case 0:
		return nil
	case 1:
		return fmt.Errorf("%s: 1 more line cannot be read", name)
	}
	return fmt.Errorf("%s: %d more lines cannot be read", name, b.more)
}

// err is all of it.
func (b *broken) err(name string) error {
	return errors.Join(append(b.errs[:len(b.errs):len(b.errs)], b.rest(name))...)
}
