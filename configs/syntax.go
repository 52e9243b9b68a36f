package configs

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"gopkg.in/yaml.v3"
)

// maxConfig is the longest configuration, in octets. The reference is a
// hundredth of it.
const maxConfig = 1 << 20

// maxSearchedLines bounds the search for the line of a syntax error, whose cost
// is the square of the number of lines.
const maxSearchedLines = 1000

// document reads the one YAML document of a configuration and returns its top node.
// The error is an [*Error].
func document(name string, data []byte) (*yaml.Node, error) {
	fail := func(line int, format string, args ...any) (*yaml.Node, error) {
		return nil, &Error{[]Problem{{name, line, fmt.Sprintf(format, args...)}}}
	}
	if len(data) > maxConfig {
		return fail(0, "%d octets, expected %d at most", len(data), maxConfig)
	}
	if line := firstBadText(data); line > 0 {
		return fail(line, "not UTF-8 text, or a control character")
	}
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	var doc, second yaml.Node
	err := decoder.Decode(&doc)
	if err == nil {
		if err = decoder.Decode(&second); err == nil {
			return fail(second.Line, "a second document begins here, expected one")
		}
	}
	switch {
	case !errors.Is(err, io.EOF):
		line, text := syntaxProblem(data, err)
		return fail(line, "not YAML: %s", text)
	case doc.Kind != yaml.DocumentNode || len(doc.Content) != 1:
		return fail(1, "the file is empty, expected at least one section")
	}
	return doc.Content[0], nil
}

// firstBadText is the first line that is not clean text, 0 if all are.
func firstBadText(data []byte) int {
	control := func(r rune) bool { return r < ' ' && r != '\t' && r != '\r' && r != '\n' || r == 0x7f }
	line := 0
	for text := range bytes.Lines(data) {
		line++
		if !utf8.Valid(text) || bytes.ContainsFunc(text, control) {
			return line
		}
	}
	return 0
}

var yamlErrorLine = regexp.MustCompile(`^line (\d+): (.*)$`)

// syntaxProblem says in an administrator's words what the YAML parser is missing, and
// on which line.
func syntaxProblem(data []byte, err error) (line int, text string) {
	line, text = 1, strings.TrimPrefix(err.Error(), "yaml: ")
	if m := yamlErrorLine.FindStringSubmatch(text); m != nil {
		line, _ = strconv.Atoi(m[1])
		text = m[2]
	}
	if n := brokenLine(data); n > 0 {
		line = n
	}
	lines := strings.Split(string(data), "\n")
	lines = lines[:min(len(lines), line)]
	switch {
	case tabIndented(lines[len(lines)-1]):
		text = "a tab in the indentation, expected spaces"
	case strings.HasPrefix(text, "unknown anchor"), strings.HasPrefix(text, "did not find expected alphabetic"):
		text = "* begins an alias and & an anchor, which are not taken here; quote a value that begins so"
	case strings.HasPrefix(text, "mapping values are not allowed"):
		text = "a second colon; quote a value that holds one"
		if belowValue(lines) {
			text = "the line is indented deeper than the one above, which has its value already; keys of one section begin in the same column"
		}
	case text == "did not find expected key", text == "did not find expected <document start>":
		text = "the line begins in a column where no section's keys begin; keys of one section begin in the same column"
	case text == "could not find expected ':'":
		text = "a line without a colon that a blank follows; expected KEY: VALUE"
	case text == "found unexpected end of stream":
		text = "a quote is not closed"
	}
	return line, text
}

// maxSearchedBytes bounds what all the attempts of brokenLine parse together.
const maxSearchedBytes = 32 << 20

// brokenLine is the first line after which no beginning of the file is YAML, 0
// if that is too costly to find. The parser itself names the line where the
// construct began that it could not finish, often the top of the file.
func brokenLine(data []byte) int {
	lines := bytes.SplitAfter(data, []byte("\n"))
	if len(lines) > maxSearchedLines || len(lines)*len(data) > maxSearchedBytes {
		return 0
	}
	end := len(data)
	for n := len(lines); n > 0; n-- {
		end -= len(lines[n-1])
		if isYAML(data[:end]) {
			return n
		}
	}
	return 0
}

func isYAML(data []byte) bool {
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	for {
		var doc yaml.Node
		if err := decoder.Decode(&doc); err != nil {
			return errors.Is(err, io.EOF)
		}
	}
}

// belowValue reports whether the last line is indented as if it belonged to the one
// above, although that has a value on its own line.
func belowValue(lines []string) bool {
	last := len(lines) - 1
	for _, above := range slices.Backward(lines[:last]) {
		above = strings.TrimRight(above, " \t\r")
		if text := strings.TrimLeft(above, " "); text != "" && text[0] != '#' {
			return indentation(lines[last]) > indentation(above) && !strings.HasSuffix(above, ":")
		}
	}
	return false
}

func indentation(line string) int { return len(line) - len(strings.TrimLeft(line, " ")) }

// tabIndented reports whether a line begins with white space that holds a tab.
func tabIndented(line string) bool {
	return strings.HasPrefix(strings.TrimLeft(line, " "), "\t")
}
