package tally

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"milterd/milter/door"
	"milterd/policy"
	"milterd/policy/printable"
)

// The bounds of what is kept of logins.
const (
	// usualDays is how many whole days make a usual day, daySize how many logins are kept
	// of each.
	usualDays = 7
	daySize   = 1000
	daySecs   = 24 * 60 * 60
)

// day has how many recipients each login sent to in one day, in days of Unix time: they
// end at midnight UTC.
type day struct {
	at    int64
	table table
}

// Login is who has logged in, and how much that login sends.
type Login struct {
	Name string `json:"login"`
	// Recipients is how many were taken in the last day, of recordings in all. It may be
	// too high by Over.
	Recipients uint64 `json:"recipients"`
	Over       uint64 `json:"over,omitempty"`
	// Usual is how many are taken in a day, as Snapshot.LoginDays has it.
	Usual float64 `json:"usual"`
	// Limited is how many recipients limits refused in the last day, or would have in
	// shadow mode.
	Limited uint64 `json:"limited,omitempty"`
}

func (t *Tally) addLogin(at time.Time, h *hour, line *door.Line) {
	login := line.Auth.Login()
	if login == "" {
		return
	}
	if t.loginName != nil {
		login = t.loginName(login)
	}
	t.scratch = bounded(t.scratch[:0], login, maxName)
	if n := limited(line); n > 0 {
		h.tables[limitedLogins].add(t.scratch, nil, n, tableSize)
	}
	taken := recipients(line)
	if taken == 0 {
		return
	}
	h.tables[logins].add(t.scratch, nil, taken, tableSize)
	n := at.Unix() / daySecs
	d := &t.days[n%int64(len(t.days))]
	switch {
	case d.at > n && t.endless:
		return // recordings in another order than time: it is too long ago
	case d.at != n:
		d.at = n
		d.table.clear()
	}
	d.table.add(t.scratch, nil, taken, daySize)
}

// Knows reports whether a login, named as Names says, is among those that are kept: as one
// that has sent, or was held by limits. Without a realm it is known by any.
func (t *Tally) Knows(login string) bool {
	login = string(bounded(nil, login, maxName))
	t.mu.Lock()
	defer t.mu.Unlock()
	for i := range t.days {
		if t.days[i].table.knows(login) {
			return true
		}
	}
	for i := range t.hours {
		if h := &t.hours[i]; h.tables[logins].knows(login) || h.tables[limitedLogins].knows(login) {
			return true
		}
	}
	return false
}

func (t *table) knows(login string) bool {
	if t.items[login] != nil {
		return true
	}
	for name := range t.items {
		if strings.HasPrefix(name, login+"@") {
			return true
		}
	}
	return false
}

func recipients(line *door.Line) uint64 {
	switch {
	case !line.Action.Accepts() || line.Stage != "" && line.Stage != policy.StageEOM:
		return 0
	case line.Recipients > 0:
		return uint64(line.Recipients)
	}
	return uint64(len(strings.Fields(line.To)))
}

// limited is how many recipients limits refused, or would have in shadow mode.
func limited(line *door.Line) (n uint64) {
	if line.Check == limitsCheck {
		n++
	}
	for i := range line.Shadow {
		if line.Shadow[i].Check == limitsCheck {
			n++
		}
	}
	return n
}

const limitsCheck = "limits"

// logins are the busiest ones, and those that limits refused most. days is how many whole
// days there are for a usual day.
func (t *Tally) logins(now time.Time) (all []Login, days int) {
	byName := make(map[string]*Login)
	login := func(name string) *Login {
		if byName[name] == nil {
			byName[name] = &Login{Name: name}
		}
		return byName[name]
	}
	for _, n := range t.names(logins, now) {
		l := login(n.Name)
		l.Recipients, l.Over = n.Count, n.Over
	}
	for _, n := range t.names(limitedLogins, now) {
		login(n.Name).Limited = n.Count
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	today := now.Unix() / daySecs
	for at := max(today-usualDays, (t.since.Unix()+daySecs-1)/daySecs); at < today; at++ {
		days++
		d := &t.days[at%int64(len(t.days))]
		for name, l := range byName {
			if it := d.table.items[name]; d.at == at && it != nil {
				l.Usual += float64(it.count)
			}
		}
	}
	for _, l := range byName {
		l.Usual /= float64(max(days, 1))
		l.Name = printable.Text(l.Name)
		all = append(all, *l)
	}
	slices.SortFunc(all, func(a, b Login) int {
		return cmp.Or(cmp.Compare(b.Recipients, a.Recipients), cmp.Compare(b.Limited, a.Limited), cmp.Compare(a.Name, b.Name))
	})
	return all, days
}

func hideLogins(all []Login) []Login {
	var hidden []Login
	for _, l := range all {
		l.Name = hideUser(l.Name)
		if i := slices.IndexFunc(hidden, func(h Login) bool { return h.Name == l.Name }); i >= 0 {
			h := &hidden[i]
			h.Recipients, h.Over, h.Usual, h.Limited = h.Recipients+l.Recipients, h.Over+l.Over, h.Usual+l.Usual, h.Limited+l.Limited
			continue
		}
		hidden = append(hidden, l)
	}
	slices.SortStableFunc(hidden, func(a, b Login) int { return cmp.Compare(b.Recipients, a.Recipients) })
	return hidden
}
