package configs

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"milterd/configs/sendmail"
	"milterd/policy"
	"milterd/policy/access"
)

// absence says what a missing file means.
type absence int

const (
	mustExist    absence = iota // the administrator, or sendmail.cf, names the file
	warnMissing                 // a default file; a machine without it is worth a warning
	mayBeMissing                // a file that is optional in sendmail, too
)

// source is a file that a policy is made from, which file and line name.
type source struct {
	path    string
	missing absence
	file    string
	line    int
	format  string // how a class file is read
}

// class is a class before its files are read.
type class struct {
	key   string // lists the names, empty for sendmail.cf
	names []string
	files []source
}

// sources is where everything comes from that a policy needs beyond the
// configuration itself, once sendmail.cf has had its say.
type sources struct {
	report
	findings []Finding
	entries  map[string]int // what each file holds; one that need not be there: nothing

	cf           string
	access       source
	features     access.Features
	hostname     string
	domain       string
	probe        sendmail.Probe // of its interfaces
	local, relay class
	ownDomains   class
	mechanisms   []string
	leftOut      int  // entries of the access table that cannot be used
	withoutTable bool // sendmail asks milterd about each recipient, and for no key of the table
}

// sources settles where everything comes from: an explicit key, else
// sendmail.cf if there is one, else the default.
func (c *Config) sources() *sources {
	s := &sources{
		report:     report{config: c},
		entries:    make(map[string]int),
		features:   c.Access.Features,
		mechanisms: c.Checks.Relay.TrustAuthMech,
		hostname:   c.Domains.Hostname,
	}
	s.access = c.source("access.file", c.Access.File, warnMissing)
	s.local = c.class("domains.local", c.Domains.Local, warnMissing)
	s.relay = c.class("domains.relay", c.Domains.Relay, mayBeMissing)
	if c.Sendmail.CF != "" {
		c.askSendmail(s)
	} else {
		c.checkPorts(s, nil)
	}
	if c.Draft != "" {
		s.access = source{path: c.Draft, missing: mustExist}
	}
	if s.hostname == "" {
		s.hostname = c.machine.name()
	}
	if s.cf == "" {
		s.domain = sendmail.DomainOf(s.hostname)
		s.ownDomains.names = strings.Fields(s.domain)
	}
	// Every sendmail.cf of m4 has the first in class w; the second is an interface's.
	s.local.names = append(s.local.names, "localhost")
	if s.probe != sendmail.ProbeNone {
		s.local.names = append(s.local.names, "[127.0.0.1]")
	}
	if s.hostname != "" {
		s.local.names = append(s.local.names, s.hostname)
	}
	return s
}

// askSendmail takes from sendmail.cf what has no explicit key.
func (c *Config) askSendmail(s *sources) {
	s.cf = c.path(c.Sendmail.CF)
	cf, err := c.machine.sendmailCF(s.cf)
	if err != nil {
		s.wrong("sendmail.cf", "%v", err)
		return
	}
	for _, p := range cf.Problems {
		if p.SettledBy != "" && c.explicit(p.SettledBy) {
			continue
		}
		severity := Warning
		if p.OpenRelay {
			severity = Severe
		}
		s.find(severity, p.Cure, s.cf, p.Line, "%s", p.Text)
	}
	c.checkDoors(s, cf)
	c.checkPorts(s, cf)
	s.withoutTable = cf.Access.Type == "" && c.asked(cf)
	if !c.explicit("access.file") {
		s.mapFromSendmail(cf)
	}
	if !c.explicit("access.features") {
		if f := cf.Features; s.withoutTable {
			s.features.RelayHostsOnly, s.features.RelayEntireDomain = f.RelayHostsOnly, f.RelayEntireDomain
			s.features.RelayLocalFrom, s.features.UseClientPTR = f.RelayLocalFrom, f.UseClientPTR
		} else {
			s.features = f
		}
	}
	// An option of sendmail, also if the FEATUREs are configured.
	s.features.CompressedIPv6 = cf.Features.CompressedIPv6
	if !c.explicit("domains.hostname") {
		s.hostname = cf.Hostname
	}
	s.domain, s.probe = cf.Domain, cf.Probe
	if s.features.RelayEntireDomain {
		s.ownDomains = s.classFromSendmail(cf.OwnDomains)
	}
	if !c.explicit("domains.local") {
		s.local = s.classFromSendmail(cf.Local)
		names, err := c.machine.classW(cf.Probe)
		if err != nil {
			s.warn(s.cf, 0, "class w: what sendmail adds to it for the network interfaces is not known: %v", err)
		}
		s.local.names = append(s.local.names, names...)
	}
	if !c.explicit("domains.relay") {
		s.relay = s.classFromSendmail(cf.Relay)
	}
	if !c.explicit("checks.relay.trust_auth_mech") {
		s.mechanisms = cf.TrustAuthMech
		if len(cf.TrustAuthMech) == 0 {
			offered := cmp.Or(cf.Options.Get("AuthMechanisms").Value, "LOGIN PLAIN")
			s.find(Warning, "TRUST_AUTH_MECH(`"+offered+"')dnl", s.cf, 0, "no TRUST_AUTH_MECH, so AUTH does not entitle to relay; set checks.relay.trust_auth_mech if it shall")
		}
	}
}

// asked reports whether sendmail asks milterd about each recipient. Without
// FEATURE(access_db) the table is milterd's alone then, and access.features has the
// FEATUREs that need it.
func (c *Config) asked(cf *sendmail.Config) bool {
	return slices.ContainsFunc(cf.Sockets, func(m sendmail.Map) bool {
		return m.Name == questionMap && m.Asked && LeadsTo(c.Listen.Map, m.Socket)
	})
}

// mapFromSendmail takes the access table that sendmail uses. If sendmail has
// none, or asks a server for it, the default file stays.
func (s *sources) mapFromSendmail(cf *sendmail.Config) {
	switch {
	case cf.Access.Text != "":
		s.access = source{path: cf.Access.Text, missing: mustExist, file: s.cf, line: cf.Access.Line}
		// If only the text is gone, sendmail still has its table.
		if _, err := os.Stat(cf.Access.File); cf.Access.Optional && errors.Is(err, fs.ErrNotExist) {
			s.access.missing = warnMissing
		}
	case s.withoutTable, cf.Access.Type == "socket" && LeadsTo(s.config.Listen.Map, cf.Access.Socket) && !cf.Access.Optional:
		// sendmail's rules ask milterd alone, and an empty table refuses no client.
		s.access.missing, s.access.file, s.access.line = mustExist, s.cf, cf.Access.Line
	case cf.Access.Type == "":
		s.find(Warning, "FEATURE(`access_db')dnl", s.cf, 0, "no FEATURE(access_db), so sendmail looks nothing up in %s", s.access.path)
	}
}

func (s *sources) classFromSendmail(from sendmail.Class) class {
	to := class{names: slices.Clone(from.Names)}
	for _, f := range from.Files {
		file := source{path: f.Path, file: s.cf, line: f.Line, format: f.Format}
		if f.Optional {
			file.missing = mayBeMissing
		}
		to.files = append(to.files, file)
	}
	return to
}

// source is a file named by a key; absent says what it means if the default is
// missing.
func (c *Config) source(key, path string, absent absence) source {
	s := source{path: c.path(path), missing: absent, format: sendmail.WordsUpToComment}
	if c.explicit(key) {
		s.file, s.line = c.place(key)
		s.missing = mustExist
	}
	return s
}

// class sorts a list into names and files.
func (c *Config) class(key string, entries []string, absent absence) class {
	to := class{key: key}
	for _, e := range entries {
		if strings.HasPrefix(e, "/") {
			to.files = append(to.files, c.source(key, e, absent))
		} else {
			to.names = append(to.names, e)
		}
	}
	return to
}

// path makes a path relative to the directory of the configuration, but for an empty one.
func (c *Config) path(p string) string {
	if p == "" || filepath.IsAbs(p) || c.name == "" {
		return p
	}
	return filepath.Join(filepath.Dir(c.name), p)
}

// AccessFile is the path of the access table.
func (c *Config) AccessFile() string { return c.sources().access.path }

// Files lists every file that the policy depends on, whether there is one or
// not: the configuration itself, sendmail.cf, the access table, the addresses of logins
// and the domain files.
func (c *Config) Files() []string {
	s := c.sources()
	files := []string{c.name, s.cf, s.access.path, c.path(c.Checks.SenderLogin.File)}
	for _, f := range slices.Concat(s.local.files, s.relay.files, s.ownDomains.files) {
		files = append(files, f.path)
	}
	for _, l := range c.Limits.Rules {
		files = append(files, c.path(l.ExceptionsFile))
	}
	return slices.DeleteFunc(files, func(path string) bool { return path == "" })
}

// failed reports a file that could not be read, or warns of one that need not
// be there.
func (s *sources) failed(what string, from source, err error) {
	if errors.Is(err, fs.ErrNotExist) {
		switch from.missing {
		case mayBeMissing:
			return
		case warnMissing:
			s.warn(from.path, 0, "no such file, taken as empty (%s)", what)
			return
		}
	}
	if errors.Is(err, fs.ErrPermission) {
		err = fmt.Errorf("%w (the user that milterd runs as must be able to read it)", err)
	}
	s.add(cmp.Or(from.file, from.path), from.line, "%s: %v", what, err)
}

// maxSuspects bounds the warnings about the entries of one class file.
const maxSuspects = 20

// warnOf warns of a key.
func (s *sources) warnOf(key, format string, args ...any) {
	file, line := s.config.place(key)
	s.warn(file, line, "%s: %s", key, fmt.Sprintf(format, args...))
}

// read makes a class of its names and files.
func (s *sources) read(what string, from class) policy.Class {
	names := from.names
	for _, name := range names {
		if what != "class w" && tooBroad(name) {
			file, line := s.cf, 0
			if from.key != "" {
				file, line = s.config.place(from.key)
			}
			s.warn(file, line, "%s: %s relays for everything below it", what, quote(name))
		}
	}
	for _, f := range from.files {
		s.entries[f.path] = 0
		data, err := readFile(f.path, maxClassFile)
		if err != nil {
			s.failed(what, f, err)
			continue
		}
		s.checkOthers(f.path, what, 0o002)
		entries, err := sendmail.ParseClassFile(data, f.format)
		if err != nil {
			s.add(f.path, 0, "%s: %v", what, err)
		}
		s.entries[f.path] = len(entries)
		told := 0
		for _, e := range entries {
			names = append(names, e.Name)
			wrong := s.suspect(what, e.Name)
			if e.Marked {
				wrong = "the file begins with a UTF-8 byte order mark, which sendmail takes for a part of the first name; save it without one"
			}
			if wrong != "" && told < maxSuspects {
				told++
				s.warn(f.path, e.Line, "%s: %s", what, wrong)
			}
		}
	}
	return policy.NewClass(names...)
}

// suspect says why an entry of a class is hardly meant as it stands, or nothing.
func (s *sources) suspect(what, name string) string {
	if !policy.NameOrNetwork(name) {
		return "an entry that is no name, and is not shown; expected a name, or a network in whole octets such as 203.0.113"
	}
	if err := checkClassEntry(strings.TrimPrefix(name, ".")); err != nil {
		return err.Error()
	}
	host, _, _ := strings.Cut(s.hostname, ".")
	switch {
	case !tooBroad(name):
	case what != "class w":
		return quote(name) + " relays for everything below it"
	case !strings.EqualFold(name, "localhost") && !strings.EqualFold(name, host):
		return fmt.Sprintf("%s stands for USER@%s alone, expected a full name such as %s.example.com", quote(name), name, name)
	}
	return ""
}

// tooBroad reports whether an entry of a class is a name without a dot, which is a
// whole top-level domain where a class holds domains, or all of IPv6.
func tooBroad(name string) bool {
	name = strings.ToLower(strings.Trim(name, "."))
	return name == "" || name == "ipv6" || strings.Trim(name, "abcdefghijklmnopqrstuvwxyz-") == ""
}
