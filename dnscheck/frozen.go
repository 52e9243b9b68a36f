package dnscheck

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/miekg/dns"
)

// The words of a session's dns lines, for results without records.
var words = map[string]Result{
	"NXDOMAIN": {Status: NXDomain},
	"NODATA":   {Status: NoData},
	"SERVFAIL": {Err: ErrServFail},
	"TIMEOUT":  {Err: ErrTimeout},
}

// word is the word for a result without records.
func (r Result) word() string {
	for word, result := range words {
		if r.Status == result.Status && r.Err == result.Err {
			return word
		}
	}
	return "TIMEOUT"
}

// Frozen is a Resolver that knows a few zone-file lines and asks no server. It
// answers at once and always the same. A session recorded with its answers is judged
// again with it. A question without a line counts as one without an answer: Missing.
type Frozen struct {
	zone *Zone

	// mu is taken only for a question that no line answers.
	mu      sync.Mutex
	missing int
	first   Question
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
	zone, err := ParseZone(lines, func(word string) bool {
		_, ok := words[word]
		return ok
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
	c := newChain(Question{name, qtype})
	for {
		q := Question{Name: c.name, Type: qtype}
		if spoken := f.zone.WordsFor(q); len(spoken) > 0 {
			return words[spoken[0]]
		}
		if records, _ := c.collect(f.zone.Records[q]); len(records) > 0 {
			return found(sorted(records, c.ttl))
		}
		_, alias := c.collect(f.zone.Records[Question{Name: c.name, Type: dns.TypeCNAME}])
		if alias == nil {
			f.miss(Question{c.name, qtype})
			return temporary(ErrTimeout)
		}
		if !c.step(alias) {
			return temporary(ErrServFail)
		}
	}
}

// miss notes a question that no line answers.
func (f *Frozen) miss(q Question) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.missing++; f.missing == 1 {
		f.first = q
	}
}

// Missing is how often no line had an answer, and the first such question, as
// "NAME TYPE": what a session comes to that has asked it is not certain. A TIMEOUT
// line is an answer. A nil Frozen has not been asked.
func (f *Frozen) Missing() (n int, first string) {
	if f == nil {
		return 0, ""
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.missing == 0 {
		return 0, ""
	}
	return f.missing, f.first.Name + " " + dns.TypeToString[f.first.Type]
}

// LookupCached is Lookup, which never waits.
func (f *Frozen) LookupCached(name string, qtype uint16) (Result, bool) {
	return f.Lookup(context.Background(), name, qtype), true
}

var _ Resolver = (*Frozen)(nil)

// maxRecorded bounds the questions of one session. A session asks a few dozen;
// only a client that goes on inventing senders asks more.
const maxRecorded = 1000

// Recorder is a Resolver for one session: it hands questions on and keeps the
// answers, so that the session can be written down with what its verdicts rest on.
// With gives one more Resolver that records into the same session.
// A definite answer stays the same for as long as the session lasts: that is what a
// replay will see. A temporary one is asked for
// again, as the session must not fare worse for being recorded, and the first
// definite answer takes its place. After maxRecorded different questions further
// ones are handed on without being kept: a replay finds no answer to them.
type Recorder struct {
	resolver Resolver
	*recording
}

// recording is what several Recorders of one session share.
type recording struct {
	mu      sync.Mutex
	results map[Question]Result
}

var _ Resolver = (*Recorder)(nil)

func NewRecorder(resolver Resolver) *Recorder {
	return &Recorder{resolver, &recording{results: make(map[Question]Result)}}
}

// With records what another resolver answers into the same session.
func (r *Recorder) With(resolver Resolver) *Recorder { return &Recorder{resolver, r.recording} }

// Lookup asks the resolver until it knows the answer.
func (r *Recorder) Lookup(ctx context.Context, name string, qtype uint16) Result {
	q, result, ok := r.known(name, qtype)
	if ok {
		return result
	}
	// A question that is given up was asked all the same, and had no answer: a replay
	// shall have none either.
	r.note(q, temporary(ErrTimeout))
	return r.note(q, r.resolver.Lookup(ctx, q.Name, qtype))
}

// LookupCached also knows what this session has been told.
func (r *Recorder) LookupCached(name string, qtype uint16) (Result, bool) {
	q, result, ok := r.known(name, qtype)
	if ok {
		return result, true
	}
	if result, ok = r.resolver.LookupCached(q.Name, qtype); ok {
		return r.note(q, result), true
	}
	return Result{}, false
}

// known is the result if it is settled already, or else the question.
func (r *recording) known(name string, qtype uint16) (q Question, result Result, ok bool) {
	name, ok = canonicalName(name)
	if !ok {
		return Question{}, Result{Status: NXDomain}, true
	}
	q = Question{name, qtype}
	r.mu.Lock()
	defer r.mu.Unlock()
	result, ok = r.results[q]
	return q, result, ok && result.Status != Temporary
}

// note keeps a result and gives the one that counts: the first definite one.
func (r *recording) note(q Question, result Result) Result {
	if result.Err == ErrCanceled {
		return result
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	before, ok := r.results[q]
	if ok && before.Status != Temporary {
		return before
	}
	if ok || len(r.results) < maxRecorded {
		r.results[q] = result
	}
	return result
}

// Lines are the answers so far as Frozen reads them, sorted.
func (r *recording) Lines() []string {
	r.mu.Lock()
	results := maps.Clone(r.results)
	r.mu.Unlock()
	var lines []string
	for q, result := range results {
		for _, record := range result.Records {
			lines = append(lines, q.Name+" "+record.String())
		}
		if len(result.Records) == 0 {
			lines = append(lines, q.Name+" "+dns.TypeToString[q.Type]+" "+result.word())
		}
	}
	slices.Sort(lines)
	return lines
}
