package replay

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"milterd/policy"
	"milterd/policy/limits"
)

// blockedLogin is what a line of Message.Limits says of a login that was blocked by hand.
const blockedLogin = "blocked"

// LimitLines are the answers to the questions about one recipient, as lines of
// Message.Limits without the number of the recipient.
func LimitLines(blocked bool, queries []policy.LimitQuery) []string {
	if blocked {
		return []string{blockedLogin}
	}
	lines := make([]string, len(queries))
	for i := range queries {
		a := &queries[i].Answer
		lines[i] = queries[i].Limit.Name + " " + strconv.Itoa(a.Used) + " " + a.Rate.String()
		if a.Wait > 0 {
			lines[i] += " " + strconv.Itoa(a.Wait)
		}
	}
	return lines
}

type limitLine struct {
	recipient int
	blocked   bool
	limit     string
	answer    policy.LimitAnswer
}

// parseLimitLine reads NUMBER NAME USED RATE [WAIT], or NUMBER blocked.
func parseLimitLine(s string) (l limitLine, ok bool) {
	words := strings.Fields(s)
	l.blocked = len(words) == 2 && words[1] == blockedLogin
	if !l.blocked && len(words) != 4 && len(words) != 5 {
		return l, false
	}
	var errs [4]error
	l.recipient, errs[0] = strconv.Atoi(words[0])
	if !l.blocked {
		l.limit = words[1]
		l.answer.Used, errs[1] = strconv.Atoi(words[2])
		l.answer.Rate, errs[2] = policy.ParseRate(words[3])
	}
	waits := len(words) == 5
	if waits {
		l.answer.Wait, errs[3] = strconv.Atoi(words[4])
	}
	return l, errors.Join(errs[:]...) == nil && l.recipient >= 1 && l.answer.Used >= 0 && waits == (l.answer.Wait > 0)
}

func (m *Message) check(path string) error {
	if _, err := m.Began(); err != nil {
		return badField(path+".at", "%q, expected a time such as 2026-11-28T12:00:00.000Z", m.At)
	}
	for i, line := range m.Limits {
		if _, ok := parseLimitLine(line); !ok {
			return badField(fmt.Sprintf("%s.limits.%d", path, i), "%q, expected NUMBER NAME USED RATE [WAIT], or NUMBER blocked", line)
		}
	}
	return nil
}

// Began is when the message began; zero if it does not tell.
func (m *Message) Began() (time.Time, error) {
	if m.At == "" {
		return time.Time{}, nil
	}
	return time.Parse(time.RFC3339Nano, m.At)
}

// recorded are answers with the relay grant and the counts of a recorded session.
type recorded struct {
	policy.Answers
	grant policy.GrantState
	// recipient, counted from 1, is what the policy is at; told are the lines about each
	// recipient of its message.
	recipient int
	told      map[int][]limitLine
	message   *Message
	// asked hears of the questions to the limits; nil without.
	asked Asked
	// counts are for limits that the session does not tell of; made when there is one.
	counts *limits.Memory
}

var _ policy.Answers = (*recorded)(nil)

// Asked hears of what a policy asks the limits about one recipient of a message.
type Asked func(m *Message, queries []policy.LimitQuery)

func (a *recorded) begin(m *Message) {
	a.recipient, a.told, a.message = 0, nil, m
	for _, text := range m.Limits {
		if l, ok := parseLimitLine(text); ok {
			if a.told == nil {
				a.told = make(map[int][]limitLine)
			}
			a.told[l.recipient] = append(a.told[l.recipient], l)
		}
	}
}

func (a *recorded) Grant() policy.GrantState { return a.grant }

// Count answers as the session tells. What it does not tell, as it was recorded with other
// limits or without any, is counted anew; or has room, if it is counted elsewhere.
func (a *recorded) Count(_ string, queries []policy.LimitQuery) (blocked bool) {
	elsewhere := a.asked != nil && a.message.At != ""
	if a.asked != nil {
		a.asked(a.message, queries)
	}
	var anew []policy.LimitQuery
	var places []int
	lines := a.told[a.recipient]
	for i := range queries {
		q := &queries[i]
		found := slices.IndexFunc(lines, func(l limitLine) bool { return l.limit == q.Limit.Name && slices.Contains(q.Rates, l.answer.Rate) })
		if found < 0 {
			anew, places = append(anew, *q), append(places, i)
			continue
		}
		q.Answer = lines[found].answer
	}
	if slices.ContainsFunc(lines, func(l limitLine) bool { return l.blocked }) {
		return true
	}
	if len(anew) == 0 || elsewhere {
		return false
	}
	if a.counts == nil {
		a.counts = limits.NewMemory(0, func() time.Time { return time.Unix(0, 0) })
	}
	a.counts.Count(anew)
	for i, place := range places {
		queries[place].Answer = anew[i].Answer
	}
	return false
}
