package sendmail

import (
	"slices"
	"strconv"
	"strings"
	"time"
)

// Filter is a milter that a sendmail.cf defines: an X command, as
// INPUT_MAIL_FILTER and MAIL_FILTER write it.
type Filter struct {
	Name string
	// Socket is its address in sendmail's notation (S=).
	Socket string
	// Flags say what happens to mail while the filter is down (F=): R refuses
	// it, T and 4 defer it, and without any of them it is taken unfiltered.
	Flags string
	// Reply is how long sendmail waits for an answer (T=R:); 0 is its default, 10 s.
	Reply time.Duration
	// Used: the filter is asked, by one daemon at least.
	Used bool
	// Line is where the sendmail.cf defines it.
	Line int
}

// filter reads an X command: Xname, S=socket, F=flags, T=times.
func (p *parser) filter(rest string, number int) {
	name, fields, _ := strings.Cut(rest, ",")
	f := Filter{Name: strings.TrimSpace(name), Line: number}
	for field := range strings.SplitSeq(fields, ",") {
		key, value, _ := strings.Cut(field, "=")
		value = strings.TrimSpace(value)
		switch key = strings.TrimSpace(key); {
		case key == "":
		case key[0] == 'S' || key[0] == 's':
			f.Socket = p.expand(value)
		case key[0] == 'F' || key[0] == 'f':
			f.Flags = value
		case key[0] == 'T' || key[0] == 't':
			f.Reply = replyTime(value)
		}
	}
	p.config.Filters = append(p.config.Filters, f)
}

// replyTime reads the time for an answer out of T=C:10m;S:10s;R:10s;E:5m; 0 if there is
// none.
func replyTime(times string) time.Duration {
	for part := range strings.SplitSeq(times, ";") {
		name, value, _ := strings.Cut(strings.TrimSpace(part), ":")
		if name == "R" || name == "r" {
			return interval(strings.TrimSpace(value))
		}
	}
	return 0
}

// interval reads a time as sendmail's convtime does: numbers, each with its unit (s, m,
// h, d or w; seconds without one). What is none is 0.
func interval(s string) time.Duration {
	units := map[byte]time.Duration{'s': time.Second, 'm': time.Minute, 'h': time.Hour, 'd': 24 * time.Hour, 'w': 7 * 24 * time.Hour}
	var sum time.Duration
	for s != "" {
		digits := len(s) - len(strings.TrimLeft(s, "0123456789"))
		n, err := strconv.ParseUint(s[:digits], 10, 20)
		unit := time.Second
		if s = s[digits:]; s != "" {
			unit, s = units[s[0]|0x20], s[1:]
		}
		if err != nil || unit == 0 {
			return 0
		}
		sum += time.Duration(n) * unit
	}
	return sum
}

func filterNames(list string) []string {
	return strings.FieldsFunc(list, func(r rune) bool { return r == ',' || r == ';' || r == ' ' || r == '\t' })
}

// markUsed tells the filters that are asked from those that are only defined.
func (p *parser) markUsed() {
	asked := append([]string(nil), filterNames(p.options.value("InputMailFilters"))...)
	all := asked
	for i := range p.config.Daemons {
		d := &p.config.Daemons[i]
		if d.Filters == nil {
			d.Filters = asked
		}
		all = append(slices.Clip(all), d.Filters...)
	}
	if len(p.config.Daemons) > 0 {
		all = all[len(asked):]
	}
	for i := range p.config.Filters {
		f := &p.config.Filters[i]
		f.Used = slices.ContainsFunc(all, f.Is)
	}
}

// Is reports whether a filter has that name; case is nothing to sendmail.
func (f *Filter) Is(name string) bool { return strings.EqualFold(name, f.Name) }

// Asks reports whether what comes to a daemon is shown to a filter.
func (d *Daemon) Asks(f *Filter) bool { return slices.ContainsFunc(d.Filters, f.Is) }
