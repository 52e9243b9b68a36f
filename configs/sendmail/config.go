package sendmail

import (
	"bytes"
	"errors"
	"fmt"
	"strings"

	"milterd/policy/access"
)

// Config is what a sendmail.cf says about names, relaying and the access table.
type Config struct {
	// Hostname is $j.
	Hostname string
	// Domain is $m, the name of our own domain; empty if it has none.
	Domain string
	// Local is class w with the names that sendmail adds to it on any machine,
	// but without its network addresses. Relay is class R. OwnDomains is class m,
	// which FEATURE(relay_entire_domain) relays for; $m is one of its names.
	Local, Relay, OwnDomains Class
	// TrustAuthMech is the class of the AUTH mechanisms whose users may relay.
	TrustAuthMech []string
	// Probe says which names of the network interfaces sendmail adds to Local.
	Probe Probe
	// Access is the map of FEATURE(access_db).
	Access Map
	// Sockets are the maps that are asked over a socket, Access among them if it
	// is one.
	Sockets []Map
	// Features are the FEATUREs in force that change how the table is used.
	Features access.Features
	// Filters are the milters that are defined.
	Filters []Filter
	// Received is how the Received field is written.
	Received Received
	// Options are the O commands, by name.
	Options Options
	// Daemons are the ports that sendmail listens on.
	Daemons []Daemon
	// Maps are all maps that are defined.
	Maps []Map
	// DNSLists are the lists of FEATURE(dnsbl), FEATURE(enhdnsbl) and FEATURE(rhsbl),
	// and those of like rules of one's own.
	DNSLists []DNSList
	// RDNS is what clients read whose reverse DNS is wrong.
	RDNS RDNS
	// GreetPause is the pause of FEATURE(greet_pause) in milliseconds.
	GreetPause Fact
	// RateControl, ConnControl and BlockBadHELO are the FEATUREs of these names.
	RateControl, ConnControl, BlockBadHELO Fact
	// SmartHost is $S, empty if mail goes where the DNS says.
	SmartHost Fact
	// RelayMaps are maps that rules of one's own let clients relay by.
	RelayMaps []Fact
	// OwnRefusals are the first rules of one's own that refuse in a ruleset kept free for
	// such, each as "RULESET refuses by a rule of your own, for LEFT SIDE". Rules that RDNS and
	// DNSLists tell of are not among them.
	OwnRefusals []Fact
	// Reopened are rulesets that have rules and are given more by a second S command.
	Reopened []Fact
	// Undefined are rulesets that rules call and that have no S command: sendmail refuses
	// the mail for which it comes to such a rule.
	Undefined []Fact
	// Submission: the file is one of a mail submission program (submit.cf), not
	// of a server.
	Submission bool
	// Problems are what could not be followed, for the administrator to see.
	Problems []Problem
}

// Class is a class of sendmail as far as the file tells.
type Class struct {
	Names []string
	Files []ClassFile
}

// ClassFile is a file that holds more names of a class.
type ClassFile struct {
	Path string
	// Optional: it is no error if there is no such file (-o).
	Optional bool
	// Format is what sendmail's scanf takes from each line, such as %s.
	Format string
	// Line is where the sendmail.cf names the file.
	Line int
}

// Problem is something in a sendmail.cf that milterd could not follow.
type Problem struct {
	Line int
	Text string
	// OpenRelay: sendmail relays for strangers by it.
	OpenRelay bool
	// Cure is what is to be written in the sendmail.mc, empty if Text says it.
	Cure string
	// SettledBy is the key of milterd's configuration that does away with it, if there is
	// one.
	SettledBy string
}

// Parse reads a sendmail.cf as sendmail would on a machine with the given full
// host name, which is what $j, $w and $m come from before the file is read.
func Parse(data []byte, machine string) (*Config, error) {
	if bytes.IndexByte(data, 0) >= 0 {
		return nil, errors.New("holds a NUL octet, expected a sendmail.cf")
	}
	p := &parser{
		config:  &Config{},
		macros:  make(map[string]string),
		classes: make(map[string]*class),
		rules:   make(rulesets),
		options: make(Options),
	}
	p.runtime(machine)
	for _, l := range fold(data) {
		p.command(l)
	}
	if len(p.rules) == 0 {
		return nil, errors.New("has no rulesets, expected a sendmail.cf")
	}
	c := p.config
	// A name has no spaces, whatever $j is defined as.
	if words := strings.Fields(p.macros["j"]); len(words) > 0 {
		c.Hostname = words[0]
		p.class("w").add(c.Hostname)
	}
	// sendmail adds $m to class m when it has read the whole file.
	c.Domain = p.macros["m"]
	p.class("m").add(c.Domain)
	c.Local, c.Relay, c.OwnDomains = p.class("w").Class, p.class("R").Class, p.class("m").Class
	c.TrustAuthMech = p.class("TrustAuthMech").Names
	c.Features = p.rules.features()
	p.tellUnread()
	c.Features.CompressedIPv6 = p.options.on("UseCompressedIPv6Addresses")
	c.Probe = p.options.probe()
	c.Submission = p.options.on("UseMSP")
	c.Options = p.options
	p.findRejections()
	p.markUsed()
	p.markAsked()
	p.findRelayOptions()
	p.findOwnRules()
	p.findOwnRefusals()
	p.findUndefined()
	return c, nil
}

// line is one command with its continuations.
type line struct {
	number int
	text   string
}

// fold joins continuation lines and drops comments and empty lines.
func fold(data []byte) []line {
	var lines []line
	comment := false
	for i, raw := range strings.Split(string(data), "\n") {
		raw = strings.TrimSuffix(raw, "\r")
		continues := raw != "" && (raw[0] == ' ' || raw[0] == '\t')
		switch {
		case continues && comment:
		case continues && len(lines) > 0:
			last := &lines[len(lines)-1]
			last.text += "\n" + raw
		default:
			comment = raw == "" || raw[0] == '#'
			if !comment {
				lines = append(lines, line{number: i + 1, text: raw})
			}
		}
	}
	commands := lines[:0]
	for _, l := range lines {
		if l.text = strings.TrimRight(uncomment(l.text), " \t\n"); l.text != "" {
			commands = append(commands, l)
		}
	}
	return commands
}

// uncomment removes what a # begins, unless it is $# or \#.
func uncomment(s string) string {
	if !strings.Contains(s, "#") {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != '#' || i == 0 || s[i-1] == '$' {
			b.WriteByte(s[i])
			continue
		}
		if s[i-1] == '\\' {
			text := b.String()
			b.Reset()
			b.WriteString(text[:len(text)-1])
			b.WriteByte('#')
			continue
		}
		end := strings.IndexByte(s[i:], '\n')
		if end < 0 {
			break
		}
		text := strings.TrimRight(b.String(), " \t")
		b.Reset()
		b.WriteString(text)
		i += end - 1
	}
	return b.String()
}

// parser reads the commands in order, as sendmail does: a command sees what the
// ones before it defined.
type parser struct {
	config  *Config
	macros  map[string]string
	classes map[string]*class
	rules   rulesets
	options Options
	// current is the ruleset that rules are added to.
	current string
}

// DomainOf is what sendmail takes for its own domain ($m) on a machine with a full
// host name: what follows the first label. A top-level domain is none.
func DomainOf(machine string) string {
	_, domain, _ := strings.Cut(machine, ".")
	if !strings.Contains(domain, ".") {
		return ""
	}
	return domain
}

// runtime defines what sendmail has found out before it reads its file.
func (p *parser) runtime(machine string) {
	if machine == "" {
		return
	}
	short, _, _ := strings.Cut(machine, ".")
	p.macros["j"], p.macros["w"], p.macros["k"], p.macros["m"] = machine, short, machine, DomainOf(machine)
	p.class("w").add(machine)
}

func problem(number int, format string, args ...any) Problem {
	return Problem{Line: number, Text: fmt.Sprintf(format, args...)}
}

func (p *parser) problem(number int, format string, args ...any) {
	p.config.Problems = append(p.config.Problems, problem(number, format, args...))
}

// settled is a problem that a key of milterd's configuration does away with.
func (p *parser) settled(key string, number int, format string, args ...any) {
	p.problem(number, format, args...)
	p.config.Problems[len(p.config.Problems)-1].SettledBy = key
}

// ofInclude reports whether rules are those that milterd.m4 puts before sendmail's own of
// the same ruleset, in the middle of another.
func ofInclude(rules []rule) bool {
	return len(rules) > 0 && strings.Contains(rules[0].rhs, "$&{milterd_relay}")
}

func (p *parser) command(l line) {
	rest := l.text[1:]
	switch l.text[0] {
	case 'D':
		name, text := cutName(rest)
		p.macros[name] = p.expand(text)
		if name == "S" {
			p.config.SmartHost = Fact{p.macros[name], l.number}
		}
	case 'C':
		name, text := cutName(rest)
		p.addToClass(name, text, l.number)
	case 'F':
		p.classFile(rest, l.number)
	case 'K':
		p.mapCommand(rest, l.number)
	case 'S':
		left := p.current
		p.current = rulesetName(rest)
		if before, again := p.rules[p.current]; !again {
			p.rules[p.current] = nil
		} else if len(before) > 0 && !ofInclude(before) && !ofInclude(p.rules[left]) {
			p.config.Reopened = append(p.config.Reopened, Fact{p.current, l.number})
		}
	case 'O':
		p.option(rest, l.number)
	case 'H':
		p.header(rest, l.number)
	case 'X':
		p.filter(rest, l.number)
	case 'R':
		lhs, rhs, _ := strings.Cut(rest, "\t")
		rhs, _, _ = strings.Cut(strings.TrimLeft(rhs, "\t"), "\t")
		p.rules[p.current] = append(p.rules[p.current], rule{squeeze(lhs), squeeze(rhs), rhs, l.number})
	}
}

// cutName cuts the name of a macro or class, which is one character or several
// in braces, off the text behind it.
func cutName(s string) (name, text string) {
	if strings.HasPrefix(s, "{") {
		if name, text, ok := strings.Cut(s[1:], "}"); ok {
			return name, text
		}
	}
	if s == "" {
		return "", ""
	}
	return s[:1], s[1:]
}

// maxExpanded bounds what macros are expanded to, as sendmail's MAXLINE does:
// a few lines could double each other to any length.
const maxExpanded = 2048

// expand replaces $x and ${name} by the macros defined so far.
func (p *parser) expand(s string) string {
	var b strings.Builder
	for b.Len() < maxExpanded {
		before, rest, ok := strings.Cut(s, "$")
		b.WriteString(before)
		if !ok || rest == "" {
			return b.String()
		}
		if rest[0] == '$' {
			b.WriteByte('$')
			s = rest[1:]
			continue
		}
		name, after := cutName(rest)
		b.WriteString(p.macros[name])
		s = after
	}
	return b.String()
}
