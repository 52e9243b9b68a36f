package dnscheck

import (
	"context"
	"maps"
	"slices"
	"sync"

	"github.com/miekg/dns"
)

// maxRecorded bounds the questions of one session. A session asks a few dozen;
// only a client that goes on inventing senders asks more.
const maxRecorded = 1000

// Recorder is a Resolver for one session: it hands questions on and keeps the
// answers, so that the session can be written down with what its verdicts rest on.
// A definite answer stays the same for as long as the session lasts, whatever the
// DNS says later: that is what a replay will see. A temporary one is asked for
// again, as the session must not fare worse for being recorded, and the first
// definite answer takes its place. After maxRecorded different questions further
// ones are handed on without being kept: a replay finds no answer to them.
type Recorder struct {
	resolver Resolver

	mu      sync.Mutex
	answers map[question]Result
}

// NewRecorder records what resolver answers.
func NewRecorder(resolver Resolver) *Recorder {
	return &Recorder{resolver: resolver, answers: make(map[question]Result)}
}

// Lookup asks the resolver until it knows the answer.
func (r *Recorder) Lookup(ctx context.Context, name string, qtype uint16) Result {
	q, result, ok := r.known(name, qtype)
	if ok {
		return result
	}
	// What is given up before there is an answer was asked all the same: nobody had
	// an answer, and a replay shall have none either.
	r.note(q, temporary(ErrTimeout))
	return r.note(q, r.resolver.Lookup(ctx, q.name, qtype))
}

// peek is Lookup where nobody has to be asked.
func (r *Recorder) peek(name string, qtype uint16) (Result, bool) {
	q, result, ok := r.known(name, qtype)
	if ok {
		return result, true
	}
	if result, ok = peek(r.resolver, q.name, qtype); ok {
		return r.note(q, result), true
	}
	return Result{}, false
}

// known is the result where it is settled already, or else the question.
func (r *Recorder) known(name string, qtype uint16) (q question, result Result, ok bool) {
	name, ok = canonicalName(name)
	if !ok {
		return question{}, Result{Status: NXDomain}, true
	}
	q = question{name, qtype}
	r.mu.Lock()
	defer r.mu.Unlock()
	result, ok = r.answers[q]
	return q, result, ok && result.Status != Temporary
}

// note keeps a result and gives the one that counts: the first definite one.
func (r *Recorder) note(q question, result Result) Result {
	if result.Err == ErrCanceled {
		return result
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	before, ok := r.answers[q]
	if ok && before.Status != Temporary {
		return before
	}
	if ok || len(r.answers) < maxRecorded {
		r.answers[q] = result
	}
	return result
}

// Lines are the answers so far as Frozen reads them, sorted.
func (r *Recorder) Lines() []string {
	r.mu.Lock()
	answers := maps.Clone(r.answers)
	r.mu.Unlock()
	var lines []string
	for q, result := range answers {
		for _, record := range result.Records {
			lines = append(lines, q.name+" "+record.String())
		}
		if len(result.Records) == 0 {
			lines = append(lines, q.name+" "+dns.TypeToString[q.qtype]+" "+result.word())
		}
	}
	slices.Sort(lines)
	return lines
}
