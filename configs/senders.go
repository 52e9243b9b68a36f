package configs

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"milterd/policy"
)

func (c *Config) senderLoginSchema() []field {
	k := &c.Checks.SenderLogin
	return []field{
		{name: "mode", value: mode(&k.Mode)},
		{name: "allow", value: senderRules(&k.Allow)},
		{name: "file", value: checked(&k.File, optional(checkFile))},
		{name: "null_sender", value: boolean(&k.NullSender)},
		{name: "reply", value: reply(&k.Reply)},
	}
}

func ownSenderSchema(k *policy.OwnSenderCheck) []field {
	return []field{
		{name: "mode", value: mode(&k.Mode)},
		{name: "domains", value: ownDomains(k)},
		{name: "hosts", value: hosts(&k.Networks, &k.Hosts)},
		{name: "reply", value: reply(&k.Reply)},
	}
}

// senderRules takes the addresses that every login may send as.
func senderRules(to *[]policy.SenderRule) func(value) {
	return func(v value) {
		var words []string
		rules := []policy.SenderRule{}
		list(&words, func(s string) error {
			rule, err := policy.ParseSenderRule(s)
			if err == nil {
				rules = append(rules, rule)
			}
			return err
		})(v)
		*to = rules
	}
}

// The words of checks.own_sender.domains.
const (
	ownLocal = "local"
	ownRelay = "relay"
)

// ownDomains takes the domains that are our own: names, and words for the classes.
func ownDomains(k *policy.OwnSenderCheck) func(value) {
	return func(v value) {
		var words []string
		list(&words, func(s string) error {
			if s == ownLocal || s == ownRelay {
				return nil
			}
			if err := checkHostname(s); err != nil || !strings.Contains(s, ".") {
				return fmt.Errorf("%s, expected %s, %s or a domain such as example.com", quote(s), ownLocal, ownRelay)
			}
			return nil
		})(v)
		isWord := func(s string) bool { return s == ownLocal || s == ownRelay }
		k.Local, k.Relay = slices.Contains(words, ownLocal), slices.Contains(words, ownRelay)
		k.Domains = policy.NewClass(slices.DeleteFunc(words, isWord)...)
	}
}

// hosts takes networks, addresses and names of hosts.
func hosts(networks *[]netip.Prefix, names *policy.Class) func(value) {
	return func(v value) {
		var words, found []string
		var prefixes []netip.Prefix
		list(&words, func(s string) error {
			if prefix, err := parseNetwork(s); err == nil {
				prefixes = append(prefixes, prefix)
				return nil
			} else if strings.ContainsAny(s, "/:") || strings.Trim(s, "0123456789.") == "" {
				return err
			}
			if err := checkHostname(s); err != nil || !strings.Contains(s, ".") {
				return fmt.Errorf("%s, expected a network, an address or a host name such as lists.example.com", quote(s))
			}
			found = append(found, s)
			return nil
		})(v)
		*networks, *names = prefixes, policy.NewClass(found...)
	}
}

// checkSenders reports checks that are on without anything to go by.
func (c *Config) checkSenders(d *decoder) {
	on := func(name string, mode policy.Mode) bool {
		for _, p := range c.Ports {
			if m, ok := p.Checks[name]; ok && m != policy.ModeOff {
				return true
			}
		}
		return mode != policy.ModeOff
	}
	if k := &c.Checks.SenderLogin; on("sender_login", k.Mode) && len(k.Allow) == 0 && k.File == "" {
		d.wrong(d.said("checks.sender_login.mode", "checks.sender_login.allow"), "no login would have an address; expected entries in allow, or a file")
	}
	k := &c.Checks.OwnSender
	if on("own_sender", k.Mode) && !k.Local && !k.Relay && k.Domains.Len() == 0 {
		d.wrong(d.said("checks.own_sender.mode", "checks.own_sender.domains"), "no domain is our own; expected entries in domains")
	}
	if everybody(k.Networks) {
		d.wrong("checks.own_sender.hosts", "these networks are everybody")
	}
}

const senderFileKey = "checks.sender_login.file"

// maxSenderLine is the longest line of the file of logins.
const maxSenderLine = 64 << 10

// senderFile is where the addresses of single logins stand, or empty.
func (c *Config) senderFile() string {
	if c.Checks.SenderLogin.File == "" {
		return ""
	}
	return c.path(c.Checks.SenderLogin.File)
}

// logins reads the addresses that single logins may send as.
func (s *sources) logins(path string) map[string][]policy.SenderRule {
	if path == "" {
		return nil
	}
	data, err := readFile(path, maxClassFile)
	if err != nil {
		s.failed(senderFileKey, s.config.source(senderFileKey, s.config.Checks.SenderLogin.File, mustExist), err)
		return nil
	}
	s.checkOthers(path, senderFileKey+": who may send as whom", 0o002)
	logins := make(map[string][]policy.SenderRule)
	wrong := 0
	for n, line := range bytes.Split(data, []byte("\n")) {
		if err := loginLine(logins, string(line), n+1); err != nil {
			if wrong++; wrong > maxTold {
				s.add(path, n+1, "%s: and more; the rest is not read", senderFileKey)
				break
			}
			s.add(path, n+1, "%s: %v", senderFileKey, err)
		}
	}
	s.entries[path] = len(logins)
	return logins
}

// loginLine reads one line: LOGIN ADDRESS|@DOMAIN|* ... A login may have several lines.
func loginLine(logins map[string][]policy.SenderRule, line string, n int) error {
	switch {
	case len(line) > maxSenderLine:
		return fmt.Errorf("%d octets, expected %d at most in a line", len(line), maxSenderLine)
	case firstBadText([]byte(line)) > 0:
		return errors.New("a character that is no text, expected LOGIN ADDRESS or LOGIN @DOMAIN")
	case strings.HasPrefix(line, "\ufeff"):
		return errors.New("the file begins with a UTF-8 byte order mark, expected it without one")
	}
	words := strings.Fields(line)
	for i, word := range words {
		if strings.HasPrefix(word, "#") {
			words = words[:i]
			break
		}
	}
	switch len(words) {
	case 0:
		return nil
	case 1:
		return fmt.Errorf("%s has no address, expected LOGIN ADDRESS or LOGIN @DOMAIN", quote(words[0]))
	}
	for _, word := range words[1:] {
		rule, err := policy.ParseLoginRule(word, n)
		if err != nil {
			return err
		}
		logins[words[0]] = append(logins[words[0]], rule)
	}
	return nil
}
