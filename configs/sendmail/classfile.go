package sendmail

import "strings"

// WordsUpToComment is the format of class files that FEATURE(use_cw_file) has: every
// word of a line counts, up to a #.
const WordsUpToComment = "%[^#]"

// byteOrderMark is what some editors put at the beginning of a UTF-8 file.
const byteOrderMark = "\xef\xbb\xbf"

// Entry is one entry of a class file.
type Entry struct {
	Name string
	Line int
	// Marked: the name begins with a UTF-8 byte order mark, which sendmail takes for
	// a part of it.
	Marked bool
}

// ParseClassFile reads the text of a file of class names: a line that begins with #
// is a comment; of any other the format, one of scanf, says what counts, and each
// word of that is an entry. It fails on a format that milterd does not know.
func ParseClassFile(data []byte, format string) ([]Entry, error) {
	counts, err := parseFormat(format)
	if err != nil {
		return nil, err
	}
	var entries []Entry
	number := 0
	for line := range strings.Lines(string(data)) {
		number++
		if strings.HasPrefix(line, "#") {
			continue
		}
		if match := counts.FindStringSubmatch(line); match != nil {
			for _, word := range strings.Fields(match[1]) {
				entries = append(entries, Entry{Name: word, Line: number, Marked: strings.HasPrefix(word, byteOrderMark)})
			}
		}
	}
	return entries, nil
}
