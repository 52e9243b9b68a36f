// Package tally remembers what became of mail: how many messages and refusals there
// were in each minute of the last day, which clients, users and recipients they were
// about, what checks in shadow mode would have refused, and the last few hundred lines
// in full. A page and a report are made of it.
//
// Its memory is bounded, whatever clients send: texts are cut, only the last lines are
// kept, and the most frequent names are found with tables of fixed size ([table]).
package tally

import (
	"strings"
	"sync"
	"time"

	"milterd/milter/door"
	"milterd/policy"
)

// The bounds of a Tally.
const (
	// Recent is how many lines are kept in full.
	Recent = 500
	// tableSize is how many names each table holds, for each hour.
	tableSize = 100
	maxChecks = 16
	hoursKept = 24
	minutes   = 24 * 60
)

// The names of what is no check's refusal.
const (
	// bySendmail: sendmail refuses with an entry that it got from the map door.
	bySendmail = "sendmail's own rules"
	byFailure  = "failure"
	otherCheck = "other"
)

// kind is what a table has the names of.
type kind int

const (
	clients kind = iota
	users
	refusedRecipients
	shadowChecks
	shadowNetworks
	shadowNames
	shadowDomains
	logins
	limitedLogins
	kinds
)

// Tally is safe for concurrent use.
type Tally struct {
	// endless: everything counts, however long ago it was.
	endless bool

	mu     sync.Mutex
	since  time.Time
	total  uint64
	recent [Recent]slot
	next   int
	minute [minutes]minute
	// checks are the names of what refused, as the counters of a minute have them.
	checks []string
	hours  [hoursKept]hour
	days   [usualDays + 1]day
	// loginName is how logins are named.
	loginName func(string) string
	// scratch is where keys and examples are put together.
	scratch, example []byte
}

// minute counts what happened in one minute, in minutes of Unix time.
type minute struct {
	at                           int64
	accepted, tempfailed, shadow uint32
	refused                      [maxChecks]uint32
}

// hour has the tables of one hour, in hours of Unix time.
type hour struct {
	at     int64
	tables [kinds]table
}

// New makes a Tally of the last day.
func New(since time.Time) *Tally { return &Tally{since: since, checks: []string{otherCheck}} }

// NewEndless makes one in whose tables everything counts, for recordings.
func NewEndless() *Tally { return &Tally{endless: true, checks: []string{otherCheck}} }

// Names says how logins are named from now on (policy.Policy's LoginName). Until then they
// are named as they were typed.
func (t *Tally) Names(name func(login string) string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.loginName = name
}

// Add counts a line. It waits for nothing but another Add, or a copy in memory.
func (t *Tally) Add(at time.Time, line *door.Line) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.since.IsZero() || t.endless && at.Before(t.since) {
		t.since = at
	}
	t.total++
	slot := &t.recent[t.next]
	t.next = (t.next + 1) % Recent
	slot.fill(at, line)
	shadowed := line.Action == policy.ActionAccept && refusesInShadow(line)
	t.count(t.minuteAt(at), line, shadowed)
	h := t.hourAt(at)
	t.name(h, line, shadowed)
	t.addLogin(at, h, line)
}

func refusesInShadow(line *door.Line) bool {
	for i := range line.Shadow {
		if line.Shadow[i].Action != policy.ActionEdit {
			return true
		}
	}
	return false
}

func (t *Tally) minuteAt(at time.Time) *minute {
	n := at.Unix() / 60
	m := &t.minute[n%minutes]
	if m.at > n && t.endless {
		return new(minute) // recordings in another order than time: it is too long ago
	}
	if m.at != n {
		*m = minute{at: n}
	}
	return m
}

func (t *Tally) hourAt(at time.Time) *hour {
	n := at.Unix() / 3600
	if t.endless {
		n = 0
	}
	h := &t.hours[n%hoursKept]
	if h.at != n {
		h.at = n
		for k := range h.tables {
			h.tables[k].clear()
		}
	}
	return h
}

func (t *Tally) count(m *minute, line *door.Line, shadowed bool) {
	switch line.Action {
	case policy.ActionAccept:
		m.accepted++
		if shadowed {
			m.shadow++
		}
	case policy.ActionTempfail:
		m.tempfailed++
	default:
		m.refused[t.check(refusedBy(line))]++
	}
}

func refusedBy(line *door.Line) string {
	switch {
	case line.Check != "":
		return line.Check
	case line.Door != "" && line.Rule != "":
		return bySendmail
	}
	return byFailure
}

// check is the place of a check's counter; names beyond the bound share the first.
func (t *Tally) check(name string) int {
	for i, known := range t.checks {
		if known == name {
			return i
		}
	}
	if len(t.checks) == maxChecks {
		return 0
	}
	t.checks = append(t.checks, name)
	return len(t.checks) - 1
}

func (t *Tally) name(h *hour, line *door.Line, shadowed bool) {
	if line.Client.Addr.IsValid() {
		t.scratch = line.Client.Addr.Unmap().AppendTo(t.scratch[:0])
		h.tables[clients].add(t.scratch, nil, 1, tableSize)
	}
	t.add(h, users, line.Auth.Login(), nil)
	if line.Stage == policy.StageRcpt && line.Action != policy.ActionAccept {
		t.add(h, refusedRecipients, line.To, nil)
	}
	if !shadowed {
		return
	}
	t.exemplify(line)
	for i := range line.Shadow {
		s := &line.Shadow[i]
		seen := false
		for j := range i {
			seen = seen || line.Shadow[j].Check == s.Check && line.Shadow[j].Action != policy.ActionEdit
		}
		if s.Action != policy.ActionEdit && !seen {
			t.add(h, shadowChecks, s.Check, t.example)
		}
	}
	if a := line.Client.Addr.Unmap(); a.IsValid() {
		bits := 24
		if a.Is6() {
			bits = 48
		}
		network, _ := a.WithZone("").Prefix(bits) // both lengths are possible
		t.scratch = network.AppendTo(t.scratch[:0])
		h.tables[shadowNetworks].add(t.scratch, t.example, 1, tableSize)
	}
	t.add(h, shadowNames, parent(door.HostText(line.Client.Name)), t.example)
	t.add(h, shadowDomains, domain(line.From), t.example)
}

// add counts a name that has one.
func (t *Tally) add(h *hour, k kind, name string, example []byte) {
	if name != "" {
		t.scratch = bounded(t.scratch[:0], name, maxName)
		h.tables[k].add(t.scratch, example, 1, tableSize)
	}
}

// exemplify puts the example of a line together: fields as in slot.
func (t *Tally) exemplify(line *door.Line) {
	t.example = t.example[:0]
	for _, text := range [...]string{line.Queue, door.HostText(line.Client.Name), line.From, line.To} {
		t.example = append(bounded(t.example, text, maxName), 0)
	}
	if line.Client.Addr.IsValid() {
		t.example = line.Client.Addr.Unmap().AppendTo(t.example)
	}
}

// parent is the domain that a client's name is in. Names of dial-up clients differ in
// their first label.
func parent(name string) string {
	if _, above, ok := strings.Cut(name, "."); ok && strings.Contains(above, ".") {
		return above
	}
	return name
}

func domain(address string) string {
	if at := strings.LastIndexByte(address, '@'); at >= 0 {
		return address[at+1:]
	}
	return address
}
