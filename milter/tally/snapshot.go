package tally

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"milterd/policy/printable"
)

// mostNames is how many names of a table a Snapshot has.
const mostNames = 15

// Snapshot is what a Tally knows at one moment.
type Snapshot struct {
	// Since is when counting began; Total is how many lines there were.
	Since time.Time `json:"since"`
	Now   time.Time `json:"now"`
	Total uint64    `json:"total"`
	// Hour has a Bar a minute, Day one for 15 minutes; the last one is not over.
	Hour Series `json:"hour"`
	Day  Series `json:"day"`
	// The most frequent names of the last day.
	Clients           []Name `json:"clients"`
	Users             []Name `json:"users"`
	RefusedRecipients []Name `json:"refused_recipients"`
	// Logins are the busiest ones, and those that limits stopped most. Their usual day is
	// the mean of the last whole days, seven at most, of which LoginDays have been counted;
	// 0: it is not known yet, as counting began later.
	Logins    []Login `json:"logins"`
	LoginDays int     `json:"login_days"`
	// Shadow is about the messages that were taken, but that checks in shadow mode would
	// have refused, for one recipient at least.
	Shadow Shadow `json:"shadow"`
	// Verdicts are the last lines, the newest first.
	Verdicts []Verdict `json:"verdicts"`
}

// Shadow is what shadow mode would have refused in the last day, by what.
type Shadow struct {
	Checks   []Name `json:"checks"`
	Networks []Name `json:"networks"`
	Names    []Name `json:"names"`
	Domains  []Name `json:"sender_domains"`
}

// Name is a name with how often it was met. Count may be too high by Over.
type Name struct {
	Name    string   `json:"name"`
	Count   uint64   `json:"count"`
	Over    uint64   `json:"over,omitempty"`
	Example *Example `json:"example,omitempty"`
}

// MostFirst orders names, the most frequent first.
func MostFirst(a, b Name) int {
	return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Name, b.Name))
}

// Example is the last message that counted.
type Example struct {
	Queue  string `json:"queue,omitempty"`
	Name   string `json:"name,omitempty"`
	From   string `json:"from,omitempty"`
	To     string `json:"to,omitempty"`
	Client string `json:"client,omitempty"`
}

func (x *Example) texts() []*string { return []*string{&x.Queue, &x.Name, &x.From, &x.To, &x.Client} }

// Series is what happened in equal parts of a time, the oldest first.
type Series struct {
	Bars []Bar `json:"bars"`
	Sum  Bar   `json:"sum"`
}

// Bar is what happened from Begin on. Shadow messages are accepted ones as well. Refused
// is by check.
type Bar struct {
	Begin      time.Time         `json:"begin"`
	Accepted   uint64            `json:"accepted"`
	Tempfailed uint64            `json:"tempfailed"`
	Shadow     uint64            `json:"shadow"`
	Refused    map[string]uint64 `json:"refused,omitempty"`
}

// RefusedSum is how many were refused by any check.
func (b *Bar) RefusedSum() uint64 {
	sum := uint64(0)
	for _, n := range b.Refused {
		sum += n
	}
	return sum
}

// All is how many there were.
func (b *Bar) All() uint64 { return b.Accepted + b.Tempfailed + b.RefusedSum() }

// Snapshot is what is known now.
func (t *Tally) Snapshot(now time.Time) *Snapshot {
	s := &Snapshot{Now: now}
	names := [...]*[]Name{&s.Clients, &s.Users, &s.RefusedRecipients, &s.Shadow.Checks, &s.Shadow.Networks, &s.Shadow.Names, &s.Shadow.Domains}
	t.mu.Lock()
	s.Since, s.Total = t.since, t.total
	lines := t.copyLines()
	minute, checks := t.minute, slices.Clone(t.checks)
	t.mu.Unlock()
	for k := range names {
		*names[k] = t.names(kind(k), now)
	}
	s.Logins, s.LoginDays = t.logins(now)
	for i := range lines {
		s.Verdicts = append(s.Verdicts, lines[i].verdict())
	}
	for _, list := range names {
		for i := range *list {
			(*list)[i].Name = printable.Text((*list)[i].Name)
		}
	}
	s.Hour, s.Day = series(&minute, checks, now, 60, 1), series(&minute, checks, now, 96, 15)
	return s
}

func (t *Tally) copyLines() []slot {
	var lines []slot
	for i := range Recent {
		s := &t.recent[(t.next-1-i+2*Recent)%Recent]
		if s.text == nil {
			break
		}
		lines = append(lines, slot{s.at, slices.Clone(s.text)})
	}
	return lines
}

// names are the most frequent ones of the last day. The lock is held for one table at a
// time, as clients wait for it.
func (t *Tally) names(k kind, now time.Time) []Name {
	sum := make(map[string]*Name)
	last, first := now.Unix()/3600, now.Unix()/3600-hoursKept+1
	if t.endless {
		first, last = 0, 0
	}
	for at := first; at <= last; at++ {
		t.addNames(sum, k, at)
	}
	all := make([]Name, 0, len(sum))
	for _, n := range sum {
		all = append(all, *n)
	}
	slices.SortFunc(all, MostFirst)
	return slices.Clone(all[:min(len(all), mostNames)])
}

// addNames adds those of an hour. Examples of later hours take the place of earlier ones.
func (t *Tally) addNames(sum map[string]*Name, k kind, at int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	h := &t.hours[at%hoursKept]
	if h.at != at {
		return
	}
	for _, it := range h.tables[k].order {
		n := sum[it.name]
		if n == nil {
			n = &Name{Name: it.name}
			sum[it.name] = n
		}
		n.Count, n.Over = n.Count+it.count, n.Over+it.over
		if len(it.example) > 0 {
			n.Example = example(it.example)
		}
	}
}

func example(packed []byte) *Example {
	x := new(Example)
	fields := strings.Split(string(packed), "\x00")
	for i, to := range x.texts() {
		if i < len(fields) {
			*to = printable.Text(fields[i])
		}
	}
	return x
}

// series sums minutes up to n bars of some minutes each, of which the last holds now.
func series(minute *[minutes]minute, checks []string, now time.Time, n, each int64) Series {
	last := now.Unix() / 60 / each
	s := Series{Bars: make([]Bar, n)}
	for i := range s.Bars {
		b := &s.Bars[i]
		first := (last - n + 1 + int64(i)) * each
		b.Begin = time.Unix(first*60, 0).In(now.Location())
		for at := first; at < first+each; at++ {
			if m := &minute[at%minutes]; m.at == at {
				b.add(m, checks)
			}
		}
		s.Sum.addBar(b)
	}
	s.Sum.Begin = s.Bars[0].Begin
	return s
}

func (b *Bar) add(m *minute, checks []string) {
	b.Accepted += uint64(m.accepted)
	b.Tempfailed += uint64(m.tempfailed)
	b.Shadow += uint64(m.shadow)
	for i, n := range m.refused {
		if n > 0 {
			b.refuse(checks[i], uint64(n))
		}
	}
}

func (b *Bar) addBar(other *Bar) {
	b.Accepted += other.Accepted
	b.Tempfailed += other.Tempfailed
	b.Shadow += other.Shadow
	for name, n := range other.Refused {
		b.refuse(name, n)
	}
}

func (b *Bar) refuse(check string, n uint64) {
	if b.Refused == nil {
		b.Refused = make(map[string]uint64)
	}
	b.Refused[check] += n
}
