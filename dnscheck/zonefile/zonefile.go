// Package zonefile reads the lines that describe a small part of the DNS in
// recorded sessions and in tests: resource records in the master file format
// of RFC 1035 section 5, and words that take the place of an answer.
package zonefile

import (
	"errors"
	"fmt"
	"strings"

	"github.com/miekg/dns"
)

// defaultTTL is the time to live of a record that does not name one, in seconds.
const defaultTTL = 300

// Question is what lines are filed under. A word for every type of a name has
// type dns.TypeNone.
type Question struct {
	Name string // in lower case, with the final dot
	Type uint16
}

// Zone is what the lines say.
type Zone struct {
	Records map[Question][]dns.RR
	// Words holds the words of a question, in the order of their lines.
	Words map[Question][]string
}

// Parse reads lines. Names are absolute, with or without the final dot. A line
// is a record, or NAME [TYPE] WORD with a word that isWord knows; an empty line
// and one that begins with a semicolon are nothing.
func Parse(lines []string, isWord func(string) bool) (*Zone, error) {
	z := &Zone{Records: make(map[Question][]dns.RR), Words: make(map[Question][]string)}
	for i, line := range lines {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, ";") {
			continue
		}
		if err := z.add(line, isWord); err != nil {
			return nil, fmt.Errorf("dns line %d %q: %w", i+1, line, err)
		}
	}
	return z, nil
}

// add files one line.
func (z *Zone) add(line string, isWord func(string) bool) error {
	if rr, ok := plainRecord(line); ok {
		z.file(rr)
		return nil
	}
	if q, word, ok, err := parseWord(line, isWord); ok || err != nil {
		if err == nil {
			z.Words[q] = append(z.Words[q], word)
		}
		return err
	}
	// A $ directive would make the parser read files or repeat itself, and a
	// second line would be dropped without a word.
	if strings.HasPrefix(line, "$") {
		return errors.New("directives are not supported, expected a record or a fault")
	}
	if strings.ContainsAny(line, "\r\n") {
		return errors.New("expected a single line")
	}
	parser := dns.NewZoneParser(strings.NewReader(line), ".", "")
	parser.SetDefaultTTL(defaultTTL)
	rr, ok := parser.Next()
	if err := parser.Err(); err != nil {
		return fmt.Errorf("expected a resource record or a fault: %w", err)
	}
	if !ok {
		return errors.New("expected a resource record or a fault")
	}
	if rr.Header().Class != dns.ClassINET {
		return errors.New("expected a record of class IN")
	}
	z.file(rr)
	return nil
}

func (z *Zone) file(rr dns.RR) {
	q := Question{canonical(rr.Header().Name), rr.Header().Rrtype}
	z.Records[q] = append(z.Records[q], rr)
}

// canonical is dns.CanonicalName, which is slow for what is canonical already.
func canonical(name string) string {
	if plain, ok := plainName(name); ok {
		return plain
	}
	return dns.CanonicalName(name)
}

// parseWord recognises NAME [TYPE] WORD.
func parseWord(line string, isWord func(string) bool) (q Question, word string, ok bool, err error) {
	fields := strings.Fields(line)
	if len(fields) < 2 {
		return Question{}, "", false, errors.New("expected a name and a fault, or a resource record")
	}
	word = fields[len(fields)-1]
	if len(fields) > 3 || !isWord(word) {
		return Question{}, "", false, nil
	}
	q = Question{canonical(fields[0]), dns.TypeNone}
	if len(fields) == 3 {
		qtype, known := dns.StringToType[fields[1]]
		if !known {
			return Question{}, "", false, fmt.Errorf("%q is not a record type", fields[1])
		}
		q.Type = qtype
	}
	return q, word, true, nil
}

// WordsFor are the words for a name and type, then those for every type of the
// name.
func (z *Zone) WordsFor(q Question) []string {
	return append(z.Words[q][:len(z.Words[q]):len(z.Words[q])], z.Words[Question{q.Name, dns.TypeNone}]...)
}
