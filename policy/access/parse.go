package access

import (
	"fmt"
	"hash/maphash"
	mathbits "math/bits"
	"net/netip"
	"strings"

	"github.com/gaissmai/bart"
)

// maxLine is the longest line makemap takes, without its newline.
const maxLine = 1022

// maxProblems bounds how many problems of one table are told apart.
const maxProblems = 100

// byteOrderMark is what some editors put at the beginning of a UTF-8 file.
const byteOrderMark = "\xef\xbb\xbf"

// Parse reads a table in makemap's text format. name stands in messages and
// rules, usually the file's path; the features decide which entries are pointed
// out as ones without effect. A line that is no entry, or not one that could ever
// match, is left out: that is a problem which is not a Warning, see also
// [Table.LeftOut]. Parse fails if the text cannot be read, or is none (a [Problem]).
func Parse(name string, source Source, f Features) (*Table, []Problem, error) {
	text, entries, err := readText(name, source)
	if err != nil {
		return nil, nil, err
	}
	p := parser{
		table: &Table{
			name: name, text: text, seed: maphash.MakeSeed(), slots: make([]slot, indexSize(entries)),
			networks: make(map[string]*bart.Table[place]), mtas: make(map[string]int),
		},
		features: f,
		meanings: make(map[string]meaning),
	}
	p.parse()
	return p.table, append(p.urgent, p.problems...), nil
}

// indexSize is the number of slots for so many entries: a power of two that leaves
// at least a quarter of them free.
func indexSize(entries int) int {
	size := 8
	for size*3 < (entries+1)*4 {
		size *= 2
	}
	return size
}

type parser struct {
	table    *Table
	features Features
	problems []Problem
	// urgent are warnings that come first and are never pushed out.
	urgent []Problem
	hints  []repeated
	// endsInCR: a line did.
	endsInCR bool
	// meanings has the values read so far: few tables have many.
	meanings map[string]meaning
	// relays counts the networks with RELAY, firstRelay is the line of the first.
	relays, firstRelay int
}

func (p *parser) parse() {
	at := place{line: 1}
	for line := range strings.Lines(p.table.text) {
		p.line(strings.TrimSuffix(line, "\n"), at)
		at = place{at.offset + uint32(len(line)), at.line + 1}
	}
	p.sumUpHints()
	if p.relays > 0 {
		p.warn(p.firstRelay, "networks by prefix length with RELAY, the first of them here: %d; sendmail's own map never matches them, but through milterd's map door their clients relay", p.relays)
	}
}

// line reads one line, which begins at the given place of the text.
func (p *parser) line(line string, at place) {
	number := int(at.line)
	switch {
	case line == "" || line[0] == '#':
		return
	case number == 1 && strings.HasPrefix(line, byteOrderMark):
		const mark = "the file begins with a UTF-8 byte order mark, which makemap takes for a part of the first line; save it without one"
		if rest := line[len(byteOrderMark):]; rest == "" || rest[0] == '#' {
			p.warn(number, mark)
		} else {
			p.leaveOut(number, mark)
		}
		return
	case len(line) > maxLine:
		p.leaveOut(number, "a line of %d octets, expected %d at most, as makemap takes", len(line), maxLine)
		return
	case isSpace(line[0]) && trimSpace(line) == "":
		p.warn(number, "a line of white space only, taken as empty")
		return
	case isSpace(line[0]):
		p.leaveOut(number, "line begins with white space, expected a key")
		return
	}
	if line[len(line)-1] == '\r' && !p.endsInCR {
		p.endsInCR = true
		p.warn(number, "the line ends in CR LF, here for the first time; makemap makes the CR a part of the value, so save the file with LF alone")
	}
	end := keyEnd(line)
	key, value := line[:end], trimSpace(line[end:])
	if value == "" {
		p.leaveOut(number, "key %q has no value, expected KEY VALUE", shownKey(key))
		return
	}
	p.entry(key, value, at)
}

// entry checks one key and its value and adds them to the table.
func (p *parser) entry(key, value string, at place) {
	number := int(at.line)
	tag, rest := splitTag(key)
	network, isNetwork, err := parseNetwork(rest)
	if err != nil {
		p.leaveOut(number, "key %q: %v", shownKey(key), err)
		return
	}
	e := entry{tag: tag, rest: rest, key: key, text: value, meaning: p.meaning(value), network: isNetwork}
	if h := p.look(e); h != none {
		p.hint(number, key, h)
	}
	p.noteTag(tag, number)
	var first place
	if isNetwork {
		first = p.table.insertNetwork(tag, network, at)
		p.countRelay(e, number)
	} else {
		first = p.table.insert(key, at)
	}
	if first != at {
		p.warnTwice(key, number, first)
	}
}

func (p *parser) warnTwice(key string, number int, first place) {
	known := p.table.value(first)
	if Shown(key, known) == known {
		known = "(" + known + ")"
	} else {
		known = notShown
	}
	p.warn(number, "key %q stands in line %d already %s; line %d is used, as makemap does", shownKey(key), first.line, known, first.line)
}

// maxMeanings bounds the values that are kept while a table is read.
const maxMeanings = 1000

// meaning is what a value means, as far as that does not depend on its key.
func (p *parser) meaning(text string) meaning {
	m, known := p.meanings[text]
	if !known {
		value := ParseValue(text)
		m = meaning{value, holdsPassword(Fold(text)), lookAtValue(text, value)}
		if len(p.meanings) < maxMeanings {
			p.meanings[text] = m
		}
	}
	return m
}

// noteTag notes the first line of a tag that is sendmail's alone.
func (p *parser) noteTag(tag string, line int) {
	if usesValues(tag) || !isKnown(tag) || tag == "certissuer" || tag == "certsubject" || p.table.mtas[tag] > 0 {
		return
	}
	p.table.mtas[tag] = line
}

// countRelay counts the networks whose clients relay.
func (p *parser) countRelay(e entry, line int) {
	if e.value.Kind != KindRelay || e.tag != "" && e.tag != "connect" {
		return
	}
	if p.relays++; p.relays == 1 {
		p.firstRelay = line
	}
}

// leaveOut notes a line that is no entry of the table.
func (p *parser) leaveOut(line int, format string, args ...any) {
	p.table.leftOut++
	p.add(Problem{File: p.table.name, Line: line, Text: fmt.Sprintf(format, args...) + "; the entry is left out"})
}

func (p *parser) warn(line int, format string, args ...any) {
	p.add(Problem{File: p.table.name, Line: line, Text: fmt.Sprintf(format, args...), Warning: true})
}

// add keeps the first problems; a warning never pushes out an entry that is left out.
func (p *parser) add(problem Problem) {
	if len(p.problems) < maxProblems {
		p.problems = append(p.problems, problem)
		return
	}
	if problem.Warning {
		return
	}
	for i := len(p.problems) - 1; i >= 0; i-- {
		if p.problems[i].Warning {
			copy(p.problems[i:], p.problems[i+1:])
			p.problems[len(p.problems)-1] = problem
			return
		}
	}
}

// splitTag cuts a folded key into tag and rest. The ipv6: of an untagged
// address is no tag.
func splitTag(key string) (tag, rest string) {
	tag, rest, ok := strings.Cut(key, ":")
	if ok && isKnown(tag) {
		return tag, rest
	}
	if !ok || tag == "ipv6" || strings.ContainsAny(tag, "@[.") {
		return "", key
	}
	before, _, _ := strings.Cut(key, "/")
	if _, err := netip.ParseAddr(before); err == nil {
		return "", key
	}
	return tag, rest
}

// isKnown reports whether a tag is one of sendmail's proto.m4 and its FEATUREs.
func isKnown(tag string) bool {
	switch tag {
	case "connect", "from", "to", "spam",
		"greetpause", "clientrate", "clientconn",
		"tls_srv", "tls_clt", "tls_rcpt", "try_tls",
		"tls_srv_features", "tls_clt_features",
		"srv_features", "clt_features", "authinfo",
		"certissuer", "certsubject":
		return true
	}
	return false
}

// usesValues reports whether entries with this tag are looked up here, so that
// their values must be ones this package understands.
func usesValues(tag string) bool {
	switch tag {
	case "", "connect", "from", "to", "spam":
		return true
	}
	return false
}

// parseNetwork reads ADDRESS/LENGTH, with an optional ipv6: in front. A key with
// a slash that does not begin with an address is an ordinary key.
func parseNetwork(rest string) (network netip.Prefix, ok bool, err error) {
	text := strings.TrimPrefix(rest, "ipv6:")
	before, _, ok := strings.Cut(text, "/")
	if !ok {
		return netip.Prefix{}, false, nil
	}
	addr, err := netip.ParseAddr(before)
	if err != nil {
		return netip.Prefix{}, false, nil
	}
	network, err = netip.ParsePrefix(text)
	if bits, ok := maskLength(text[len(before)+1:]); ok && addr.Is4() {
		return netip.Prefix{}, false, fmt.Errorf("a netmask in dotted form, expected a prefix length: %s", netip.PrefixFrom(addr, bits).Masked())
	}
	switch {
	case err != nil:
		return netip.Prefix{}, false, fmt.Errorf("not a network, expected %s/0 to %s/%d", before, before, addr.BitLen())
	case addr.Is4In6():
		return netip.Prefix{}, false, fmt.Errorf("an IPv4 network in IPv6 form, expected it as IPv4")
	case network != network.Masked():
		return netip.Prefix{}, false, fmt.Errorf("the address has bits behind the prefix length, expected %s", network.Masked())
	}
	return network, true, nil
}

// maskLength reads a netmask in dotted form, such as 255.255.0.0.
func maskLength(text string) (length int, ok bool) {
	addr, err := netip.ParseAddr(text)
	if err != nil || !addr.Is4() {
		return 0, false
	}
	mask := uint32(0)
	for _, octet := range addr.As4() {
		mask = mask<<8 | uint32(octet)
	}
	length = mathbits.LeadingZeros32(^mask)
	return length, mask<<length == 0
}
