package access

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// lookAtValue finds values that say something else than they seem to.
func lookAtValue(text string, v Value) hint {
	if v.Kind != KindError {
		return none
	}
	if text[0] == '"' {
		// Within quotes a keyword is a text, and a reply is not.
		if inner := ParseValue(v.Text); inner.Kind != KindError || strings.HasPrefix(strings.ToUpper(v.Text), "ERROR:") {
			return hint{hintQuotes, fmt.Sprintf("the value is in quotes, so it is sent as the reply %q; leave the quotes out", "553 5.3.0 "+v.Text)}
		}
	}
	if v.Reply == defaultErrorReply {
		return lookAtText(v.Text)
	}
	if !strings.Contains(text, v.Reply.Enhanced) && !strings.HasSuffix(v.Reply.Enhanced, ".0.0") {
		return hint{hintCode, fmt.Sprintf("the enhanced code is not of the class of the reply code; %d %s is sent", v.Reply.Code, v.Reply.Enhanced)}
	}
	return none
}

// lookAtText finds texts without a reply code that hardly are ones.
func lookAtText(text string) hint {
	if code, _, more := strings.Cut(text, " "); more && len(code) == 3 && isDigits(code) {
		return hint{hintCode, fmt.Sprintf("reply code %s, expected one from 400 to 599; the whole value is sent as the reply %q", code, "553 5.3.0 "+text)}
	}
	word, more, _ := strings.Cut(text, " ")
	switch upper := strings.ToUpper(word); {
	case more == "":
	case upper == "QUARANTINE" || upper == "ERROR":
		return hint{hintKeyword, fmt.Sprintf("no colon follows %s, so the whole value is sent as the reply %q", word, "553 5.3.0 "+text)}
	case keywords[upper] != KindNone:
		return hint{hintKeyword, fmt.Sprintf("more than the keyword %s, so the whole value is sent as the reply %q; a comment needs a line of its own", word, "553 5.3.0 "+text)}
	}
	if !strings.ContainsAny(text, " \t") {
		return hint{hintText, fmt.Sprintf("the value %q is not a keyword; it is sent as the reply %q", text, "553 5.3.0 "+text)}
	}
	return none
}

// lookAtFeature finds values that have no effect under their tag, or only with a
// FEATURE that is not in force.
func (p *parser) lookAtFeature(e entry) hint {
	f, k := p.features, e.value.Kind
	forTag := k == KindFriend || k == KindHater
	switch {
	case k == KindSkip && !f.Skip:
		return hint{hintUseless, `without the feature skip the value is sent as the reply "553 5.3.0 SKIP"`}
	case e.tag == "spam" && !forTag:
		return hint{hintUseless, "a Spam: entry says FRIEND or HATER; any other value is none"}
	case e.tag == "spam" && (k == KindFriend && !f.Friend || k == KindHater && !f.Hater):
		return hint{hintUseless, fmt.Sprintf("without the feature %s this entry has no effect", strings.ToLower(e.text))}
	case e.tag != "spam" && forTag:
		return hint{hintUseless, fmt.Sprintf("FRIEND and HATER are for Spam: entries; here the value is sent as the reply %q", "553 5.3.0 "+e.text)}
	case e.tag == "from" && k == KindRelay && !f.RelayMailFrom:
		return hint{hintUseless, "without the feature relay_mail_from, RELAY for a sender lets it relay no more than OK does"}
	case e.tag == "from" && k == KindRelay && !f.RelayMailFromDomain && !strings.Contains(e.rest, "@"):
		return hint{hintUseless, "relay_mail_from without the argument domain looks whole addresses up only, so this entry has no effect"}
	case (e.tag == "to" || e.tag == "") && k == KindRelay && strings.Contains(e.rest, "@") && !f.RelayToFullAddress:
		return hint{hintUseless, "without the feature relaytofulladdress, RELAY for a single address has no effect on relaying; write the domain alone"}
	case e.tag == "to" && !f.BlocklistRecipients && k != KindRelay && k != KindSkip:
		return hint{hintToOnly, "without the feature blocklist_recipients a To: entry is looked up to decide about relaying only; it does not refuse mail"}
	}
	return none
}

// lookAtNumber finds values of sendmail's own tags that must be numbers.
func lookAtNumber(e entry) hint {
	unit := ""
	switch e.tag {
	case "greetpause":
		unit = "milliseconds, such as 5000"
	case "clientrate":
		unit = "connections a minute, 0 for any number"
	case "clientconn":
		unit = "connections at a time, 0 for any number"
	default:
		return none
	}
	tag := e.tag + ":"
	if _, err := strconv.Atoi(strings.TrimSpace(e.text)); err != nil {
		if words := strings.Fields(e.text); e.rest == "" && len(words) == 2 {
			return hint{hintBlank, fmt.Sprintf("a blank follows the tag, so the value is %q, which is no number; write %s%s %s", e.text, tag, words[0], words[1])}
		}
		return hint{hintNumber, fmt.Sprintf("the value is %q, expected a number of %s", e.text, unit)}
	}
	switch {
	case e.tag == "greetpause" && e.rest == "":
		return hint{hintNever, "GreetPause: without a name or address is never looked up; the value for all others is the argument of FEATURE(greet_pause)"}
	case e.tag != "greetpause" && e.rest != "" && !e.network && !isDigit(e.rest[0]) && !strings.HasPrefix(e.rest, "ipv6"):
		return hint{hintNever, fmt.Sprintf("%s is looked up for addresses only, so this entry never matches", tag)}
	}
	return none
}

// RELAY for a network with a shorter prefix is for nearly everybody (shortest), or for more
// than one site has (widest).
const (
	shortest4, shortest6 = 8, 16
	widest4, widest6     = 16, 20
)

// lookAtRelay finds RELAY for nearly everybody.
func lookAtRelay(e entry) hint {
	if e.value.Kind != KindRelay || e.tag == "from" || e.tag == "spam" {
		return none
	}
	if e.network {
		network, _, _ := parseNetwork(e.rest)
		return lookAtRelayed(network)
	}
	if strings.Contains(e.rest, ".") {
		return none
	}
	if network, ok := FirstPart(e.rest); ok && (e.tag == "connect" || e.tag == "") {
		return lookAtRelayed(network)
	}
	// A label alone is a top-level domain, and ipv6 all of IPv6.
	if isLabel := strings.Trim(e.rest, "abcdefghijklmnopqrstuvwxyz-") == ""; isLabel && e.rest != "localhost" || e.rest == "ipv6" {
		return hint{hintOpen, fmt.Sprintf("OPEN RELAY: RELAY for everything below %s", e.rest)}
	}
	return none
}

// FirstPart is the network that sendmail takes the first part of an address alone for: 198 is
// 198.0.0.0/8, and IPv6:2001 is 2001::/16.
func FirstPart(key string) (network netip.Prefix, ok bool) {
	if octet, err := strconv.ParseUint(key, 10, 8); err == nil {
		return netip.PrefixFrom(netip.AddrFrom4([4]byte{byte(octet)}), 8), true
	}
	group, is6 := strings.CutPrefix(Fold(key), "ipv6:")
	if !is6 || strings.Contains(group, ":") {
		return netip.Prefix{}, false
	}
	network, err := netip.ParsePrefix(group + "::/16")
	return network, err == nil
}

// lookAtRelayed finds networks that no one site has.
func lookAtRelayed(network netip.Prefix) hint {
	addr := network.Addr()
	switch {
	case network.Bits() >= 8 && (addr.IsPrivate() || addr.IsLoopback() || addr.IsLinkLocalUnicast()):
	case addr.Is4() && network.Bits() == 8:
		return hint{hintOpen, fmt.Sprintf("OPEN RELAY: RELAY for the whole of %s, 16 million addresses; a network of your own has more octets, such as 203.0.113", network)}
	case addr.Is4() && network.Bits() < shortest4 || addr.Is6() && network.Bits() < shortest6:
		return hint{hintOpen, fmt.Sprintf("OPEN RELAY: RELAY for %s, which is nearly everybody", network)}
	case addr.Is4() && network.Bits() < widest4:
		return hint{hintOpen, fmt.Sprintf("OPEN RELAY: RELAY for the whole of %s; a network of your own has more octets, such as 203.0.113", network)}
	case addr.Is6() && network.Bits() < widest6:
		return hint{hintOpen, fmt.Sprintf("OPEN RELAY: RELAY for the whole of %s, which thousands of networks share; a network of your own has more groups, such as IPv6:2001:db8:1", network)}
	}
	return none
}

// lookAtClient finds addresses that no client has.
func lookAtClient(e entry, addr netip.Addr) hint {
	switch {
	case addr.IsUnspecified():
		return hint{hintNever, fmt.Sprintf("no client has the address %s, so this entry never matches; all addresses are %s/0", e.rest, addr)}
	case addr.IsMulticast() || addr == netip.AddrFrom4([4]byte{255, 255, 255, 255}):
		return hint{hintNever, fmt.Sprintf("no client has the address %s, so this entry never matches", e.rest)}
	}
	return none
}
