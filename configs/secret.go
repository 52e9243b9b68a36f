package configs

import (
	"net/netip"
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

// redact takes what may be a query key out of the problems. A key is easily put
// in the wrong place, or written so that YAML takes it for something else, and
// the messages about that go to a terminal and to the log.
func (p problems) redact(top *yaml.Node) {
	lists := descend(top, "checks", "dnsbl", "lists")
	if lists == nil || lists.Kind != yaml.MappingNode {
		return
	}
	known := make(map[string]bool)
	if list, err := new(Config).listSchema("zone.example"); err == nil {
		for _, f := range list.section {
			known[f.name] = true
		}
	}
	suspects := make(map[string]bool)
	for i := 1; i < len(lists.Content); i += 2 {
		suspect(lists.Content[i], "", known, suspects)
	}
	for i := range p {
		for text := range suspects {
			p[i].Text = strings.ReplaceAll(p[i].Text, text, redacted)
		}
	}
}

// suspect collects what could be a key: every value that is not one of the words,
// numbers and codes a list takes, and every name of a key that is none.
func suspect(n *yaml.Node, name string, known, suspects map[string]bool) {
	switch n.Kind {
	case yaml.MappingNode:
		for i := 0; i+1 < len(n.Content); i += 2 {
			key := n.Content[i].Value
			if !known[key] && strings.ContainsAny(key, ":=") {
				suspects[key] = true
			}
			suspect(n.Content[i+1], key, known, suspects)
		}
	case yaml.SequenceNode:
		for _, item := range n.Content {
			suspect(item, name, known, suspects)
		}
	case yaml.ScalarNode:
		if n.Value != "" && (name == "key" || name != "reply" && name != "name" && !innocent(n.Value)) {
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
