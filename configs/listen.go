package configs

import (
	"milterd/milter/door"
	"milterd/policy"
)

// listener is one address that milterd listens on, and the key that says so.
type listener struct {
	key string
	door.Address
}

// listeners are the stream sockets that milterd opens, in the order of their keys.
func (c *Config) listeners() []listener {
	var all []listener
	add := func(key string, addresses ...string) {
		for _, text := range addresses {
			// What is not empty has been checked when it was read.
			if address, err := door.ParseAddress(text); err == nil {
				all = append(all, listener{key, address})
			}
		}
	}
	add("listen.milter", c.Listen.Milter...)
	add("listen.map", c.Listen.Map...)
	add("listen.http", c.Listen.HTTP)
	add("grants.control", c.Grants.Control)
	add("grants.dovecot.listen", c.Grants.Dovecot.Listen)
	return all
}

func (c *Config) checkListeners(d *decoder) {
	all := c.listeners()
	for i, b := range all {
		for _, a := range all[:i] {
			if a.Same(b.Address) && (a.String() != b.String() || a.key != b.key) {
				d.wrong(d.said(a.key, b.key), "%s (%s) and %s (%s) are one address, expected one for each", a, a.key, b, b.key)
			}
		}
	}
}

// checkReach warns of what others than sendmail could reach, and of rules that
// nothing can come of.
func (c *Config) checkReach(s *sources) {
	page := "the page is for this machine alone, as there is no status.token"
	if c.Status.Token != "" || c.Status.TokenFile != "" {
		page = "the page asks for status.token, which is sent in the clear"
	}
	for _, l := range c.listeners() {
		switch {
		case l.Loopback():
		case l.key == "listen.map":
			s.warnOf(l.key, "%s can be reached from other machines, and whoever can connect reads the access table and learns who may relay; keep it local", l)
		case l.key == "listen.milter":
			s.warnOf(l.key, "%s can be reached from other machines, and whoever can connect can claim to be any client or login: use up its limits, have relaying suspended for it, and learn what is refused; keep it local", l)
		case l.key == "listen.http":
			s.warnOf(l.key, "%s can be reached from other machines: they can read /metrics and /healthz; %s", l, page)
		}
	}
	if c.Listen.SocketMode&0o007 != 0 {
		s.warnOf("listen.socket_mode", "%#o, and so every user of this machine reads the access table, and can use up the limits of others; expected 0660, and the group of sendmail in listen.socket_group", c.Listen.SocketMode)
	}
	// Users of this machine could grant relays, or read which clients hold a grant.
	g := &c.Grants
	if d := &g.DRAC; d.Listen != "" && !d.ReservedPort && overlaps(d.Allow, c.machine.networks()) {
		s.warnOf("grants.drac.reserved_port", "false, and grants.drac.allow has addresses of this machine: every user of it can grant a relay to any address")
	}
	if g.File != "" {
		s.checkOthers(g.File, "grants.file", 0o006)
	}
	r := &c.Received
	if r.Mode != policy.ModeOff && r.Granted && !c.GrantsConfigured() {
		s.warnOf("received.whose", "granted, but grants has no source, store or control socket, so there are none")
	}
	if c.GrantsConfigured() && len(c.Listen.Map) == 0 {
		s.warnOf("listen.map", "empty, so sendmail's own rules know nothing of grants and go on refusing to relay")
	}
}
