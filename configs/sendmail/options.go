package sendmail

import "strings"

// Fact is what the file says about one thing, and in which line; the zero Fact is
// that it says nothing.
type Fact struct {
	Value string
	Line  int
}

// Options holds the values of the O commands by their names in lower case;
// sendmail does not tell the cases apart, and the last one counts.
type Options map[string]Fact

// Get is what an option is set to.
func (o Options) Get(name string) Fact { return o[strings.ToLower(name)] }

// option reads an O command with a long name: "O Name=value". The one-character
// names of old are none that milterd looks at.
func (p *parser) option(rest string, number int) {
	if !strings.HasPrefix(rest, " ") {
		return
	}
	name, value, _ := strings.Cut(rest, "=")
	name, value = strings.ToLower(strings.TrimSpace(name)), strings.TrimSpace(value)
	p.options[name] = Fact{value, number}
	if name == "daemonportoptions" {
		p.daemon(value, number)
	}
}

// value is what an option is set to, empty if it is not set.
func (o Options) value(name string) string { return o.Get(name).Value }

// on reads a switch as sendmail's atobool does: no value means true.
func (o Options) on(name string) bool {
	value, set := o.value(name), o.Get(name).Line > 0
	return set && (value == "" || strings.ContainsAny(value[:1], "tTyY"))
}

// Probe is the option DontProbeInterfaces, turned round.
type Probe int

const (
	// ProbeAll adds the addresses of all interfaces to class w, and the names
	// they have. It is the default.
	ProbeAll Probe = iota
	// ProbeNoLoopbackNames leaves the names of the loopback interfaces out
	// (DontProbeInterfaces=loopback).
	ProbeNoLoopbackNames
	// ProbeNone adds nothing (DontProbeInterfaces=true).
	ProbeNone
)

func (o Options) probe() Probe {
	switch {
	case strings.EqualFold(o.value("DontProbeInterfaces"), "loopback"):
		return ProbeNoLoopbackNames
	case o.on("DontProbeInterfaces"):
		return ProbeNone
	}
	return ProbeAll
}
