package sendmail

import (
	"slices"
	"strings"
)

// Daemon is a port that sendmail listens on, as one DAEMON_OPTIONS gives it.
type Daemon struct {
	// Name is its name (Name=), which ${daemon_name} holds.
	Name string
	// Port is its number, or a name of /etc/services that is none of the mail ports.
	Port string
	// Family is inet, inet6 and so on; empty for inet.
	Family string
	// Addr is the address it listens on, empty for all.
	Addr string
	// Flags are its modifiers (M=): a demands AUTH, A does not offer it.
	Flags string
	// Filters are the names of the filters that are asked: its own (InputMailFilters=),
	// or those of the file.
	Filters []string
	// DeliveryMode is that of what comes to it (D=), empty for that of the file.
	DeliveryMode string
	// Fields are all of its fields, as DAEMON_OPTIONS takes them.
	Fields []string
	// Line is where the sendmail.cf has it.
	Line int
}

// Without are the fields but for those that begin with one of these small letters, by which
// sendmail knows them.
func (d Daemon) Without(letters string) []string {
	return slices.DeleteFunc(slices.Clone(d.Fields), func(field string) bool { return strings.IndexByte(letters, field[0]|0x20) >= 0 })
}

// Offers reports whether clients may log in: not with M=A.
func (d Daemon) Offers() bool { return !strings.Contains(d.Flags, "A") }

// Demands reports whether clients have to log in.
func (d Daemon) Demands() bool { return strings.Contains(d.Flags, "a") && d.Offers() }

// mailPorts are the names of the mail ports.
var mailPorts = map[string]string{"": "25", "smtp": "25", "mail": "25", "submission": "587", "smtps": "465", "submissions": "465", "urd": "465"}

// MailPort is the number of the mail port that /etc/services has under a name, empty if
// there is none.
func MailPort(service string) string {
	if service == "" {
		return ""
	}
	return mailPorts[strings.ToLower(service)]
}

// daemon reads the value of one DaemonPortOptions: fields with commas between them,
// told apart by their first letter. A daemon may name filters of its own, with
// semicolons between them, in place of those of the file.
func (p *parser) daemon(value string, number int) {
	d := Daemon{Line: number}
	for field := range strings.SplitSeq(value, ",") {
		key, value, _ := strings.Cut(field, "=")
		value = strings.TrimSpace(value)
		if key = strings.TrimSpace(key); key == "" {
			continue
		}
		d.Fields = append(d.Fields, strings.TrimSpace(field))
		switch key[0] | 0x20 {
		case 'n':
			d.Name = value
		case 'p':
			d.Port = strings.ToLower(value)
		case 'f':
			d.Family = value
		case 'a':
			d.Addr = value
		case 'm':
			d.Flags = value
		case 'd':
			d.DeliveryMode = value
		case 'i':
			d.Filters = append([]string{}, filterNames(value)...) // not nil, also without a name
		}
	}
	if port, ok := mailPorts[d.Port]; ok {
		d.Port = port
	}
	p.config.Daemons = append(p.config.Daemons, d)
}
