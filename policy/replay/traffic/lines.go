package traffic

import (
	"bufio"
	"bytes"
	"io"
)

// maxLine is how much of a line is kept. sendmail takes commands of 12,288 octets at
// most; only text of messages is longer.
const maxLine = 32 << 10

type kind int

const (
	// other is a line without a process: the rest of a line that was written in
	// pieces, or of a reply with line ends in it.
	other kind = iota
	// read is "<<<", what the process has read.
	read
	// written is ">>>", what it has written.
	written
	// delivers is "===": a delivery begins.
	delivers
)

type entry struct {
	line int
	kind kind
	pid  int
	// text is good until the next line is read.
	text []byte
	// cut: the line is longer than text.
	cut bool
}

type lines struct {
	r      *bufio.Reader
	number int
}

func newLines(r io.Reader) *lines { return &lines{r: bufio.NewReaderSize(r, maxLine)} }

// next reads a line; io.EOF ends the log.
func (l *lines) next() (entry, error) {
	text, cut, err := l.r.ReadLine()
	if err != nil {
		return entry{}, err
	}
	l.number++
	e := parseEntry(text)
	e.line, e.cut = l.number, cut
	if cut {
		// The text lies in the buffer that the rest of the line is read into.
		e.text = bytes.Clone(e.text)
	}
	for cut && err == nil {
		_, cut, err = l.r.ReadLine()
	}
	return e, nil
}

// maxPIDDigits is as long as the number of a process is taken to be: Linux numbers
// them up to 4,194,304.
const maxPIDDigits = 7

// parseEntry takes a line apart: "04711 <<< text".
func parseEntry(line []byte) entry {
	digits, pid := 0, 0
	for digits < len(line) && digits <= maxPIDDigits && line[digits] >= '0' && line[digits] <= '9' {
		pid = 10*pid + int(line[digits]-'0')
		digits++
	}
	mark := line[digits:]
	if digits == 0 || digits > maxPIDDigits || len(mark) < len(" <<< ") || mark[0] != ' ' || mark[4] != ' ' {
		return entry{text: line}
	}
	e := entry{pid: pid, text: mark[5:]}
	switch string(mark[1:4]) {
	case "<<<":
		e.kind = read
	case ">>>":
		e.kind = written
	case "===":
		e.kind = delivers
	default:
		return entry{text: line}
	}
	return e
}

// recognise reports whether a file that begins with head is a traffic log: a log that
// was cut into pieces may begin within a line, so its second line counts as well.
func recognise(head []byte) bool {
	count := 0
	for line := range bytes.Lines(head) {
		if count++; count > 2 {
			return false
		}
		if parseEntry(bytes.TrimRight(line, "\r\n")).kind != other {
			return true
		}
	}
	return false
}
