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

// Recorder is a Resolver for one session: it hands questions on and keeps every
// answer, so that the session can be written down with the answers its verdicts
// rest on. The same question has the same answer for as long as the session
// lasts, whatever the DNS says later: that is what a replay will see. After
// maxRecorded different questions further ones have no answer, and are not
// asked.
type Recorder struct {
	resolver Resolver

	mu      sync.Mutex
	answers map[question]Result
}

// NewRecorder records what resolver answers.
func NewRecorder(resolver Resolver) *Recorder {
	return &Recorder{resolver: resolver, answers: make(map[question]Result)}
}

// Lookup asks the resolver once for each question.
func (r *Recorder) Lookup(ctx context.Context, name string, qtype uint16) Result {
	name, ok := canonicalName(name)
	if !ok {
		return Result{Status: NXDomain}
	}
	q := question{name, qtype}
	r.mu.Lock()
	result, ok := r.answers[q]
	full := len(r.answers) >= maxRecorded
	r.mu.Unlock()
	if ok {
		return result
	}
	if full {
		return temporary(ErrTimeout)
	}
	return r.note(q, r.resolver.Lookup(ctx, name, qtype))
}

// note keeps a result and gives the one that counts: the first.
func (r *Recorder) note(q question, result Result) Result {
	if result.Err == ErrCanceled {
		return result
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if first, ok := r.answers[q]; ok {
		return first
	}
	if len(r.answers) >= maxRecorded {
		return temporary(ErrTimeout)
	}
	r.answers[q] = result
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
