package configs

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
	"gopkg.in/yaml.v3"

	"milterd/policy"
	"milterd/policy/access"
)

// Limits says how much each may send.
type Limits struct {
	// File (a complete path, empty for memory only) and Max take effect at the start only.
	File           string
	Max            int
	Reply, Blocked policy.Reply
	// Notify is a program with its arguments, empty for none.
	Notify []string
	// Rules are in the order of the file.
	Rules []LimitRule
}

// LimitRule is one limit.
type LimitRule struct {
	policy.Limit
	ExceptionsFile string // empty for none
}

// maxLimits bounds the limits. Each is asked for each recipient.
const maxLimits = 50

// program takes a list of a program and its arguments, which no shell sees.
func program(to *[]string) func(value) {
	return func(v value) {
		if v.node.Kind != yaml.SequenceNode {
			v.fail("%s, expected a list of a program and its arguments, such as [/usr/local/sbin/notify, a]; there is no shell", kind(v.node))
			return
		}
		var words []string
		for i, n := range v.node.Content {
			entry := value{decoder: v.decoder, path: v.path, node: n}
			switch {
			case !entry.isWord("!!null"):
			case strings.ContainsRune(n.Value, 0):
				entry.fail("%s, expected a word without a zero octet", quote(n.Value))
			case i == 0 && !filepath.IsAbs(n.Value):
				entry.fail("%s, expected the whole path of a program, such as /usr/local/sbin/notify", quote(n.Value))
			default:
				words = append(words, n.Value)
			}
		}
		*to = words
	}
}

func (c *Config) checkNotify(s *sources) {
	if len(c.Limits.Notify) == 0 {
		return
	}
	path := c.Limits.Notify[0]
	info, err := os.Stat(path)
	switch {
	case err != nil:
		s.wrong("limits.notify", "%v", err)
	case !info.Mode().IsRegular() || unix.Faccessat(unix.AT_FDCWD, path, unix.X_OK, unix.AT_EACCESS) != nil:
		s.wrong("limits.notify", "%s cannot be run, expected a program that the user that milterd runs as may run", path)
	case info.Mode()&0o002 != 0:
		s.wrong("limits.notify", "every user of this machine can write to %s, and milterd would run it; chmod o-w takes that away", path)
	}
}

// checkLimitName wants a name that can stand in a log, a metric and a recording.
var checkLimitName = matching(`[a-z0-9][a-z0-9_-]{0,39}`, "the name of a limit: at most 40 small letters, digits, - and _")

func (c *Config) limitSchema(name string) (field, error) {
	if err := checkLimitName(name); err != nil {
		return field{}, err
	}
	l := LimitRule{Limit: policy.Limit{Name: name, Mode: policy.ModeEnforce, Count: policy.CountRecipients, By: policy.ByLogin}}
	fields := []field{
		{name: "mode", value: mode(&l.Mode)},
		{name: "count", value: oneOf(&l.Count, policy.CountMessages, policy.CountRecipients, policy.CountRefused)},
		{name: "by", value: oneOf(&l.By, policy.ByLogin, policy.ByClient, policy.BySender)},
		{name: "rate", value: oneOrMore(&l.Rates, rateParser())},
		{name: "for", value: networksOr(func(words []string, networks []netip.Prefix) {
			l.Whom.Authenticated, l.Whom.Relay = slices.Contains(words, "authenticated"), slices.Contains(words, "relay")
			l.Whom.Granted, l.Whom.Strangers = slices.Contains(words, "granted"), slices.Contains(words, "strangers")
			l.Whom.Networks = networks
		}, "authenticated", "relay", "granted", "strangers")},
		{name: "logins", value: func(v value) {
			list(&l.Whom.Logins, checkLogin)(v)
			for i, login := range l.Whom.Logins {
				l.Whom.Logins[i] = access.Fold(login)
			}
		}},
		{name: "exceptions", value: checked(&l.ExceptionsFile, optional(checkFile))},
		{name: "reply", value: reply(&l.Reply)},
	}
	return field{name: name, value: func(v value) {
		v.fields(fields)
		switch {
		case v.node.Kind != yaml.MappingNode:
		case !v.given("rate"):
			v.fail("no rate, expected one such as rate: 100/1h")
		case len(c.Limits.Rules) == maxLimits:
			v.fail("more than %d limits", maxLimits)
		default:
			c.Limits.Rules = append(c.Limits.Rules, l)
		}
	}}, nil
}

// rateParser reads the rates of one limit, one after the other. Each has a period of its own,
// for which a count is kept.
func rateParser() func(string) (policy.Rate, error) {
	taken := make(map[int]bool)
	return func(s string) (policy.Rate, error) {
		r, err := policy.ParseRate(s)
		switch {
		case err != nil:
			return r, fmt.Errorf("%s: %w", quote(s), err)
		case taken[r.Period]:
			return r, fmt.Errorf("%s: another rate has the same time", quote(s))
		}
		taken[r.Period] = true
		return r, nil
	}
}

func checkLogin(s string) error {
	if s == "" || len(s) > 320 || strings.ContainsAny(s, " \t\r\n") {
		return fmt.Errorf("%s, expected a login without blanks", quote(s))
	}
	return nil
}

func (c *Config) checkLimits(d *decoder) {
	for _, l := range c.Limits.Rules {
		w := l.Whom
		some := w.Authenticated || w.Relay || w.Granted || w.Strangers || len(w.Networks) > 0 || len(w.Logins) > 0
		if l.By == policy.ByLogin && some && !w.Authenticated && len(w.Networks) == 0 && len(w.Logins) == 0 {
			key := "limits.rules." + l.Name
			d.wrong(d.said(key, key+".for"), "by login counts for who has authenticated, and these have not; expected authenticated among them, or by: client")
		}
	}
}

// limitsPolicy is what the policy knows of the limits, with the exceptions from their
// files.
func (c *Config) limitsPolicy(s *sources) policy.Limits {
	limits := policy.Limits{Blocks: len(c.Limits.Rules) > 0 || c.Grants.Control != "", Blocked: c.Limits.Blocked}
	for _, l := range c.Limits.Rules {
		if l.Reply.Code == 0 {
			l.Reply = c.Limits.Reply
		}
		if l.ExceptionsFile != "" {
			l.Exceptions = s.exceptions("limits.rules."+l.Name+".exceptions", l.ExceptionsFile)
		}
		limits.Rules = append(limits.Rules, l.Limit)
	}
	return limits
}

// maxExceptions bounds a file of exceptions, in octets.
const maxExceptions = 8 << 20

// exceptions reads a file with a login a line, and behind it its rates or the word
// unlimited:
//
//	newsletter@example.com  5000/1h 20000/24h
//	printer                 unlimited
func (s *sources) exceptions(key, path string) map[string][]policy.Rate {
	file := loginFile{
		source: s.config.source(key, path, mustExist), key: key,
		says: "how much each may send", wants: "LOGIN RATE or LOGIN unlimited", most: maxExceptions,
	}
	lines := make(map[string]int)
	return readLogins(s, file, func(all map[string][]policy.Rate, words []string, line int) error {
		login := access.Fold(file.login(s, words[0], line))
		rates, err := exception(words[1:])
		switch {
		case checkLogin(words[0]) != nil:
			return checkLogin(words[0])
		case err != nil:
			return err
		case lines[login] > 0:
			return fmt.Errorf("%s is there twice, first on line %d", quote(login), lines[login])
		}
		all[login], lines[login] = rates, line
		return nil
	})
}

// exception reads what stands behind a login; nothing for one that is not limited.
func exception(words []string) ([]policy.Rate, error) {
	switch {
	case len(words) == 0:
		return nil, fmt.Errorf("a login alone, expected its rate such as 1000/1h, or unlimited")
	case len(words) == 1 && words[0] == "unlimited":
		return nil, nil
	}
	rates, parse := make([]policy.Rate, len(words)), rateParser()
	for i, word := range words {
		var err error
		if rates[i], err = parse(word); err != nil {
			return nil, err
		}
	}
	return rates, nil
}
