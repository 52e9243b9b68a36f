package access

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"math"
	"strings"
)

// maxText is the largest table: offsets are 32 bits wide.
const maxText = math.MaxUint32 - 1

// Source is a text to read, and its size in octets when it was opened, such as a
// [strings.Reader]. The size saves memory; it need not be right.
type Source interface {
	io.Reader
	Size() int64
}

// readText reads a table up to its end, or to the first octet that no text has: a
// file with a hole in it may be many times larger than the disk. It folds the keys
// and counts the lines that begin like an entry.
func readText(name string, source Source) (text string, entries int, err error) {
	var read strings.Builder
	read.Grow(int(min(source.Size(), maxText)))
	in := bufio.NewReaderSize(source, 64<<10)
	for begins := true; ; begins = err == nil {
		var part []byte
		part, err = in.ReadSlice('\n')
		if end := bytes.IndexByte(part, 0); end >= 0 {
			return "", 0, Problem{File: name, Line: 1 + strings.Count(read.String(), "\n"), Text: "NUL octet, expected text"}
		}
		if begins && len(part) > 0 && part[0] != '#' && !isSpace(part[0]) {
			entries++
			foldKey(part[:keyEnd(part)])
		}
		read.Write(part)
		switch {
		case read.Len() > maxText:
			return "", 0, fmt.Errorf("read access table %s: more than %d bytes", name, maxText)
		case err == io.EOF:
			return read.String(), entries, nil
		case err != nil && err != bufio.ErrBufferFull:
			return "", 0, fmt.Errorf("read access table %s: %w", name, err)
		}
	}
}

// foldKey folds A to Z to lower case in place, as makemap does.
func foldKey(key []byte) {
	for i, c := range key {
		if c >= 'A' && c <= 'Z' {
			key[i] = c + 'a' - 'A'
		}
	}
}

// keyEnd is the length of the key at the beginning of a line.
func keyEnd[T string | []byte](line T) int {
	for i := range len(line) {
		if isSpace(line[i]) {
			return i
		}
	}
	return len(line)
}

// trimSpace removes white space at both ends.
func trimSpace(s string) string { return strings.Trim(s, " \t\n\v\f\r") }

// isSpace is C's isspace, which makemap splits lines with.
func isSpace(c byte) bool {
	return c == ' ' || c >= '\t' && c <= '\r'
}
