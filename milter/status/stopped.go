package status

import (
	"cmp"
	"slices"
	"strconv"
	"time"

	"milterd/milter/tally"
	"milterd/policy"
	"milterd/policy/limits"
	"milterd/policy/printable"
)

// maxStopped is how many logins, clients and senders are shown that are stopped, or nearly.
const maxStopped = 50

// Stops are those whose mail a limit or a block stops now, or nearly.
type Stops struct {
	All []Stopped `json:"all"`
	// More is how many there are beyond All.
	More int `json:"more,omitempty"`
	// Problem is why some may be missing: the store that hosts share is away.
	Problem string `json:"problem,omitempty"`
}

// Stopped is a login, client or sender that is stopped, or nearly.
type Stopped struct {
	State limits.State   `json:"state"`
	By    policy.LimitBy `json:"by"`
	Key   string         `json:"key"`
	// Until is the end of a block, zero if it ends by hand only.
	Until time.Time `json:"until,omitzero"`
	// Limit, Rate, Used and Of are about the limit: its name, and how much of its burst is
	// used. Since is when it began to refuse; it has refused so many recipients since.
	Limit   string    `json:"limit,omitempty"`
	Rate    string    `json:"rate,omitempty"`
	Used    int       `json:"used,omitempty"`
	Of      int       `json:"of,omitempty"`
	Since   time.Time `json:"since,omitzero"`
	Refused uint64    `json:"refused,omitempty"`
}

// NewStops puts together who is blocked, for how much longer, and what limits tell.
func NewStops(blocks map[string]time.Duration, near []limits.Near, problem error, now time.Time) *Stops {
	s := &Stops{All: make([]Stopped, 0, len(blocks)+len(near))}
	if problem != nil {
		s.Problem = printable.Text(problem.Error())
	}
	for login, left := range blocks {
		one := Stopped{State: limits.StateBlocked, By: policy.ByLogin, Key: printable.Text(login)}
		if !limits.EndsByHand(left) {
			one.Until = now.Add(left).Round(time.Second)
		}
		s.All = append(s.All, one)
	}
	for _, n := range near {
		s.All = append(s.All, Stopped{State: n.State(), By: n.By, Key: n.Key, Limit: n.Limit, Rate: n.Rate, Used: n.Used, Of: n.Of, Since: n.Since, Refused: n.Refused})
	}
	worst := []limits.State{limits.StateBlocked, limits.StateOver, limits.StateShadow, limits.StateNear}
	slices.SortStableFunc(s.All, func(a, b Stopped) int {
		return cmp.Or(cmp.Compare(slices.Index(worst, a.State), slices.Index(worst, b.State)), cmp.Compare(b.Refused, a.Refused), cmp.Compare(a.Key, b.Key))
	})
	s.More = max(len(s.All)-maxStopped, 0)
	s.All = s.All[:len(s.All)-s.More]
	return s
}

// Hide takes out of a Report whom it is about.
func (r *Report) Hide() {
	r.Snapshot.Hide()
	if r.Stops == nil {
		return
	}
	for i := range r.Stops.All {
		s := &r.Stops.All[i]
		s.Key = tally.Hidden(s.Key, s.By == policy.ByLogin)
	}
}

// what says what a limit, or a block, has done to one.
func (s *Stopped) what() string {
	switch {
	case s.State == limits.StateBlocked && s.Until.IsZero():
		return "until released"
	case s.State == limits.StateBlocked:
		return "until " + moment(s.Until)
	}
	text := s.Limit + " " + strconv.Itoa(s.Used) + " of " + s.Rate
	if s.State == limits.StateNear {
		return text
	}
	would := ""
	if s.State == limits.StateShadow {
		would = "would have "
	}
	return text + ", " + would + "refused " + grouped(s.Refused) + " since " + moment(s.Since)
}

// usual is the usual day of a login, empty while it is not known.
func (r *Report) usual(l *tally.Login) string {
	switch {
	case r.LoginDays == 0:
		return ""
	case l.Usual < 10:
		return strconv.FormatFloat(l.Usual, 'f', 1, 64)
	}
	return grouped(uint64(l.Usual + 0.5))
}

// usualMeaning says what the usual day is the mean of.
func (r *Report) usualMeaning() string {
	if r.LoginDays == 0 {
		return "not known before a whole day (UTC) has been counted, since " + moment(r.Since)
	}
	days := strconv.Itoa(r.LoginDays) + " whole days"
	if r.LoginDays == 1 {
		days = "whole day"
	}
	return "recipients a day, the mean of the last " + days + " (UTC)"
}

func (v *view) stops(m *markup) {
	m.put("\n<section id=\"logins\">\n<h2>Logins and limits</h2>\n<div class=\"grid\">\n<div><h3>Stopped now</h3>\n")
	switch {
	case v.Stops == nil || len(v.Stops.All) == 0:
		m.put("<p class=\"none\">Nobody is blocked, over a limit or near one.</p>\n")
	default:
		m.put("<table>")
		for i := range v.Stops.All {
			s := &v.Stops.All[i]
			m.put("\n<tr><td><b class=\"pill %s\">%s</b></td><td>", s.class(), s.State)
			v.link(m, s.Key)
			m.put(" <small>%s</small><br><small>%s</small></td></tr>", s.By, s.what())
		}
		m.put("\n</table>\n")
		if v.Stops.More > 0 {
			m.put("<p class=\"none\">and %s more: milterd -limits lists them all</p>\n", v.Stops.More)
		}
	}
	if v.Stops != nil {
		m.some("<p class=\"alarm\">%s</p>\n", v.Stops.Problem)
	}
	m.put("</div>\n<div><h3>Busiest logins in the last day</h3>\n")
	v.busiest(m)
	m.put("</div>\n</div>\n</section>\n")
}

func (v *view) busiest(m *markup) {
	if len(v.Logins) == 0 {
		m.put("<p class=\"none\">No login has sent mail.</p>\n")
		return
	}
	m.put("<table class=\"names\"><tr><th>login</th><th></th><th class=\"n\">recipients</th><th class=\"n\" title=\"%s\">usual day</th></tr>", v.usualMeaning())
	most := uint64(0)
	for i := range v.Logins {
		most = max(most, v.Logins[i].Recipients)
	}
	for i := range v.Logins {
		l := &v.Logins[i]
		m.put("\n<tr><td>")
		v.link(m, l.Name)
		if l.Limited > 0 {
			m.put(" <small class=\"would\">%s put off by limits</small>", grouped(l.Limited))
		}
		m.put("</td>\n"+bar+`<rect width="%s" height="8"/></svg></td>`+"\n<td class=\"n\">", share(l.Recipients, most))
		if l.Over > 0 {
			m.put("≤")
		}
		m.put("%s</td><td class=\"n\">", grouped(l.Recipients))
		if usual := v.usual(l); usual != "" {
			m.put("%s", usual)
		} else {
			m.put("–")
		}
		m.put("</td></tr>")
	}
	m.put("\n</table>\n<p class=\"none\">Usual day: %s.</p>\n", v.usualMeaning())
}

func (s *Stopped) class() string {
	switch s.State {
	case limits.StateBlocked, limits.StateOver:
		return "refused"
	case limits.StateShadow:
		return "shadow"
	}
	return "plain"
}
