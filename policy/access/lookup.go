package access

import (
	"net/netip"
	"strings"
)

// Tag is how a look-up uses the tag of a key. The zero value looks up keys
// without a tag.
type Tag struct {
	// Name is the tag in lower case, without the colon.
	Name string
	// Only is sendmail's mark "!": the untagged key is not tried.
	Only bool
}

// The tags of the look-ups that the checks make.
var (
	Connect  = Tag{Name: "connect"}
	From     = Tag{Name: "from"}
	FromOnly = Tag{Name: "from", Only: true}
	To       = Tag{Name: "to"}
	SpamOnly = Tag{Name: "spam", Only: true}
)

// Probe is one key looked up in the table.
type Probe struct {
	// Tag is the tag before the colon, empty for an untagged look-up.
	Tag string
	// Key is the rest of the key, in lower case.
	Key string
	// Line is the line of the table that matched, 0 where none did.
	Line int
	// Value is the entry's right-hand side, empty where none matched.
	Value string
}

// Name is the whole key as it would stand in the table.
func (p Probe) Name() string {
	if p.Tag == "" {
		return p.Key
	}
	return p.Tag + ":" + p.Key
}

// Match is what a search found. Its zero value means nothing.
type Match struct {
	Value Value
	// Probe is the key that matched.
	Probe Probe
}

// Found reports whether an entry matched.
func (m Match) Found() bool { return m.Value.Kind != KindNone }

// Search looks keys up in one table and notes every key it tries.
type Search struct {
	Table    *Table
	Features *Features
	// Probes are the keys tried, in order; none where Unnoted is set.
	Probes  []Probe
	Unnoted bool
}

// probe tries one key. The result of a SKIP entry is KindSkip.
func (s *Search) probe(tag, key string) (Match, bool) {
	p := Probe{Tag: tag, Key: key}
	value, line, ok := s.Table.get(tag, key)
	// A client may give a domain such as authinfo:smart.example, and a password
	// must not become the reply.
	ok = ok && !(tag == "" && strings.HasPrefix(key, secretTag))
	if ok {
		p.Line, p.Value = line, Shown(key, value)
	}
	s.note(p)
	if !ok {
		return Match{}, false
	}
	return s.match(p), true
}

func (s *Search) note(p Probe) {
	if s.Unnoted {
		return
	}
	if s.Probes == nil {
		s.Probes = make([]Probe, 0, 16)
	}
	s.Probes = append(s.Probes, p)
}

// match reads a probe's value.
func (s *Search) match(p Probe) Match {
	return Match{Value: ParseValue(p.Value), Probe: p}
}

// maxKey bounds the keys that are looked up: each is hashed whole, and Domain
// makes one of every label. No key of the table can be longer than a line.
const maxKey = 1024

// both tries a key with its tag and then without, as every look-up does.
func (s *Search) both(tag Tag, key string) (Match, bool) {
	if m, ok := s.probe(tag.Name, key); ok {
		return m, true
	}
	if tag.Only || tag.Name == "" {
		return Match{}, false
	}
	return s.probe("", key)
}

// result turns SKIP into nothing found, where the feature is on.
func (s *Search) result(m Match) Match {
	if m.Value.Kind == KindSkip && s.Features.Skip {
		return Match{}
	}
	return m
}

// Domain is LookUpDomain (D): a domain name and its parents, or a bracketed
// address and its networks.
func (s *Search) Domain(tag Tag, domain string) Match {
	if len(domain) > maxKey {
		return Match{}
	}
	key := Fold(domain)
	for {
		if m, ok := s.both(tag, key); ok {
			return s.result(m)
		}
		dot := labelEnd(key)
		if s.Features.LookupDotDomain && dot >= 0 {
			if m, ok := s.both(tag, key[dot:]); ok {
				return s.result(m)
			}
		}
		var more bool
		if key, more = WiderDomain(key); !more {
			return Match{}
		}
	}
}

// WiderDomain is the key that LookUpDomain (D) tries after key: the domain without its
// first label, or the network that an address in brackets is in.
func WiderDomain(key string) (wider string, ok bool) {
	if shorter, ok := shortenLiteral(key); ok {
		return shorter, true
	}
	if dot := labelEnd(key); dot >= 0 {
		return key[dot+1:], true
	}
	return "", false
}

// labelEnd is the index of the dot that ends the first label, or -1: sendmail's
// $+.$+ wants something on both sides.
func labelEnd(key string) int {
	if len(key) < 3 {
		return -1
	}
	dot := strings.IndexByte(key[1:], '.') + 1
	if dot == 0 || dot == len(key)-1 {
		return -1
	}
	return dot
}

// shortenLiteral takes the last part of an address in brackets away.
func shortenLiteral(key string) (shorter string, ok bool) {
	if len(key) < 2 || key[0] != '[' || key[len(key)-1] != ']' {
		return "", false
	}
	inner, ok := WiderAddress(key[1 : len(key)-1])
	if !ok {
		return "", false
	}
	return "[" + inner + "]", true
}

// WiderAddress is the key that LookUpAddress (A) tries after key: the address without its
// last part, at a colon in IPv6 and at a dot in IPv4.
func WiderAddress(key string) (wider string, ok bool) {
	for _, separator := range []byte{':', '.'} {
		i := strings.LastIndexByte(key, separator)
		if i <= 0 || i == len(key)-1 || strings.ContainsAny(key[i+1:], ".:") {
			continue
		}
		if separator == ':' && i >= 2 && key[i-1] == ':' {
			return key[:i-1], true
		}
		return key[:i], true
	}
	return "", false
}

// Address is LookUpAddress (A): an address and its networks, then the
// prefix-length keys. text is the address as sendmail writes it, see FormatAddr.
func (s *Search) Address(tag Tag, text string) Match {
	if len(text) > maxKey {
		return Match{}
	}
	key := Fold(text)
	for ok := true; ok; key, ok = WiderAddress(key) {
		if m, ok := s.both(tag, key); ok {
			return s.result(m)
		}
	}
	return s.result(s.network(tag, text))
}

// network looks an address up in the prefix-length keys.
func (s *Search) network(tag Tag, text string) Match {
	if s.Table == nil || s.Table.nets == 0 {
		return Match{}
	}
	addr, ok := ParseAddr(text)
	if !ok {
		return Match{}
	}
	best, found, ok := s.Table.network(tag.Name, addr)
	name := tag.Name
	if tag.Name != "" && !tag.Only {
		if network, at, found2 := s.Table.network("", addr); found2 && (!ok || network.Bits() > best.Bits()) {
			best, found, name, ok = network, at, "", true
		}
	}
	if !ok {
		if !s.Unnoted {
			s.note(Probe{Tag: tag.Name, Key: netip.PrefixFrom(addr, addr.BitLen()).String()})
		}
		return Match{}
	}
	p := Probe{Tag: name, Key: best.String(), Line: int(found.line), Value: Shown("", s.Table.value(found))}
	s.note(p)
	return s.match(p)
}

// Full is LookUpFull (F): user+detail@domain, user+*@domain, user@domain.
func (s *Search) Full(tag Tag, address string) Match {
	key := Fold(address)
	if m, ok := s.both(tag, key); ok {
		return m
	}
	plus := detailStart(key)
	if plus < 0 {
		return Match{}
	}
	at := strings.IndexByte(key[plus:], '@')
	if at < 0 || plus+at == len(key)-1 {
		return Match{}
	}
	return s.detail(tag, key[:plus], key[plus+at:])
}

// User is LookUpUser (U): user+detail@, user+*@, user@. The key ends in @.
func (s *Search) User(tag Tag, user string) Match {
	key := Fold(user)
	if m, ok := s.both(tag, key); ok {
		return m
	}
	plus := detailStart(key)
	if plus < 0 || !strings.HasSuffix(key, "@") {
		return Match{}
	}
	return s.detail(tag, key[:plus], "@")
}

// detailStart is the index of the plus sign that ends the user's name, or -1.
func detailStart(key string) int {
	if key == "" {
		return -1
	}
	plus := strings.IndexByte(key[1:], '+')
	if plus < 0 {
		return -1
	}
	return plus + 1
}

// detail tries user+* and user alone.
func (s *Search) detail(tag Tag, user, host string) Match {
	if m, ok := s.both(tag, user+"+*"+host); ok {
		return m
	}
	m, _ := s.both(tag, user+host)
	return m
}

// Exact is LookUpExact (E): the key alone.
func (s *Search) Exact(tag Tag, key string) Match {
	m, _ := s.both(tag, Fold(key))
	return m
}

// Item is one look-up of a SearchList.
type Item struct {
	// Kind is the ruleset: 'D', 'E', 'F' or 'U'.
	Kind byte
	Key  string
}

// List is SearchList: the items in turn until one is found.
func (s *Search) List(tag Tag, items ...Item) Match {
	for _, item := range items {
		var m Match
		switch item.Kind {
		case 'D':
			m = s.Domain(tag, item.Key)
		case 'E':
			m = s.Exact(tag, item.Key)
		case 'F':
			m = s.Full(tag, item.Key)
		case 'U':
			m = s.User(tag, item.Key)
		}
		if m.Found() {
			return m
		}
	}
	return Match{}
}

// Fold folds A to Z to lower case, as sendmail does with keys and classes. Other
// letters stay as they are: a Kelvin sign is no k.
func Fold(s string) string {
	for i := range len(s) {
		if s[i] >= 'A' && s[i] <= 'Z' {
			b := []byte(s)
			foldKey(b)
			return string(b)
		}
	}
	return s
}
