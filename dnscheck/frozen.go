package dnscheck

import (
	"context"
	"fmt"
	"sync"

	"github.com/miekg/dns"

	"milterd/dnscheck/internal/zonefile"
)

// The words of a session's dns lines.
const (
	wordNXDomain = "NXDOMAIN"
	wordNoData   = "NODATA"
	wordServFail = "SERVFAIL"
	wordTimeout  = "TIMEOUT"
)

// Frozen is a Resolver that knows a few zone-file lines and nothing else: it
// answers at once, always the same, and never asks anybody. A session recorded
// with its answers is judged again with it. Of what it has no line for it says that
// the servers are silent, and keeps count: Missing.
type Frozen struct {
	zone *zonefile.Zone

	// mu is taken only for a question that no line answers.
	mu      sync.Mutex
	missing int
	first   question
}

// NewFrozen reads the lines of a recorded session:
//
//	mx.good.example. 300 IN A 203.0.113.5     a record; TTL and IN may be left out
//	NAME [TYPE] NXDOMAIN                      the name does not exist
//	NAME [TYPE] NODATA                        no records of the type, or of any
//	NAME [TYPE] SERVFAIL                      ErrServFail
//	NAME [TYPE] TIMEOUT                       ErrTimeout, as for any other question
//
// Such a word wins over records of the same name, and one with a type over one
// without. CNAME records are followed.
func NewFrozen(lines []string) (*Frozen, error) {
	zone, err := zonefile.Parse(lines, func(word string) bool {
		switch word {
		case wordNXDomain, wordNoData, wordServFail, wordTimeout:
			return true
		}
		return false
	})
	if err != nil {
		return nil, fmt.Errorf("read frozen answers: %w", err)
	}
	return &Frozen{zone: zone}, nil
}

// Lookup gives the frozen answer. It does not wait, so it does not look at the
// context either: a canceled replay and a finished one see the same answers.
func (f *Frozen) Lookup(_ context.Context, name string, qtype uint16) Result {
	name, ok := canonicalName(name)
	if !ok {
		return Result{Status: NXDomain}
	}
	if !supported(qtype) {
		return temporary(ErrServFail)
	}
	c := newChain(question{name, qtype})
	for {
		q := zonefile.Question{Name: c.name, Type: qtype}
		if words := f.zone.WordsFor(q); len(words) > 0 {
			return wordResult(words[0])
		}
		if records, _ := c.collect(f.zone.Records[q]); len(records) > 0 {
			return found(sorted(records, c.ttl))
		}
		_, alias := c.collect(f.zone.Records[zonefile.Question{Name: c.name, Type: dns.TypeCNAME}])
		if alias == nil {
			f.miss(question{c.name, qtype})
			return temporary(ErrTimeout)
		}
		if !c.step(alias) {
			return temporary(ErrServFail)
		}
	}
}

// miss notes a question that no line answers.
func (f *Frozen) miss(q question) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.missing++; f.missing == 1 {
		f.first = q
	}
}

// Missing is how often no line had an answer, and the first such question, as
// "NAME TYPE": the verdicts of a session that has asked it rest on a silence that
// nobody has heard. A TIMEOUT line is an answer. A nil Frozen has not been asked.
func (f *Frozen) Missing() (n int, first string) {
	if f == nil {
		return 0, ""
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.missing == 0 {
		return 0, ""
	}
	return f.missing, f.first.name + " " + dns.TypeToString[f.first.qtype]
}

// peek is Lookup, which never waits.
func (f *Frozen) peek(name string, qtype uint16) (Result, bool) {
	return f.Lookup(context.Background(), name, qtype), true
}

// wordResult is what a word stands for.
func wordResult(word string) Result {
	switch word {
	case wordNXDomain:
		return Result{Status: NXDomain}
	case wordNoData:
		return Result{Status: NoData}
	case wordServFail:
		return temporary(ErrServFail)
	}
	return temporary(ErrTimeout)
}

// word is the word for a result without records.
func (r Result) word() string {
	switch {
	case r.Status == NXDomain:
		return wordNXDomain
	case r.Status == NoData:
		return wordNoData
	case r.Err == ErrServFail:
		return wordServFail
	}
	return wordTimeout
}
