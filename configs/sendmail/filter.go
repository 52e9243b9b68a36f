package sendmail

import "strings"

// Filter is a milter that a sendmail.cf defines: an X command, as
// INPUT_MAIL_FILTER and MAIL_FILTER write it.
type Filter struct {
	Name string
	// Socket is its address in sendmail's notation (S=).
	Socket string
	// Flags say what happens to mail while the filter is down (F=): R refuses
	// it, T and 4 defer it, and without any of them it is taken unfiltered.
	Flags string
	// Timeouts are the times that the filter may take (T=), such as S:10s;R:10s.
	Timeouts string
	// Used: the filter is named in InputMailFilters, of the file or of a daemon.
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
			f.Timeouts = value
		}
	}
	p.config.Filters = append(p.config.Filters, f)
}

func filterNames(list string) []string {
	return strings.FieldsFunc(list, func(r rune) bool { return r == ',' || r == ';' || r == ' ' || r == '\t' })
}

// markUsed tells the filters that are asked from those that are only defined.
func (p *parser) markUsed() {
	asked := append(filterNames(p.options.value("InputMailFilters")), p.inputFilters...)
	for i := range p.config.Filters {
		f := &p.config.Filters[i]
		for _, name := range asked {
			f.Used = f.Used || strings.EqualFold(name, f.Name)
		}
	}
}
