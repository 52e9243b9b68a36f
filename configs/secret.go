package configs

import (
	"bytes"
	"cmp"
	"iter"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"

	"milterd/dnscheck"
)

// redacted stands in messages for what may be a query key.
const redacted = "[redacted]"

// harmless are the words that a list's keys take; they can be shown.
var harmless = map[string]bool{
	"address": true, "domain": true, "ignore": true, "tempfail": true, "true": true, "false": true,
	"ipv4": true, "ipv6": true, "all": true, "strangers": true, "authenticated": true, "null": true,
}

// Secret is a password or a key. It is never shown: printing it prints a
// placeholder.
type Secret = dnscheck.Secret

// secret takes a password or a key; what names it in messages. A number is one too,
// and nothing of it is ever shown.
func secret(to *Secret, what string) func(value) {
	return func(v value) {
		if v.node.Kind != yaml.ScalarNode || v.node.Tag == "!!null" || strings.ContainsAny(v.node.Value, " \t\r\n") {
			v.fail("expected %s, a word", what)
			return
		}
		*to = Secret(v.node.Value)
	}
}

// shortest is the length of a text that is looked for in messages. What is shorter
// is a part of any message: its place would tell more than it hides.
const shortest = 4

// suspects are the texts that could be secrets.
type suspects map[string]bool

// redact takes what may be a secret out of the problems. One is easily put in the
// wrong place, or written so that YAML takes it for something else, and the
// messages about that go to a terminal and to the log.
func (p problems) redact(top *yaml.Node) {
	found := make(suspects)
	for _, list := range pairs(descend(top, "checks", "dnsbl", "lists")) {
		found.list(list, "")
	}
	found.section(descend(top, "redis"), "password")
	found.section(descend(top, "grants", "redis"), "password")
	found.section(descend(top, "grants", "dovecot"), "secret")
	found.section(descend(top, "status"), "token")
	// A value in place of this section is a directory.
	if section := descend(top, "record"); section != nil && section.Kind == yaml.MappingNode {
		found.section(section, "redact_key")
	}
	// What holds another goes first, or a part of it would be left.
	longest := slices.SortedFunc(maps.Keys(found), func(a, b string) int {
		return cmp.Or(cmp.Compare(len(b), len(a)), cmp.Compare(a, b))
	})
	for i := range p {
		for _, text := range longest {
			p[i].Text = strings.ReplaceAll(p[i].Text, text, redacted)
		}
	}
}

func (s suspects) add(texts ...string) {
	for _, text := range texts {
		if len(text) >= shortest {
			s[text] = true
		}
	}
}

// section adds what could be the secret of a section: all that stands for it, a
// value in place of the section, and a key that has swallowed its value.
func (s suspects) section(section *yaml.Node, secret string) {
	if section == nil {
		return
	}
	if section.Kind != yaml.MappingNode {
		s.all(section)
		return
	}
	for key, value := range pairs(section) {
		if strings.ContainsAny(key.Value, ":=") {
			s.add(key.Value)
		}
		if key.Value == secret {
			s.all(value)
		}
	}
}

// all adds every text of a node, with what YAML takes for the name of an anchor or
// of a tag.
func (s suspects) all(n *yaml.Node) {
	s.add(n.Value, n.Anchor)
	if n.Style&yaml.TaggedStyle != 0 {
		s.add(n.Tag)
	}
	for _, below := range n.Content {
		s.all(below)
	}
}

// list adds what could be the query key of a DNS list: every value that is not one
// of the words, numbers and codes a list takes, and every key that has swallowed
// its value.
func (s suspects) list(n *yaml.Node, name string) {
	switch n.Kind {
	case yaml.MappingNode:
		s.section(n, "key")
		for key, value := range pairs(n) {
			s.list(value, key.Value)
		}
	case yaml.SequenceNode:
		for _, item := range n.Content {
			s.list(item, name)
		}
	case yaml.ScalarNode:
		if name != "reply" && name != "name" && !innocent(n.Value) {
			s.add(n.Value)
		}
	}
}

// innocent reports whether a value is one that a list takes, or too short for a
// key.
func innocent(text string) bool {
	if _, err := dnscheck.ParseCode(text); err == nil {
		return true
	}
	_, err := netip.ParseAddr(text)
	return err == nil || len(text) < 6 || harmless[text]
}

// descend follows keys down a document; nil if one of them is not there.
func descend(n *yaml.Node, path ...string) *yaml.Node {
	for _, step := range path {
		var next *yaml.Node
		for key, value := range pairs(n) {
			if key.Value == step {
				next = value
			}
		}
		n = next
	}
	return n
}

// pairs are the keys and values of a mapping, none of anything else.
func pairs(n *yaml.Node) iter.Seq2[*yaml.Node, *yaml.Node] {
	return func(yield func(key, value *yaml.Node) bool) {
		if n == nil || n.Kind != yaml.MappingNode {
			return
		}
		for i := 0; i+1 < len(n.Content) && yield(n.Content[i], n.Content[i+1]); i += 2 {
		}
	}
}

// maxSecretFile is the longest file that a secret is read from.
const maxSecretFile = 4096

// secretKey is a key for a secret. Beside it stands one of the same name and _file,
// for a file that holds the secret.
type secretKey struct {
	key   string
	to    *Secret
	path  string
	least int    // octets
	why   string // the risk of a shorter one
}

func (c *Config) secrets() []secretKey {
	redis, dovecot, record, status := &c.Redis, &c.Grants.Dovecot, &c.Record, &c.Status
	return []secretKey{
		{"redis.password", &redis.Password, redis.PasswordFile, 1, ""},
		{"grants.dovecot.secret", &dovecot.Secret, dovecot.SecretFile, 16, "who guesses it can grant"},
		{"record.redact_key", &record.RedactKey, record.RedactKeyFile, 16, "who guesses the key learns the names"},
		{"status.token", &status.Token, status.TokenFile, 16, "who guesses it reads whom mail is from and for"},
	}
}

func (c *Config) checkSecrets(d *decoder) {
	for _, secret := range c.secrets() {
		name := secret.key[strings.LastIndexByte(secret.key, '.')+1:]
		if *secret.to != "" && secret.path != "" {
			d.wrong(d.said(secret.key, secret.key+"_file"), "expected one of %s and %s_file", name, name)
		}
		if n := len(*secret.to); n > 0 && n < secret.least {
			d.wrong(secret.key, "%d octets, expected %d at least: %s", n, secret.least, secret.why)
		}
	}
}

// readSecrets reads the files that hold passwords and keys.
func (c *Config) readSecrets(s *sources) {
	for _, secret := range c.secrets() {
		if secret.path == "" {
			continue
		}
		key := secret.key + "_file"
		data, err := readFile(secret.path, maxSecretFile)
		if err != nil {
			s.failed(key, c.source(key, secret.path, mustExist), err)
			continue
		}
		line, _, _ := bytes.Cut(data, []byte("\n"))
		line = bytes.TrimSuffix(line, []byte("\r"))
		if len(line) == 0 || firstBadText(line) > 0 || bytes.ContainsAny(line, " \t\r") {
			s.wrong(key, "the first line of %s is not a word", secret.path)
			continue
		}
		if len(line) < secret.least {
			s.wrong(key, "the first line of %s has %d octets, expected %d at least", secret.path, len(line), secret.least)
			continue
		}
		*secret.to = Secret(line)
		s.checkOthers(secret.path, key, 0o006)
	}
}
