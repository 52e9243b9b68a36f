package sendmail

import "strings"

// Entry is one entry of a class file.
type Entry struct {
	Name string
	Line int
}

// ParseClassFile reads the text of a file in class-file format: a line that
// begins with # is a comment; with firstWord the first word of any other line is
// an entry, else every word up to a # is.
func ParseClassFile(data []byte, firstWord bool) []Entry {
	var entries []Entry
	number := 0
	for line := range strings.Lines(string(data)) {
		number++
		if strings.HasPrefix(line, "#") {
			continue
		}
		if !firstWord {
			if end := strings.IndexAny(line, `#\`); end >= 0 {
				line = line[:end]
			}
		}
		words := strings.Fields(line)
		if firstWord && len(words) > 1 {
			words = words[:1]
		}
		for _, word := range words {
			entries = append(entries, Entry{Name: word, Line: number})
		}
	}
	return entries
}
