package probe

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// Outcome is what became of one form.
type Outcome string

// The outcomes.
const (
	// NoAnswer: the server closed, hung or talked nonsense.
	NoAnswer Outcome = "no answer"
	// PutOff: a 4xx reply.
	PutOff Outcome = "put off"
	// Refused: a 5xx reply.
	Refused Outcome = "refused"
	// Accepted: both MAIL and RCPT were accepted.
	Accepted Outcome = "accepted"
)

// Attempt is one form as it was tried.
type Attempt struct {
	Form    string  `json:"form"`
	Stage   string  `json:"stage"`
	Mail    string  `json:"mail"`
	Rcpt    string  `json:"rcpt"`
	Outcome Outcome `json:"outcome"`
	Reply   string  `json:"reply"`
	ours    bool
}

// Leak is something that the server tells and need not tell.
type Leak struct {
	Where string `json:"where"`
	What  string `json:"what"`
	Text  string `json:"text,omitempty"`
}

// Said is a leak in one line.
func (l Leak) Said() string { return l.said(": ") }

func (l Leak) said(between string) string {
	if l.Text == "" {
		return l.Where + between + l.What
	}
	return l.Where + between + l.What + ": " + l.Text
}

// Login is what became of AUTH with the administrator's user.
type Login struct {
	Mechanism string `json:"mechanism"`
	LoggedIn  bool   `json:"logged_in"`
	Relays    bool   `json:"relays"`
	Reply     string `json:"reply"`
}

// TLS is what the server shows inside TLS.
type TLS struct {
	Version string    `json:"version"`
	Subject string    `json:"subject,omitempty"`
	Until   time.Time `json:"until,omitzero"`
}

// Report is what the probe of one port found.
type Report struct {
	Target   string    `json:"target"`
	Greeting string    `json:"greeting,omitempty"`
	Domain   string    `json:"domain,omitempty"`
	Attempts []Attempt `json:"attempts"`
	// Mechanisms are the AUTH mechanisms offered before and inside TLS.
	Mechanisms struct {
		Clear []string `json:"clear"`
		TLS   []string `json:"tls"`
	} `json:"mechanisms"`
	TLS    *TLS     `json:"tls,omitempty"`
	Logins []Login  `json:"logins,omitempty"`
	Leaks  []Leak   `json:"leaks"`
	Notes  []string `json:"notes,omitempty"`
	// Error says why the probe ended early, empty if it did not.
	Error string `json:"error,omitempty"`
	// Verdict is the result in words.
	Verdict string `json:"verdict"`
}

func (r *Report) add(a Attempt) { r.Attempts = append(r.Attempts, a) }

func (r *Report) leak(where, what, text string) {
	r.Leaks = append(r.Leaks, Leak{Where: where, What: what, Text: text})
}

func (r *Report) note(text string) { r.Notes = append(r.Notes, shown(text)) }

// accepted are the attempts that the server took.
func (r *Report) accepted() (all []Attempt, relays bool) {
	for _, a := range r.Attempts {
		if a.Outcome == Accepted {
			all = append(all, a)
			relays = relays || !a.ours
		}
	}
	return all, relays
}

// count is the number of attempts with an outcome.
func (r *Report) count(o Outcome) (n int) {
	for _, a := range r.Attempts {
		if a.Outcome == o {
			n++
		}
	}
	return n
}

// Clean says that nothing was accepted, nothing leaks, and the probe came to its end with
// answers that last.
func (r *Report) Clean() bool {
	all, _ := r.accepted()
	return len(all) == 0 && len(r.Leaks) == 0 && r.Error == "" && r.count(Refused) > 0
}

// Found says that a recipient was accepted or something leaks.
func (r *Report) Found() bool {
	all, _ := r.accepted()
	return len(all) > 0 || len(r.Leaks) > 0
}

// Conclude puts the verdict into words.
func (r *Report) Conclude() {
	all, relays := r.accepted()
	switch {
	case relays:
		r.Verdict = fmt.Sprintf("RELAYS: %d of %d forms of a foreign recipient were accepted. No message was sent; some servers refuse later, at DATA. Take it for an open relay until you know.", len(all), len(r.Attempts))
	case len(all) > 0:
		r.Verdict = fmt.Sprintf("DOUBTFUL: %d of %d forms were accepted. The server may take them for users of its own and refuse later; see where such mail goes.", len(all), len(r.Attempts))
	case len(r.Attempts) == 0:
		r.Verdict = "UNKNOWN: nothing could be tried."
	case r.Error != "":
		r.Verdict = fmt.Sprintf("UNFINISHED: none of the %d forms tried was accepted, but the probe ended early.", len(r.Attempts))
	case r.count(Refused) == 0:
		r.Verdict = fmt.Sprintf("UNKNOWN: none of the %d forms was refused for good, %d were put off, as greylisting does. Probe again later.", len(r.Attempts), r.count(PutOff))
	default:
		r.Verdict = fmt.Sprintf("no relay: none of %d forms of a foreign recipient was accepted.", len(r.Attempts))
		if n := r.count(PutOff); n > 0 {
			r.Verdict += fmt.Sprintf(" %d of them were put off, and may be taken later.", n)
		}
	}
	switch n := len(r.Leaks); {
	case n == 1:
		r.Verdict += " It tells one thing that it need not tell."
	case n > 1:
		r.Verdict += fmt.Sprintf(" It tells %d things that it need not tell.", n)
	}
}

// Write prints a report for a terminal. Without all, refused forms are only counted.
func (r *Report) Write(w io.Writer, all bool) error {
	fmt.Fprintf(w, "%s\n", r.Target)
	table := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	for _, a := range r.Attempts {
		if all || a.Outcome != Refused {
			fmt.Fprintf(table, "  %s\t%s, %s\t%s\t%s\n", strings.ToUpper(string(a.Outcome)), a.Form, a.Stage, cut(a.Rcpt), cut(a.Reply))
		}
	}
	if err := table.Flush(); err != nil {
		return err
	}
	fmt.Fprintf(w, "  forms: %d refused, %d put off, %d accepted, %d without an answer\n", r.count(Refused), r.count(PutOff), r.count(Accepted), r.count(NoAnswer))
	yes := map[bool]string{true: "yes", false: "no"}
	for _, l := range r.Logins {
		fmt.Fprintf(w, "  AUTH %s: logged in: %s, may relay: %s (%s)\n", l.Mechanism, yes[l.LoggedIn], yes[l.Relays], l.Reply)
	}
	words := func(list []string) string { return cmp.Or(strings.Join(list, " "), "none") }
	fmt.Fprintf(w, "  AUTH offered in clear text: %s; inside TLS: %s\n", words(r.Mechanisms.Clear), words(r.Mechanisms.TLS))
	if r.TLS != nil {
		fmt.Fprintf(w, "  TLS: %s, certificate %s until %s\n", r.TLS.Version, r.TLS.Subject, r.TLS.Until.Format(time.DateOnly))
	}
	for _, l := range r.Leaks {
		fmt.Fprintf(w, "  tells: %s\n", l.said(" "))
	}
	for _, n := range r.Notes {
		fmt.Fprintf(w, "  note: %s\n", n)
	}
	if r.Error != "" {
		fmt.Fprintf(w, "  ended early: %s\n", r.Error)
	}
	_, err := fmt.Fprintf(w, "  %s\n", r.Verdict)
	return err
}

// cut is a text that a column of the table has room for.
func cut(text string) string {
	const room = 76
	if runes := []rune(text); len(runes) > room {
		return string(runes[:room-1]) + "…"
	}
	return text
}

// Write prints reports, or as JSON; with all also the forms that were refused.
func Write(w io.Writer, reports []*Report, asJSON, all bool) error {
	if asJSON {
		out := json.NewEncoder(w)
		out.SetEscapeHTML(false)
		out.SetIndent("", "  ")
		return out.Encode(reports)
	}
	for _, r := range reports {
		if err := r.Write(w, all); err != nil {
			return err
		}
	}
	return nil
}

// Status is the exit status of a program that has probed: 1 if anything relays or leaks, 0 only if at least one port
// has been probed to its end, else 2.
func Status(reports []*Report) int {
	const clean, relays, unknown = 0, 1, 2
	if slices.ContainsFunc(reports, (*Report).Found) {
		return relays
	}
	code := unknown
	for _, r := range reports {
		switch {
		case len(r.Attempts) == 0:
		case !r.Clean():
			return unknown
		default:
			code = clean
		}
	}
	return code
}
