package configs

import (
	"os"
	"path/filepath"
	"strings"

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
		case l.key == "listen.http":
			s.warnOf(l.key, "%s can be reached from other machines: they can read /metrics and /healthz; %s", l, page)
		}
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

// checkNames warns of names in the list of a key that are files beside the configuration.
func (s *sources) checkNames(key string, names []string) {
	for _, name := range names {
		path, err := filepath.Abs(s.config.path(name))
		if err != nil || s.config.name == "" || strings.HasPrefix(name, "/") {
			continue
		}
		if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() {
			s.warnOf(key, "%s is taken for a name, and there is a file %s; for the names in it write %s: [%s]", quote(name), path, key, path)
		}
	}
}

// checkPlaces warns of files and directories that milterd would need to have.
func (c *Config) checkPlaces(s *sources) {
	s.checkNames("domains.local", c.Domains.Local)
	s.checkNames("domains.relay", c.Domains.Relay)
	g := &c.Grants
	if g.File != "" && !isDir(filepath.Dir(g.File)) {
		s.warnOf("grants.file", "there is no directory %s, and milterd does not start without", filepath.Dir(g.File))
	}
	// The directory itself is made at the start.
	if dir := c.Record.Dir; dir != "" && !isDir(filepath.Dir(dir)) {
		s.warnOf("record.dir", "there is no directory %s, so nothing will be recorded", filepath.Dir(dir))
	} else if info, err := os.Stat(dir); dir != "" && err == nil && !info.IsDir() {
		s.warnOf("record.dir", "%s is not a directory, so nothing will be recorded", dir)
	}
	for _, l := range g.Logs {
		if _, err := os.Stat(l.File); os.IsNotExist(err) {
			s.warnOf("grants.logs", "%s: no such file (yet)", l.File)
		}
	}
	if g.File != "" && g.Control == "" && g.Dovecot.Listen == "" && len(g.Logs) == 0 && g.DRAC.Listen == "" {
		s.warnOf("grants.file", "nothing makes grants here: expected control, dovecot, logs or drac as well")
	}
}

func isDir(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}

// checkOthers warns of a file that every user of this machine can read or write,
// whichever of the two is in forbidden; key says what the file is. One that is not
// there yet is made with a mode that is right.
func (s *sources) checkOthers(path, key string, forbidden os.FileMode) {
	info, err := os.Stat(path)
	if err != nil {
		return
	}
	can, chmod := "", ""
	switch info.Mode() & forbidden {
	case 0o002:
		can, chmod = "write to", "o-w"
	case 0o004:
		can, chmod = "read", "o-r"
	case 0o006:
		can, chmod = "read and write to", "o-rw"
	default:
		return
	}
	s.warn(path, 0, "every user of this machine can %s it (%s); chmod %s takes that away", can, key, chmod)
}
