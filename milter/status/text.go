package status

import (
	"cmp"
	"fmt"
	"strings"
	"text/tabwriter"

	"milterd/milter/tally"
	"milterd/policy/printable"
)

// barWidth is how many characters the longest bar has.
const barWidth = 24

// Text is the report for a terminal.
func (r *Report) Text() string {
	var b strings.Builder
	if r.Recordings != "" {
		fmt.Fprintf(&b, "recorded sessions: %s\n", r.Recordings)
	}
	if f := r.InForce; f != nil {
		fmt.Fprintf(&b, "%s: mode %s since %s, %d access entries\n", f.Hostname, f.Mode, f.Since.Format("2006-01-02 15:04:05"), f.Entries)
		if f.Shared != "" {
			fmt.Fprintf(&b, "nearly all clients have the address %s: something hides their own (nat_guard)\n", f.Shared)
		}
		if f.Failure != "" {
			fmt.Fprintf(&b, "the files as they are now cannot be used: %s\n", f.Failure)
		}
	}
	if r.Problem != "" {
		fmt.Fprintf(&b, "mail is not decided: %s\n", r.Problem)
	}
	lines := "lines"
	if r.Total == 1 {
		lines = "line"
	}
	fmt.Fprintf(&b, "%d %s since %s\n", r.Total, lines, r.Since.Format("2006-01-02 15:04:05"))
	textOf(&b, "Last hour", seriesNames(&r.Hour.Sum))
	textOf(&b, "Last day", seriesNames(&r.Day.Sum))
	textOf(&b, "Shadow would have refused, by check", r.Shadow.Checks)
	textOf(&b, "Shadow would have refused, by sender domain", r.Shadow.Domains)
	textOf(&b, "Shadow would have refused, by client network", r.Shadow.Networks)
	textOf(&b, "Shadow would have refused, by client name", r.Shadow.Names)
	r.loginText(&b)
	textOf(&b, "Clients", r.Clients)
	textOf(&b, "Users", r.Users)
	textOf(&b, "Refused recipients", r.RefusedRecipients)
	return oneByOne(b.String())
}

func (r *Report) loginText(b *strings.Builder) {
	w := tabwriter.NewWriter(b, 0, 0, 2, ' ', 0)
	if r.Stops != nil && len(r.Stops.All)+len(r.Stops.Problem) > 0 {
		fmt.Fprint(w, "\nStopped now\n")
		for i := range r.Stops.All {
			s := &r.Stops.All[i]
			fmt.Fprintf(w, "  %s\t%s %s\t%s\n", s.State, s.By, printable.Text(s.Key), s.what())
		}
		if r.Stops.More > 0 {
			fmt.Fprintf(w, "  and %d more\n", r.Stops.More)
		}
		if r.Stops.Problem != "" {
			fmt.Fprintf(w, "  %s\n", printable.Text(r.Stops.Problem))
		}
	}
	if len(r.Logins) > 0 {
		since := "in the last day"
		if r.Recordings != "" {
			since = "in all"
		}
		fmt.Fprintf(w, "\nBusiest logins (usual day: %s)\n  \trecipients %s\tusual day\tput off by limits\n", r.usualMeaning(), since)
		for i := range r.Logins {
			l := &r.Logins[i]
			over := ""
			if l.Over > 0 {
				over = "≤"
			}
			fmt.Fprintf(w, "  %s\t%s%d\t%s\t%d\n", printable.Text(l.Name), over, l.Recipients, cmp.Or(r.usual(l), "–"), l.Limited)
		}
	}
	_ = w.Flush() // writing to a strings.Builder cannot fail
}

func oneByOne(text string) string {
	lines := strings.Split(text, "\n")
	for i := range lines {
		lines[i] = printable.Text(lines[i])
	}
	return strings.Join(lines, "\n")
}

func seriesNames(sum *tally.Bar) []tally.Name {
	names := []tally.Name{{Name: "accepted", Count: sum.Accepted}, {Name: "of them shadow would refuse", Count: sum.Shadow}, {Name: "put off (4xx)", Count: sum.Tempfailed}}
	for _, c := range refusals(sum) {
		names = append(names, tally.Name{Name: "refused by " + c.Name, Count: c.Count})
	}
	return names
}

// textOf writes a list of names with bars; an empty one is left out.
func textOf(b *strings.Builder, title string, names []tally.Name) {
	if len(names) == 0 {
		return
	}
	fmt.Fprintf(b, "\n%s\n", title)
	most := uint64(1)
	for _, n := range names {
		most = max(most, n.Count)
	}
	w := tabwriter.NewWriter(b, 0, 0, 2, ' ', 0)
	for _, n := range names {
		bar := strings.Repeat("█", int((n.Count*barWidth+most-1)/most))
		fmt.Fprintf(w, "  %s\t%7d\t%s\n", printable.Text(n.Name), n.Count, bar)
		if x := n.Example; x != nil {
			fmt.Fprintf(w, "\t\te.g. %s to %s %s %s %s\n", x.From, x.To, x.Client, x.Name, x.Queue)
		}
	}
	_ = w.Flush() // writing to a strings.Builder cannot fail
}
