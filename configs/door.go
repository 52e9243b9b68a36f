package configs

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"milterd/configs/sendmail"
	"milterd/policy/access"
)

// checkDoors compares what sendmail.cf says about its filters and maps with where
// milterd listens, and warns where mail would pass milterd by.
func (c *Config) checkDoors(s *sources, cf *sendmail.Config) {
	if cf.Submission {
		s.warn(s.cf, 0, "a submission program's file (FEATURE(msp)), which decides about no client; the server's is usually /etc/mail/sendmail.cf")
		return
	}
	c.checkFilters(s, cf)
	c.checkMaps(s, cf)
	c.checkReceivedField(s, cf)
}

// checkFilters looks for the filter that leads to milterd.
func (c *Config) checkFilters(s *sources, cf *sendmail.Config) {
	ours, others := false, []string(nil)
	for i, f := range cf.Filters {
		again := slices.ContainsFunc(cf.Filters[:i], func(before sendmail.Filter) bool { return before.Is(f.Name) })
		if again {
			s.severe("dnl INPUT_MAIL_FILTER(`"+f.Name+"', …)   one of the two, and make sendmail.cf anew: FEATURE(`milterd') brings its own", s.cf, f.Line,
				"a second filter has the name %s: with two of one name sendmail does not start (duplicate filter definition)", f.Name)
			s.findings[len(s.findings)-1].Cause = true
		}
		if !LeadsTo(c.Listen.Milter, f.Socket) {
			others = append(others, f.Name+" (S="+f.Socket+")")
			continue
		}
		if ours && !again {
			s.find(Warning, "dnl INPUT_MAIL_FILTER(`"+f.Name+"', …)", s.cf, f.Line, "a second filter (%s) leads to milterd, which decides twice; milterd.m4 brings its own INPUT_MAIL_FILTER", f.Name)
		}
		ours = true
		switch {
		case !f.Used:
			s.severe(c.filterLine(), s.cf, f.Line, "the filter %s is defined, but not in InputMailFilters, so sendmail does not ask milterd; write INPUT_MAIL_FILTER in place of MAIL_FILTER", f.Name)
		case strings.Contains(f.Flags, "R"):
			s.find(Warning, FilterLine(f.Socket, StockTimeouts), s.cf, f.Line, "the filter %s has F=R: mail is refused for good while milterd is down; F=T defers it", f.Name)
		case !strings.ContainsAny(f.Flags, "T4"):
			s.severe(FilterLine(f.Socket, StockTimeouts), s.cf, f.Line, "the filter %s has no F=T: mail is taken unfiltered while milterd is down", f.Name)
		}
		if c.AsksDNS() && f.Reply > 0 && f.Reply <= c.DNS.Deadline {
			times := fmt.Sprintf("S:10s;R:%v;E:1m", (c.DNS.Deadline + 2*time.Second).Truncate(time.Second))
			s.find(Warning, FilterLine(f.Socket, times), s.cf, f.Line, "the filter %s has T=R:%v, and dns.deadline is %v: sendmail gives milterd up before a slow DNS has answered; write T=`%s' in INPUT_MAIL_FILTER (MILTERD_TIMEOUTS of milterd.m4), or lower dns.deadline",
				f.Name, f.Reply, c.DNS.Deadline, times)
		}
	}
	if ours {
		c.checkDaemons(s, cf)
		return
	}
	cure := c.filterLine()
	if slices.ContainsFunc(cf.Filters, func(f sendmail.Filter) bool { return cure == FilterLine(f.Socket, StockTimeouts) }) {
		cure = "" // listen.milter has to move: see UnsafeSockets
	}
	found := "there is none"
	if len(others) > 0 {
		found = "there is " + strings.Join(others, ", ")
	}
	s.severe(cure, s.cf, 0, "no INPUT_MAIL_FILTER leads to listen.milter (%s), so sendmail does not ask milterd; %s", strings.Join(c.Listen.Milter, ", "), found)
}

// checkDaemons looks for daemons with filters of their own, of which none leads to milterd.
func (c *Config) checkDaemons(s *sources, cf *sendmail.Config) {
	ours := slices.DeleteFunc(slices.Clone(cf.Filters), func(f sendmail.Filter) bool { return !f.Used || !LeadsTo(c.Listen.Milter, f.Socket) })
	if len(ours) == 0 {
		return
	}
	for i, d := range cf.Daemons {
		if slices.ContainsFunc(ours, func(f sendmail.Filter) bool { return d.Asks(&f) }) {
			continue
		}
		severity := Severe
		if addr, err := netip.ParseAddr(d.Addr); err == nil && addr.IsLoopback() {
			severity = Warning // what another filter hands back, perhaps
		}
		cure := "DAEMON_OPTIONS(`" + strings.Join(append(d.Without("i"), "InputMailFilters="+strings.Join(append(slices.Clone(d.Filters), ours[0].Name), ";")), ", ") + "')dnl"
		s.find(severity, cure, s.cf, d.Line, "the daemon %s asks other filters than milterd, so what comes to it is taken unfiltered: its InputMailFilters=, or if it has none the file's, does not name %s",
			cmp.Or(d.Name, fmt.Sprintf("Daemon%d", i)), ours[0].Name)
	}
}

// checkPorts warns of rules for daemons that sendmail has not; cf is nil if it is not known.
func (c *Config) checkPorts(s *sources, cf *sendmail.Config) {
	var names []string
	if cf != nil {
		for i, d := range cf.Daemons {
			names = append(names, cmp.Or(d.Name, fmt.Sprintf("Daemon%d", i)))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(c.Ports)) {
		number := sendmail.MailPort(name)
		switch {
		case isPort(name) || slices.Contains(names, name):
		case number != "":
			s.warnOf("ports."+name, "taken for the name of a daemon (Name= in DAEMON_OPTIONS); for the rules of the port write %s", number)
		case len(names) > 0:
			s.warnOf("ports."+name, "no DAEMON_OPTIONS in %s has Name=%s, so these rules never apply; the names there are %s", s.cf, name, strings.Join(names, ", "))
		}
	}
}

// tempFailed is what the rules of FEATURE(access_db) look for behind the key of a
// look-up that failed for now.
const tempFailed = "<TMPF>"

// checkMaps looks for the maps that lead to milterd, and says what becomes of them
// while it is down.
func (c *Config) checkMaps(s *sources, cf *sendmail.Config) {
	door, ours := c.mapDoor(), false
	for _, m := range cf.Sockets {
		isAccess := m.Name == cf.Access.Name && m.Line == cf.Access.Line
		if m.Name == cf.Access.Name && !isAccess {
			if LeadsTo(c.Listen.Map, m.Socket) && !LeadsTo(c.Listen.Map, cf.Access.Socket) {
				s.severe("dnl FEATURE(`access_db')", s.cf, cf.Access.Line, "the access map is defined again, after line %d made it milterd, and the last one counts, so sendmail's own rules do not ask milterd; milterd.m4 takes the place of FEATURE(`access_db')", m.Line)
				ours = true
			}
			continue
		}
		if !LeadsTo(c.Listen.Map, m.Socket) {
			if isAccess {
				cure := c.accessLine()
				if slices.ContainsFunc(cf.Sockets, asksQuestion) {
					cure = c.doorLine()
				}
				s.severe(cmp.Or(cure, mapKey(m.Socket)), s.cf, m.Line, "the access map is the socket %s, which is not listen.map (%s), so sendmail's own rules do not look into milterd's access table (%s)", m.Socket, door, s.access.path)
			}
			continue
		}
		ours = true
		switch {
		case m.Optional:
			lost, cure := "", "K"+m.Name+" socket -q -f "+m.Socket
			if isAccess {
				cure, lost = c.accessLine(), ", so what it refuses (REJECT) is taken"
			}
			s.find(Warning, cure, s.cf, m.Line, "the map %s has -o: a sendmail that cannot connect to milterd takes the map for empty%s", m.Name, lost)
		case isAccess && m.Temporary != "" && m.Temporary != tempFailed: // without any sendmail says 451 itself
			s.find(Warning, c.accessLine(), s.cf, m.Line, "the map %s has -T%s, a mark that its rules do not know, so while milterd is down nobody can tell what they make of it: expected -T%s", m.Name, m.Temporary, tempFailed)
		}
	}
	c.checkQuestion(s, cf)
	switch {
	case ours || len(c.Listen.Map) == 0:
	case c.GrantsConfigured():
		severity := Warning
		if !c.grantsExpected() {
			severity = Note
		}
		s.find(severity, bothDoors, s.cf, 0, "no socket map leads to listen.map (%s), so sendmail's own rules know nothing of grants and go on refusing to relay", door)
	case c.explicit("listen.map"):
		s.find(Warning, bothDoors, s.cf, 0, "no socket map leads to listen.map (%s), so sendmail's own rules do not ask milterd", door)
	}
}

// The maps by which milterd.m4 asks about each recipient, and by which its older
// versions asked whose client the Received field shows.
const (
	questionMap = "milterd"
	receivedMap = "received"
)

func asksQuestion(m sendmail.Map) bool { return m.Name == questionMap }

func (c *Config) checkQuestion(s *sources, cf *sendmail.Config) {
	for _, m := range cf.Sockets {
		switch ours := LeadsTo(c.Listen.Map, m.Socket); {
		case m.Name == questionMap && !ours:
			s.find(Warning, cmp.Or(c.doorLine(), mapKey(m.Socket)), s.cf, m.Line, "the map %s is the socket %s, which is not listen.map (%s), so sendmail does not ask milterd about recipients", m.Name, m.Socket, c.mapDoor())
		case m.Name == questionMap && m.AskedOld:
			s.severe("", s.cf, m.Line, "the rules are those of an older milterd.m4, by which mail to an alias (CNAME) below a domain of class R goes wherever that leads, and mail that is relayed may be spared what FEATURE(delay_checks) puts off: install the new one, and make sendmail.cf anew")
		case m.Name == receivedMap && ours && cf.Received.Hides && !slices.ContainsFunc(cf.Sockets, asksQuestion):
			s.warn(s.cf, m.Line, "the rules are those of an older milterd.m4, by which sendmail does not ask milterd about each recipient: install the new one, and make sendmail.cf anew")
		}
	}
}

// checkTags warns of entries for rules of sendmail's that do not ask for them.
func (s *sources) checkTags(table *access.Table) {
	if !s.withoutTable {
		return
	}
	tags := table.MTATags()
	for _, tag := range slices.SortedFunc(maps.Keys(tags), func(a, b string) int { return tags[a] - tags[b] }) {
		s.find(Warning, "dnl define(`MILTERD_NO_ACCESS')", s.access.path, tags[tag], "entries %s: have no effect, as sendmail does not ask for the keys of the table; leave MILTERD_NO_ACCESS out of sendmail.mc", tag)
	}
}

// bothDoors is the command that tells how sendmail is to ask at the map door.
const bothDoors = "milterd -mc -both   prints the lines for sendmail.mc"

// mapKey opens the map door at its usual place, if sendmail asks there already.
func mapKey(socket string) string {
	if LeadsTo([]string{stockMap}, socket) {
		return "listen: {map: '" + stockMap + "'}"
	}
	return ""
}

// mapLine is a line that leads to the map door. Without one, listen.map has to say first
// where it is (mapKey).
func (c *Config) mapLine(before, after string) string {
	if len(c.Listen.Map) == 0 {
		return ""
	}
	return before + c.Listen.Map[0] + after
}

// AsksMap reports whether a sendmail asks at the map door.
func (c *Config) AsksMap(cf *sendmail.Config) bool {
	return slices.ContainsFunc(cf.Sockets, func(m sendmail.Map) bool { return LeadsTo(c.Listen.Map, m.Socket) })
}

// doorLine tells milterd.m4 where the map door is; accessLine has sendmail's own rules ask
// there without it.
func (c *Config) doorLine() string { return c.mapLine("define(`MILTERD_MAP', `", "')dnl") }

func (c *Config) accessLine() string {
	return c.mapLine("FEATURE(`access_db', `socket -T"+tempFailed+" ", "')dnl")
}

// mapDoor lists the addresses of the map door for a message.
func (c *Config) mapDoor() string { return cmp.Or(strings.Join(c.Listen.Map, ", "), "empty") }
