package sendmail

import "strings"

// options holds the values of the O commands by their names in lower case;
// sendmail does not tell the cases apart, and the last one counts.
type options map[string]string

// option reads an O command with a long name: "O Name=value". The one-character
// names of old are none that milterd looks at.
func (p *parser) option(rest string) {
	if !strings.HasPrefix(rest, " ") {
		return
	}
	name, value, _ := strings.Cut(rest, "=")
	name, value = strings.ToLower(strings.TrimSpace(name)), strings.TrimSpace(value)
	p.options[name] = value
	if name == "daemonportoptions" {
		p.daemonFilters(value)
	}
}

// value is what an option is set to, empty if it is not set.
func (o options) value(name string) string { return o[strings.ToLower(name)] }

// on reads a switch as sendmail's atobool does: no value means true.
func (o options) on(name string) bool {
	value, set := o[strings.ToLower(name)]
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

func (o options) probe() Probe {
	switch {
	case strings.EqualFold(o.value("DontProbeInterfaces"), "loopback"):
		return ProbeNoLoopbackNames
	case o.on("DontProbeInterfaces"):
		return ProbeNone
	}
	return ProbeAll
}
