package configs

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"milterd/policy"
)

// domains reads a list of them, where local and relay stand for the classes.
func domains(to *policy.Domains, check func(string) error) func(value) {
	return func(v value) {
		var names []string
		to.Local, to.Relay = false, false
		list(new([]string), func(s string) error {
			switch {
			case s == "local":
				to.Local = true
			case s == "relay":
				to.Relay = true
			case check(s) != nil:
				return fmt.Errorf("%s, expected local, relay or a domain such as example.com", quote(s))
			default:
				names = append(names, s)
			}
			return nil
		})(v)
		to.Names = policy.NewClass(names...)
	}
}

func checkDomain(s string) error {
	if !strings.Contains(s, ".") {
		return errors.New("not a whole domain")
	}
	return checkHostname(s)
}

func hosts(networks *[]netip.Prefix, names *policy.Class) func(value) {
	return func(v value) {
		var found []string
		var prefixes []netip.Prefix
		list(new([]string), func(s string) error {
			prefix, err := parseNetwork(s)
			switch {
			case err == nil:
				prefixes = append(prefixes, prefix)
			case strings.ContainsAny(s, "/:"), strings.Trim(s, "0123456789.") == "":
				return err
			case checkDomain(s) != nil:
				return fmt.Errorf("%s, expected a network, an address or a host name such as lists.example.com", quote(s))
			default:
				found = append(found, s)
			}
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
	if on("own_sender", k.Mode) && k.Domains.Empty() {
		d.wrong(d.said("checks.own_sender.mode", "checks.own_sender.domains"), "no domain is our own; expected entries in domains")
	}
	if everybody(k.Networks) {
		d.wrong("checks.own_sender.hosts", "these networks are everybody")
	}
}

const (
	senderFileKey = "checks.sender_login.file"
	senderLine    = "LOGIN ADDRESS or LOGIN @DOMAIN"
)

// logins reads the addresses that single logins may send as: LOGIN ADDRESS|@DOMAIN|* ...,
// a login in one line or several.
func (s *sources) logins() map[string][]policy.SenderRule {
	path := s.config.Checks.SenderLogin.File
	if path == "" {
		return nil
	}
	file := loginFile{
		source: s.config.source(senderFileKey, path, mustExist), key: senderFileKey,
		says: "who may send as whom", wants: senderLine, most: maxClassFile,
	}
	return readLogins(s, file, func(logins map[string][]policy.SenderRule, words []string, line int) error {
		return addLogin(logins, file.login(s, words[0], line), words, line)
	})
}

// addLogin takes the words of one line about a login.
func addLogin(logins map[string][]policy.SenderRule, login string, words []string, line int) error {
	if len(words) == 1 {
		return fmt.Errorf("%s: %s has no address, expected %s", senderFileKey, quote(words[0]), senderLine)
	}
	for _, word := range words[1:] {
		rule, err := policy.ParseLoginRule(word, line)
		if err != nil {
			return fmt.Errorf("%s: %w", senderFileKey, err)
		}
		logins[login] = append(logins[login], rule)
	}
	return nil
}
