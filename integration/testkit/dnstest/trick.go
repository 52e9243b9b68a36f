package dnstest

import (
	"strings"
	"time"

	"github.com/miekg/dns"

	"milterd/dnscheck"
)

// Tricks are the words that leave the answer as it is and spoil its delivery.
const (
	trickTruncated     = "TRUNCATED"
	trickWrongID       = "WRONGID"
	trickWrongQuestion = "WRONGQUESTION"
	trickDelay         = "DELAY=" // and a duration, such as 200ms
)

func isTrick(word string) bool {
	switch word {
	case trickTruncated, trickWrongID, trickWrongQuestion:
		return true
	}
	_, ok := delay(word)
	return ok
}

// delay is the duration of a DELAY= word.
func delay(word string) (time.Duration, bool) {
	text, ok := strings.CutPrefix(word, trickDelay)
	if !ok {
		return 0, false
	}
	d, err := time.ParseDuration(text)
	return d, err == nil && d >= 0
}

// tricks is what is to be done with the answer to one query.
type tricks struct {
	delay     time.Duration
	truncated bool
	// lies go out before the answer.
	lies []*dns.Msg
}

// tricks collects the words for a query.
func (z *zone) tricks(query *dns.Msg) tricks {
	var t tricks
	q := dnscheck.Question{Name: dns.CanonicalName(query.Question[0].Name), Type: query.Question[0].Qtype}
	for _, word := range z.WordsFor(q) {
		switch word {
		case trickTruncated:
			t.truncated = true
		case trickWrongID:
			lie := negative(dns.RcodeNameError)(query)
			lie.Id++
			t.lies = append(t.lies, lie)
		case trickWrongQuestion:
			lie := negative(dns.RcodeNameError)(query)
			lie.Question[0].Name = "wrong.invalid."
			t.lies = append(t.lies, lie)
		default:
			if d, ok := delay(word); ok {
				t.delay = d
			}
		}
	}
	return t
}
