package access

import (
	"fmt"
	"net/netip"
	"strings"
)

// entry is one entry on its way into the table.
type entry struct {
	tag, rest string
	// key is tag and rest as they stand in the table.
	key []byte
	// text is the right-hand side, value what it means.
	text  string
	value Value
	// network: rest is an address with a prefix length.
	network bool
}

// A hint points at an entry that is valid but hardly what was meant.
type hintKind int

const (
	hintNone hintKind = iota
	hintTag
	hintBlank
	hintCode
	hintKeyword
	hintText
	hintToOnly
	hintAngles
	hintAt
	hintStar
	hintDot
	hintRange
	hintZeros
	hintIPv6Form
	hintIPv6Tag
	hintCR
	hintPassword
)

// maxHints bounds the hints of one kind: a mistake made once for a whole list
// must not hide the others.
const maxHints = 10

// repeated counts the hints of one kind.
type repeated struct {
	count, line int
}

// hint warns, unless it has done so often.
func (p *parser) hint(line int, kind hintKind, format string, args ...any) {
	r := p.hints[kind]
	r.count++
	if r.count > maxHints {
		r.line = line
	} else {
		p.warn(line, format, args...)
	}
	p.hints[kind] = r
}

// sumUpHints counts those that were not given.
func (p *parser) sumUpHints() {
	for kind := hintNone; kind <= hintPassword; kind++ {
		if r := p.hints[kind]; r.count > maxHints {
			p.warn(r.line, "the last of %d more entries with the same flaw: %s", r.count-maxHints, kind)
		}
	}
}

// String says what the hints of this kind are about.
func (k hintKind) String() string {
	return [...]string{
		hintNone: "nothing", hintTag: "unknown tag", hintBlank: "nothing after the tag", hintCode: "enhanced code of another class",
		hintKeyword: "text behind a keyword", hintText: "value that is no keyword", hintToOnly: "To: without blocklist_recipients",
		hintAngles: "angle brackets", hintAt: "@ at the beginning", hintStar: "asterisk", hintDot: "dot at the beginning or end",
		hintRange: "range of addresses", hintZeros: "leading zeros", hintIPv6Form: "form of an IPv6 address",
		hintIPv6Tag: "IPv6 address without IPv6:", hintCR: "CR at the end of the line", hintPassword: "value that looks like a password",
	}[k]
}

// look finds what an administrator should know about an entry, the most likely
// mistake first.
func (p *parser) look(e entry) (hintKind, string) {
	if e.tag != "" && !knownTags[e.tag] {
		if looksLikeIPv6(string(e.key)) {
			return hintIPv6Tag, missingIPv6(string(e.key))
		}
		return hintTag, fmt.Sprintf("the tag %s: is not one sendmail knows, so this entry never matches", e.tag)
	}
	if !usesValues(e.tag) {
		return hintNone, ""
	}
	if Shown(string(e.key), e.text) != e.text {
		return hintPassword, "the value is written like that of an AuthInfo: entry; without this tag clients can come to read it, as the text of a reply"
	}
	if e.rest == "" {
		return hintBlank, fmt.Sprintf("nothing stands after the colon, so this entry never matches; leave out the blank before %q", e.text)
	}
	if kind, hint := p.lookAtValue(e); kind != hintNone {
		return kind, hint
	}
	if e.network {
		return hintNone, ""
	}
	if kind, hint := p.lookAtName(e); kind != hintNone || e.tag != "connect" && e.tag != "" {
		return kind, hint
	}
	return p.lookAtAddress(e)
}

// lookAtValue finds values that say something else than they seem to.
func (p *parser) lookAtValue(e entry) (hintKind, string) {
	v := e.value
	if v.Kind == KindError && v.Reply == defaultErrorReply {
		word, more, _ := strings.Cut(v.Text, " ")
		switch upper := strings.ToUpper(word); {
		case more == "":
		case upper == "QUARANTINE" || upper == "ERROR":
			return hintKeyword, fmt.Sprintf("no colon follows %s, so the whole value is sent as the reply %q", word, "553 5.3.0 "+v.Text)
		case keywords[upper] != KindNone:
			return hintKeyword, fmt.Sprintf("more than the keyword %s, so the whole value is sent as the reply %q; a comment needs a line of its own", word, "553 5.3.0 "+v.Text)
		}
		if !strings.ContainsAny(v.Text, " \t") {
			return hintText, fmt.Sprintf("the value %q is not a keyword; it is sent as the reply %q", v.Text, "553 5.3.0 "+v.Text)
		}
		return p.lookAtFeature(e)
	}
	if v.Kind == KindError && !strings.Contains(e.text, v.Reply.Enhanced) && !strings.HasSuffix(v.Reply.Enhanced, ".0.0") {
		return hintCode, fmt.Sprintf("the enhanced code is not of the class of the reply code; %d %s is sent", v.Reply.Code, v.Reply.Enhanced)
	}
	return p.lookAtFeature(e)
}

// lookAtFeature finds To: entries that need blocklist_recipients.
func (p *parser) lookAtFeature(e entry) (hintKind, string) {
	k := e.value.Kind
	if e.tag != "to" || p.features.BlocklistRecipients || k == KindRelay || k == KindSkip && p.features.Skip {
		return hintNone, ""
	}
	return hintToOnly, "without the feature blocklist_recipients a To: entry is looked up to decide about relaying only; it refuses nobody"
}

// lookAtName finds forms that other programs have for names and addresses.
func (p *parser) lookAtName(e entry) (hintKind, string) {
	rest := e.rest
	switch {
	case rest == "<>":
		return hintAngles, "the empty sender is not looked up, so this entry never matches"
	case strings.ContainsAny(rest, "<>"):
		return hintAngles, fmt.Sprintf("addresses are looked up without < and >, so this entry never matches; write %s", join(e.tag, strings.NewReplacer("<", "", ">", "").Replace(rest)))
	case rest[0] == '@':
		return hintAt, fmt.Sprintf("no look-up begins with @, so this entry never matches; write %s for the whole domain", join(e.tag, rest[1:]))
	case strings.ContainsRune(rest, '*') && strings.Contains(strings.ReplaceAll(rest, "+*@", ""), "*"):
		return hintStar, "* is no wildcard, so this entry never matches; a domain stands for all names in it (example.com), whole parts of an address for a network (203.0.113)"
	case rest[0] == '.' && len(rest) > 1 && !p.features.LookupDotDomain:
		return hintDot, fmt.Sprintf("a key that begins with a dot needs the feature lookupdotdomain; %s stands for the domain and everything in it", join(e.tag, rest[1:]))
	case e.tag == "connect" && strings.HasSuffix(rest, "."):
		return hintDot, "a key that ends in a dot never matches; leave the dot out"
	}
	return hintNone, ""
}

// lookAtAddress finds addresses in a form that sendmail does not write.
func (p *parser) lookAtAddress(e entry) (hintKind, string) {
	rest := e.rest
	if text, ok := strings.CutPrefix(rest, "ipv6:"); ok {
		// Debian's own table has a line for ::1, in the compressed form whatever
		// the option: a loopback address relays anyway.
		if text == "::1" && e.value.Kind == KindRelay {
			return hintNone, ""
		}
		return p.lookAtIPv6(text)
	}
	if addr, err := netip.ParseAddr(rest); err == nil && addr.Is6() {
		return hintIPv6Tag, fmt.Sprintf("an IPv6 key needs the prefix IPv6:, so this entry never matches; write %s", p.format(addr))
	}
	if looksLikeIPv6(rest) {
		return hintIPv6Tag, missingIPv6(rest)
	}
	if !isDigit(rest[0]) || strings.Trim(rest, "0123456789.-") != "" {
		return hintNone, ""
	}
	if from, _, ok := strings.Cut(rest, "-"); ok {
		if _, err := netip.ParseAddr(from); err == nil {
			return hintRange, "a range of addresses never matches; write networks with a prefix length (203.0.113.0/26)"
		}
		return hintNone, ""
	}
	if plain := withoutZeros(rest, "."); plain != rest {
		return hintZeros, fmt.Sprintf("sendmail writes addresses without leading zeros, so this entry never matches; write %s", join(e.tag, plain))
	}
	return hintNone, ""
}

// lookAtIPv6 compares the text behind IPv6: with what sendmail would write.
func (p *parser) lookAtIPv6(text string) (hintKind, string) {
	const never = ", so this entry never matches; write "
	if addr, err := netip.ParseAddr(text); err == nil && strings.Contains(text, "::") != p.features.CompressedIPv6 {
		if want := p.format(addr); !strings.EqualFold(want, "IPv6:"+text) {
			if p.features.CompressedIPv6 {
				return hintIPv6Form, "sendmail writes addresses with :: here (UseCompressedIPv6Addresses)" + never + want
			}
			return hintIPv6Form, "sendmail writes addresses without ::" + never + want
		}
	}
	if plain := withoutZeros(text, ":"); plain != text {
		return hintZeros, "sendmail writes the groups without leading zeros" + never + "IPv6:" + plain
	}
	if p.features.CompressedIPv6 {
		if strings.HasSuffix(text, ":") || strings.Contains(text+":", ":0:0:") {
			return hintIPv6Form, "sendmail writes addresses with :: here (UseCompressedIPv6Addresses), so this key may never match; use a prefix length"
		}
		return hintNone, ""
	}
	if strings.Contains(text, "::") {
		return hintIPv6Form, "sendmail writes addresses without ::, so this key never matches; write the groups out, or use a prefix length"
	}
	if strings.HasSuffix(text, ":") {
		return hintIPv6Form, "a key that ends in a colon never matches; leave it out"
	}
	return hintNone, ""
}

// format writes an address as sendmail does here.
func (p *parser) format(a netip.Addr) string {
	if p.features.CompressedIPv6 && a.Is6() && !a.Is4In6() {
		return "IPv6:" + a.WithZone("").String()
	}
	return FormatAddr(a)
}

// looksLikeIPv6 reports whether s can only be the beginning of an IPv6 address.
func looksLikeIPv6(s string) bool {
	return strings.Contains(s, ":") && strings.Trim(s, "0123456789abcdef:") == "" && strings.ContainsAny(s, "0123456789")
}

func missingIPv6(s string) string {
	return fmt.Sprintf("looks like the beginning of an IPv6 address, which needs the prefix IPv6:; write IPv6:%s, or use a prefix length", strings.TrimRight(s, ":"))
}

// withoutZeros removes the leading zeros of the parts of an address.
func withoutZeros(s, separator string) string {
	if !strings.Contains(s, separator+"0") && s[:min(1, len(s))] != "0" {
		return s
	}
	parts := strings.Split(s, separator)
	for i, part := range parts {
		if len(part) > 1 && part[0] == '0' {
			if parts[i] = strings.TrimLeft(part, "0"); parts[i] == "" {
				parts[i] = "0"
			}
		}
	}
	return strings.Join(parts, separator)
}

// join makes a key of tag and rest, as an administrator would write it.
func join(tag, rest string) string {
	if tag == "" {
		return rest
	}
	return strings.ToUpper(tag[:1]) + tag[1:] + ":" + rest
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }
