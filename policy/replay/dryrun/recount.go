package dryrun

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"reflect"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"milterd/policy"
	"milterd/policy/limits"
	"milterd/policy/replay"
)

// The bounds of what is told of limits.
const (
	// mostStopped is how many logins, clients and senders are told apart, mostStoppedShown
	// how many of them the text has for each limit.
	mostStopped      = 100_000
	mostStoppedShown = 20
)

// recount counts for other limits anew, over all sessions and in recorded time.
type recount struct {
	rules    []policy.Limit
	messages byTime
	// undated are messages that do not tell when they began.
	undated int
}

// newRecount is nil if the limits are the same, or there are none.
func newRecount(before, after *Rules) *recount {
	if len(after.policy.Limits.Rules) == 0 || reflect.DeepEqual(before.policy.Limits.Rules, after.policy.Limits.Rules) {
		return nil
	}
	return &recount{rules: after.policy.Limits.Rules, messages: byTime{most: mostHeld}}
}

// asking is what is asked of the limits about a message, as it is kept until all messages
// are in order.
type asking struct {
	Login      string  `json:"l,omitempty"`
	Recipients [][]ask `json:"r"`
}

// ask is one question: room for N under the limit of this number.
type ask struct {
	Limit    int    `json:"i"`
	Key      string `json:"k"`
	N        int    `json:"n,omitempty"`
	Enforced bool   `json:"e,omitempty"`
}

type asked struct {
	messages []dated
	undated  int
}

func (c *recount) session(to *asked, rules *Rules, s *replay.Session, answers func(policy.Connection) policy.Answers) replay.Outcome {
	login := rules.policy.LoginOf(s.Auth)
	all := make(map[*replay.Message]*asking)
	outcome := replay.RunUntraced(rules.policy, s, answers, func(m *replay.Message, queries []policy.LimitQuery) {
		a := all[m]
		if a == nil {
			a = &asking{Login: login}
			all[m] = a
		}
		asks := make([]ask, len(queries))
		for i, q := range queries {
			asks[i] = ask{slices.IndexFunc(c.rules, func(l policy.Limit) bool { return l.Name == q.Limit.Name }), q.Key, q.N, q.Enforced}
		}
		a.Recipients = append(a.Recipients, asks)
	})
	for i := range s.Messages {
		m := &s.Messages[i]
		a := all[m]
		if a == nil {
			continue
		}
		at, _ := m.Began() // checked as it was read
		if at.IsZero() {
			to.undated++
			continue
		}
		data, _ := json.Marshal(a) // it has nothing that cannot be written
		to.messages = append(to.messages, dated{at.UnixMicro(), data})
	}
	return outcome
}

func (c *recount) add(from *asked) error {
	c.undated += from.undated
	for _, m := range from.messages {
		if err := c.messages.add(m); err != nil {
			return err
		}
	}
	return nil
}

type stopped struct {
	Limit      string         `json:"limit"`
	By         policy.LimitBy `json:"by"`
	Key        string         `json:"key"`
	Mode       policy.Mode    `json:"mode"`
	First      time.Time      `json:"first"`
	Recipients int            `json:"recipients"`
	Messages   int            `json:"messages"`

	last int // the message that was counted last
}

type recounted struct {
	first, last                            time.Time
	messages, recipients, undated, refused int
	rules                                  []policy.Limit
	stops                                  map[[2]string]*stopped
	// others are recipients of those beyond mostStopped.
	others int

	now    time.Time
	memory *limits.Memory
}

func (c *recount) count() (*recounted, error) {
	r := &recounted{rules: c.rules, undated: c.undated, stops: make(map[[2]string]*stopped)}
	err := c.messages.each(func(d dated) error {
		r.now = time.UnixMicro(d.At).UTC()
		if r.memory == nil {
			r.first, r.memory = r.now, limits.NewMemory(0, func() time.Time { return r.now })
		}
		var a asking
		if err := json.Unmarshal(d.Data, &a); err != nil {
			return err
		}
		r.last = r.now
		r.messages++
		r.message(&a)
		return nil
	})
	return r, err
}

// message counts one message. A limit of messages is asked until a recipient is taken: in
// the session all had room, so that only the first one asked.
func (r *recounted) message(a *asking) {
	taken := false
	var whole []ask
	for _, asks := range a.Recipients {
		var queries []policy.LimitQuery
		had, refusal := false, len(asks) > 0
		add := func(k ask) {
			l := &r.rules[k.Limit]
			queries = append(queries, policy.LimitQuery{Limit: l, Key: k.Key, Rates: l.RatesOf(a.Login), N: k.N, Enforced: k.Enforced})
		}
		for _, k := range asks {
			count := r.rules[k.Limit].Count
			refusal = refusal && count == policy.CountRefused && k.N > 0
			if count == policy.CountMessages {
				had = true
				if !slices.ContainsFunc(whole, func(w ask) bool { return w.Limit == k.Limit }) {
					whole = append(whole, k)
				}
				if taken {
					continue
				}
			}
			add(k)
		}
		if !taken && !had && !refusal {
			for _, k := range whole {
				add(k)
			}
		}
		r.memory.Count(queries)
		if refusal {
			continue // another check has refused it
		}
		r.recipients++
		if r.judge(queries) {
			r.refused++
		} else {
			taken = true
		}
	}
}

// judge notes whom limits stop, and reports whether the recipient is refused: the first
// enforced limit without room does that, and those in shadow mode tell.
func (r *recounted) judge(queries []policy.LimitQuery) (refused bool) {
	for i := range queries {
		q := &queries[i]
		if q.Answer.Wait <= 0 || q.Enforced && refused {
			continue
		}
		refused = refused || q.Enforced
		at := [2]string{q.Limit.Name, q.Key}
		s := r.stops[at]
		if s == nil {
			if len(r.stops) >= mostStopped {
				r.others++
				continue
			}
			s = &stopped{Limit: q.Limit.Name, By: q.Limit.By, Key: q.Key, Mode: policy.ModeShadow, First: r.now}
			if q.Enforced {
				s.Mode = policy.ModeEnforce
			}
			r.stops[at] = s
		}
		s.Recipients++
		if s.last != r.messages {
			s.last = r.messages
			s.Messages++
		}
	}
	return refused
}

// of are those that a limit stops, who loses most first.
func (r *recounted) of(limit string) []*stopped {
	all := slices.DeleteFunc(slices.Collect(maps.Values(r.stops)), func(s *stopped) bool { return s.Limit != limit })
	slices.SortFunc(all, func(a, b *stopped) int {
		return cmp.Or(cmp.Compare(b.Recipients, a.Recipients), cmp.Compare(a.Key, b.Key))
	})
	return all
}

func (r *recounted) writeJSON(w io.Writer) error {
	lines := json.NewEncoder(w)
	for i := range r.rules {
		for _, s := range r.of(r.rules[i].Name) {
			if err := lines.Encode(s); err != nil {
				return err
			}
		}
	}
	return nil
}

func (r *recounted) writeText(w io.Writer) {
	if r.messages == 0 {
		fmt.Fprintln(w, "limits: no message that they are for and that tells when it began")
	} else {
		fmt.Fprintf(w, "limits, counted anew from %s to %s UTC: %d of %s of %s are put off\n",
			r.first.Format(time.DateTime), r.last.Format(time.DateTime), r.refused, count(r.recipients, "recipient"), count(r.messages, "message"))
	}
	for i := range r.rules {
		r.ruleText(w, &r.rules[i])
	}
	if r.others > 0 {
		fmt.Fprintf(w, "  and %s of those beyond the first %d that are stopped\n", count(r.others, "recipient"), mostStopped)
	}
	if r.undated > 0 {
		fmt.Fprintf(w, "  %s not counted, as the recording does not tell when it began\n", count(r.undated, "message"))
	}
}

func (r *recounted) ruleText(w io.Writer, l *policy.Limit) {
	rates := make([]string, len(l.Rates))
	for i, rate := range l.Rates {
		rates[i] = rate.String()
	}
	all := r.of(l.Name)
	recipients := 0
	for _, s := range all {
		recipients += s.Recipients
	}
	fmt.Fprintf(w, "  %s (%s %s by %s): ", l.Name, strings.Join(rates, " and "), l.Count, l.By)
	switch {
	case l.Mode == policy.ModeOff:
		fmt.Fprintln(w, "off")
		return
	case len(all) == 0:
		fmt.Fprintln(w, "stops nobody")
		return
	}
	shadow := ""
	if all[0].Mode == policy.ModeShadow {
		shadow = ", if it were not in shadow mode"
	}
	fmt.Fprintf(w, "stops %s, %s%s\n", count(len(all), string(l.By)), count(recipients, "recipient"), shadow)
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, s := range all[:min(len(all), mostStoppedShown)] {
		fmt.Fprintf(table, "    %s\tfrom %s on\t%s\tof %s\n", policy.Printable(s.Key), s.First.Format(time.DateTime), count(s.Recipients, "recipient"), count(s.Messages, "message"))
	}
	_ = table.Flush() // its error is that of the flush at the end, too
	if more := len(all) - mostStoppedShown; more > 0 {
		fmt.Fprintf(w, "    and %d more\n", more)
	}
}
