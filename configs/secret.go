package configs

import (
	"bytes"
	"cmp"
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
	"ipv4": true, "ipv6": true, "null": true,
}

// Secret is a password or a key. It is never shown: whatever prints it prints a
// placeholder.
type Secret = dnscheck.Secret

// secret takes a password or a key; what says what is expected. A number is one
// too, and nothing of it is ever shown.
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

// redact takes what may be a secret out of the problems. One is easily put in the
// wrong place, or written so that YAML takes it for something else, and the
// messages about that go to a terminal and to the log.
func (p problems) redact(top *yaml.Node) {
	suspects := make(map[string]bool)
	suspectLists(top, suspects)
	suspectSection(descend(top, "grants", "redis"), "password", suspects)
	suspectSection(descend(top, "grants", "dovecot"), "secret", suspects)
	// A value in place of this section is a directory.
	if section := descend(top, "record"); section != nil && section.Kind == yaml.MappingNode {
		suspectSection(section, "redact_key", suspects)
	}
	// What holds another goes first, or a part of it would be left.
	longest := slices.SortedFunc(maps.Keys(suspects), func(a, b string) int {
		return cmp.Or(cmp.Compare(len(b), len(a)), cmp.Compare(a, b))
	})
	for i := range p {
		for _, text := range longest {
			p[i].Text = strings.ReplaceAll(p[i].Text, text, redacted)
		}
	}
}

// suspectSection collects what could be the secret of a section: all that stands
// for it, a value in place of the section, and a key that has swallowed its value.
func suspectSection(section *yaml.Node, secret string, suspects map[string]bool) {
	if section == nil {
		return
	}
	if section.Kind != yaml.MappingNode {
		suspectAll(section, suspects)
		return
	}
	for i := 0; i+1 < len(section.Content); i += 2 {
		key := section.Content[i].Value
		if len(key) >= shortest && strings.ContainsAny(key, ":=") {
			suspects[key] = true
		}
		if key == secret {
			suspectAll(section.Content[i+1], suspects)
		}
	}
}

// suspectAll collects every text of a node, with what YAML takes for the name of an
// anchor or of a tag.
func suspectAll(n *yaml.Node, suspects map[string]bool) {
	texts := []string{n.Value, n.Anchor}
	if n.Style&yaml.TaggedStyle != 0 {
		texts = append(texts, n.Tag)
	}
	for _, text := range texts {
		if len(text) >= shortest {
			suspects[text] = true
		}
	}
	for _, below := range n.Content {
		suspectAll(below, suspects)
	}
}

// suspectLists collects what could be the query key of a DNS list.
func suspectLists(top *yaml.Node, suspects map[string]bool) {
	lists := descend(top, "checks", "dnsbl", "lists")
	if lists == nil || lists.Kind != yaml.MappingNode {
		return
	}
	for i := 1; i < len(lists.Content); i += 2 {
		suspect(lists.Content[i], "", suspects)
	}
}

// suspect collects what could be a key: every value that is not one of the words,
// numbers and codes a list takes, and every key that has swallowed its value.
func suspect(n *yaml.Node, name string, suspects map[string]bool) {
	switch n.Kind {
	case yaml.MappingNode:
		for i := 0; i+1 < len(n.Content); i += 2 {
			key := n.Content[i].Value
			if strings.ContainsAny(key, ":=") {
				suspects[key] = true
			}
			if key == "key" {
				suspectAll(n.Content[i+1], suspects)
			}
			suspect(n.Content[i+1], key, suspects)
		}
	case yaml.SequenceNode:
		for _, item := range n.Content {
			suspect(item, name, suspects)
		}
	case yaml.ScalarNode:
		if n.Value != "" && name != "reply" && name != "name" && !innocent(n.Value) {
			suspects[n.Value] = true
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

// descend follows keys down a document.
func descend(n *yaml.Node, path ...string) *yaml.Node {
	for _, step := range path {
		if n == nil || n.Kind != yaml.MappingNode {
			return nil
		}
		var next *yaml.Node
		for i := 0; i+1 < len(n.Content); i += 2 {
			if n.Content[i].Value == step {
				next = n.Content[i+1]
			}
		}
		n = next
	}
	return n
}

// maxSecretFile is the longest file that a secret is read from.
const maxSecretFile = 4096

// readSecrets reads the files that hold passwords and keys.
func (c *Config) readSecrets(s *sources) {
	for _, secret := range []struct {
		key, path string
		to        *Secret
		least     int
	}{
		{"grants.redis.password_file", c.Grants.Redis.PasswordFile, &c.Grants.Redis.Password, 1},
		{"grants.dovecot.secret_file", c.Grants.Dovecot.SecretFile, &c.Grants.Dovecot.Secret, minDovecotSecret},
		{"record.redact_key_file", c.Record.RedactKeyFile, &c.Record.RedactKey, minRedactKey},
	} {
		if secret.path == "" {
			continue
		}
		from := source{path: secret.path, file: c.name, line: c.lines[secret.key]}
		data, err := readFile(secret.path, maxSecretFile)
		if err != nil {
			s.failed(secret.key, from, err)
			continue
		}
		line, _, _ := bytes.Cut(data, []byte("\n"))
		line = bytes.TrimSuffix(line, []byte("\r"))
		if len(line) == 0 || firstBadText(line) > 0 || bytes.ContainsAny(line, " \t\r") {
			s.add(from.file, from.line, "%s: the first line of %s is not a word", secret.key, secret.path)
			continue
		}
		if len(line) < secret.least {
			s.add(from.file, from.line, "%s: the first line of %s has %d octets, expected %d at least", secret.key, secret.path, len(line), secret.least)
			continue
		}
		*secret.to = Secret(line)
		s.checkOthers(secret.path, secret.key, 0o006)
	}
}
