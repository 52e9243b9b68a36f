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
	// Local is class w with the names that sendmail adds to it on any machine,
	// but without its network addresses. Relay is class R.
	Local, Relay Class
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
	// FirstWord: only the first word of a line counts, and # begins a comment
	// only where it is the first character of a line. Otherwise every word up
	// to a # counts.
	FirstWord bool
	// Line is where the sendmail.cf names the file.
	Line int
}

// Problem is something in a sendmail.cf that milterd could not follow.
type Problem struct {
	Line int
	Text string
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
		classes: make(map[string]*words),
		rules:   make(ruleset),
		options: make(options),
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
	c.Local.Names = p.class("w").list
	c.Relay.Names = p.class("R").list
	c.TrustAuthMech = p.class("TrustAuthMech").list
	c.Features = p.rules.features()
	c.Features.CompressedIPv6 = p.options.on("UseCompressedIPv6Addresses")
	c.Probe = p.options.probe()
	c.Submission = p.options.on("UseMSP")
	p.markUsed()
	p.markAsked()
	p.findRelayOptions()
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
	classes map[string]*words
	rules   ruleset
	options options
	// inputFilters are the names of the filters that are asked.
	inputFilters []string
	// current is the ruleset that rules are added to.
	current string
}

// words is a set of words in the order they came.
type words struct {
	list []string
	has  map[string]bool
}

func (w *words) add(list ...string) {
	for _, word := range list {
		if word != "" && !w.has[word] {
			w.has[word] = true
			w.list = append(w.list, word)
		}
	}
}

// class is a class as it is so far.
func (p *parser) class(name string) *words {
	if p.classes[name] == nil {
		p.classes[name] = &words{has: make(map[string]bool)}
	}
	return p.classes[name]
}

// runtime defines what sendmail has found out before it reads its file.
func (p *parser) runtime(machine string) {
	if machine == "" {
		return
	}
	short, domain, _ := strings.Cut(machine, ".")
	p.macros["j"], p.macros["w"], p.macros["k"], p.macros["m"] = machine, machine, short, domain
	p.class("w").add(machine, short)
}

func (p *parser) problem(number int, format string, args ...any) {
	p.config.Problems = append(p.config.Problems, Problem{Line: number, Text: fmt.Sprintf(format, args...)})
}

func (p *parser) command(l line) {
	rest := l.text[1:]
	switch l.text[0] {
	case 'D':
		name, text := cutName(rest)
		p.macros[name] = p.expand(text)
	case 'C':
		name, text := cutName(rest)
		p.addToClass(name, text, l.number)
	case 'F':
		p.classFile(rest, l.number)
	case 'K':
		p.mapCommand(rest, l.number)
	case 'S':
		p.current = rulesetName(rest)
		if _, again := p.rules[p.current]; !again {
			p.rules[p.current] = nil
		}
	case 'O':
		p.option(rest)
	case 'H':
		p.header(rest, l.number)
	case 'X':
		p.filter(rest, l.number)
	case 'R':
		lhs, rhs, _ := strings.Cut(rest, "\t")
		rhs, _, _ = strings.Cut(strings.TrimLeft(rhs, "\t"), "\t")
		p.rules[p.current] = append(p.rules[p.current], squeeze(lhs)+" -> "+squeeze(rhs))
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

// addToClass adds the words of a C command. $=X stands for the names that class
// X has so far.
func (p *parser) addToClass(class, text string, number int) {
	for _, word := range strings.Fields(text) {
		if ref, ok := strings.CutPrefix(word, "$="); ok {
			name, _ := cutName(ref)
			p.class(class).add(p.class(name).list...)
			if counts(class) && len(p.class(name).list) == 0 {
				p.problem(number, "class %s takes the names of class %s, which has none here; list them in the configuration if it gets them elsewhere", class, name)
			}
			continue
		}
		p.class(class).add(strings.Fields(p.expand(word))...)
	}
}

// counts reports whether milterd uses a class itself; the others count as far as
// these refer to them.
func counts(class string) bool {
	return class == "w" || class == "R" || class == "TrustAuthMech"
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

// classFile reads an F command.
func (p *parser) classFile(rest string, number int) {
	class, text := cutName(rest)
	if !counts(class) {
		return
	}
	f := ClassFile{Line: number}
	text = strings.TrimLeft(text, " \t\n")
	if strings.HasPrefix(text, "-o") {
		f.Optional = true
		_, text, _ = strings.Cut(text, " ")
		text = strings.TrimLeft(text, " \t\n")
	}
	path, format, _ := strings.Cut(strings.ReplaceAll(text, `"`, ""), " ")
	format = strings.TrimSpace(format)
	switch {
	case path == "":
		p.problem(number, "class %s: an F command without a file", class)
		return
	case strings.HasPrefix(path, "|"):
		p.problem(number, "class %s: the output of a program (%s) is not read; list the names in the configuration", class, text)
		return
	case !strings.HasPrefix(path, "/"):
		p.problem(number, "class %s: %s is not a file and is not read; list the names in the configuration", class, path)
		return
	}
	f.Path = path
	f.FirstWord = format == "" || format == "%s"
	switch class {
	case "w":
		p.config.Local.Files = append(p.config.Local.Files, f)
	case "R":
		p.config.Relay.Files = append(p.config.Relay.Files, f)
	default:
		p.problem(number, "class %s: the file %s is not read; list the mechanisms in the configuration", class, path)
	}
}
