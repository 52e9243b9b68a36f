package access

import (
	"fmt"
	"net/netip"
	"strings"
)

// lookAtName finds forms that other programs have for names and addresses.
func (p *parser) lookAtName(e entry) hint {
	rest := e.rest
	switch {
	case rest == "<>":
		return hint{hintAngles, "the empty sender is not looked up, so this entry never matches"}
	case strings.ContainsAny(rest, "<>"):
		return hint{hintAngles, fmt.Sprintf("addresses are looked up without < and >, so this entry never matches; write %s", join(e.tag, strings.NewReplacer("<", "", ">", "").Replace(rest)))}
	case rest[0] == '@':
		return hint{hintAt, fmt.Sprintf("no look-up begins with @, so this entry never matches; write %s for the whole domain", join(e.tag, rest[1:]))}
	case strings.ContainsRune(rest, '*') && strings.Contains(strings.ReplaceAll(rest, "+*@", ""), "*"):
		return hint{hintStar, "* is no wildcard, so this entry never matches; a domain stands for all names in it (example.com), whole parts of an address for a network (203.0.113)"}
	case rest[0] == '.' && len(rest) > 1 && !p.features.LookupDotDomain:
		return hint{hintDot, fmt.Sprintf("a key that begins with a dot needs the feature lookupdotdomain; %s stands for the domain and everything in it", join(e.tag, rest[1:]))}
	case e.tag == "connect" && strings.HasSuffix(rest, "."):
		return hint{hintDot, "a key that ends in a dot never matches; leave the dot out"}
	}
	return none
}

// lookAtAddress finds addresses in a form that sendmail does not write.
func (p *parser) lookAtAddress(e entry) hint {
	rest := e.rest
	text, is6 := strings.CutPrefix(rest, "ipv6:")
	switch rest {
	case "all", "any", "default", "unknown":
		return hint{hintNever, fmt.Sprintf("%s is no keyword but a top-level domain, so this entry never matches", rest)}
	}
	if !is6 && !isDigit(rest[0]) && !strings.Contains(rest, ":") {
		return none
	}
	addr, err := netip.ParseAddr(text)
	if err == nil && (is6 || isDigit(rest[0])) {
		if h := lookAtClient(e, addr); h != none {
			return h
		}
	}
	if is6 {
		// Debian's own table has a line for ::1, in the compressed form whatever
		// the option: a loopback address relays anyway.
		if text == "::1" && e.value.Kind == KindRelay {
			return none
		}
		return p.lookAtIPv6(text)
	}
	if err == nil && addr.Is4() {
		return none
	}
	if err == nil {
		return hint{hintIPv6Tag, fmt.Sprintf("an IPv6 key needs the prefix IPv6:, so this entry never matches; write %s", p.format(addr))}
	}
	if looksLikeIPv6(rest) {
		return missingIPv6(rest)
	}
	if !isDigit(rest[0]) || strings.Trim(rest, "0123456789.-") != "" {
		return none
	}
	if from, _, ok := strings.Cut(rest, "-"); ok {
		if _, err := netip.ParseAddr(from); err == nil {
			return hint{hintRange, "a range of addresses never matches; write networks with a prefix length (203.0.113.0/26)"}
		}
		return none
	}
	if plain := withoutZeros(rest, "."); plain != rest {
		return hint{hintZeros, fmt.Sprintf("sendmail writes addresses without leading zeros, so this entry never matches; write %s", join(e.tag, plain))}
	}
	return none
}

// lookAtIPv6 compares the text behind IPv6: with what sendmail would write.
func (p *parser) lookAtIPv6(text string) hint {
	const never = ", so this entry never matches; write "
	if addr, err := netip.ParseAddr(text); err == nil && strings.Contains(text, "::") != p.features.CompressedIPv6 {
		if want := p.format(addr); !strings.EqualFold(want, "IPv6:"+text) {
			if p.features.CompressedIPv6 {
				return hint{hintIPv6Form, "sendmail writes addresses with :: here (UseCompressedIPv6Addresses)" + never + want}
			}
			return hint{hintIPv6Form, "sendmail writes addresses without ::" + never + want}
		}
	}
	if plain := withoutZeros(text, ":"); plain != text {
		return hint{hintZeros, "sendmail writes the groups without leading zeros" + never + "IPv6:" + plain}
	}
	if p.features.CompressedIPv6 {
		if strings.HasSuffix(text, ":") || strings.Contains(text+":", ":0:0:") {
			return hint{hintIPv6Form, "sendmail writes addresses with :: here (UseCompressedIPv6Addresses), so this key may never match; use a prefix length"}
		}
		return none
	}
	if strings.Contains(text, "::") {
		return hint{hintIPv6Form, "sendmail writes addresses without ::, so this key never matches; write the groups out, or use a prefix length"}
	}
	if strings.HasSuffix(text, ":") {
		return hint{hintIPv6Form, "a key that ends in a colon never matches; leave it out"}
	}
	return none
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

func missingIPv6(s string) hint {
	return hint{hintIPv6Tag, fmt.Sprintf("looks like the beginning of an IPv6 address, which needs the prefix IPv6:; write IPv6:%s, or use a prefix length", strings.TrimRight(s, ":"))}
}

// withoutZeros removes the leading zeros of the parts of an address.
func withoutZeros(s, separator string) string {
	if !strings.Contains(s, separator+"0") && s[:min(1, len(s))] != "0" {
		return s
	}
	parts := strings.Split(s, separator)
	for i, part := range parts {
		if len(part) > 1 && part[0] == '0' && !strings.Contains(part, ".") {
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
