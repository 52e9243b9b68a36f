package header

import (
	"net/netip"
	"strings"
)

// topic is what a comment of a Received field is about.
type topic uint8

const (
	// aboutUnknown: none of the others; the make and version of an MTA, most likely.
	aboutUnknown topic = iota
	// aboutClient: its login, user, ident, HELO name or certificate.
	aboutClient
	// aboutBoth: an MTA that writes the client's user behind its own name:
	// "qmail 123 invoked by uid 1000", "Postfix, from userid 1000".
	aboutBoth
	// aboutTLS: the encryption, in words that are all known.
	aboutTLS
	// aboutSender: the envelope's sender, and nothing else.
	aboutSender
	// aboutRecipient: a recipient, as it is or as the sender's host wrote it (ORCPT,
	// RFC 3461), and nothing else.
	aboutRecipient
	// aboutAddress: an IP address, and nothing else.
	aboutAddress
	// aboutHost: a host and its IP address.
	aboutHost
)

// topicOf classifies a comment, given in lower case without its parentheses.
func topicOf(text string) topic {
	name, address, _ := strings.Cut(text, " ")
	switch strings.TrimRight(name, ":") {
	case "envelope-from", "envelope-sender", "return-path":
		if address != "" && !strings.Contains(address, " ") {
			return aboutSender
		}
	case "orcpt":
		if !holdsAddress(address) {
			return aboutRecipient
		}
	case "for":
		if strings.HasPrefix(address, "<") && strings.IndexByte(address, '>') == len(address)-1 {
			return aboutRecipient
		}
	}
	switch {
	case isAddress(text):
		return aboutAddress
	case isTLS(text):
		return aboutTLS
	case ownName(text) != text:
		return aboutBoth
	case namesClient(text):
		return aboutClient
	case holdsAddress(text):
		return aboutHost
	}
	return aboutUnknown
}

// ownName is what an MTA says of itself before it comes to the user that called it.
func ownName(text string) string {
	name := text
	switch {
	case strings.HasPrefix(text, "qmail"):
		name, _, _ = strings.Cut(text, " invoked ")
	case strings.HasPrefix(text, "postfix"):
		name, _, _ = strings.Cut(text, ", from ")
	}
	return name
}

// namesClient reports whether a text is a mailbox, or holds a word that stands
// before something of the client.
func namesClient(text string) bool {
	if strings.HasPrefix(text, "from ") || strings.Contains(text, "@") && !strings.Contains(text, " ") {
		return true
	}
	for word := range split(text, separator) {
		if isA(word, clientWord) {
			return true
		}
	}
	return false
}

// isAddress reports whether text is an IP address, in brackets or not, with a port
// or not.
func isAddress(text string) bool {
	if strings.IndexByte(text, ' ') >= 0 {
		return false
	}
	if host, port, ok := cutLast(text, "]:"); ok && isNumber(port, 5) {
		text = host
	}
	_, ok := parseAddress(strings.TrimSuffix(strings.TrimPrefix(text, "["), "]"))
	return ok
}

// parseAddress reads an IP address as mail software writes it: with IPv6: in
// front, or with a port behind it.
func parseAddress(word string) (netip.Addr, bool) {
	if len(word) > 64 || strings.Count(word, ".") != 3 && strings.Count(word, ":") < 2 {
		return netip.Addr{}, false
	}
	if prefix := "ipv6:"; len(word) > len(prefix) && strings.EqualFold(word[:len(prefix)], prefix) {
		word = word[len(prefix):]
	}
	if addr, err := netip.ParseAddr(word); err == nil {
		return addr.Unmap(), true
	}
	host, port, _ := cutLast(word, ":")
	addr, err := netip.ParseAddr(host)
	return addr, err == nil && addr.Is4() && isNumber(port, 5)
}

func cutLast(s, sep string) (before, after string, found bool) {
	i := strings.LastIndex(s, sep)
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+len(sep):], true
}

// holdsAddress reports whether one of the words of text, in lower case, is an IP
// address. Numbers with a slash beside them are versions, "8.17.1.9/8.17.1.9", and
// so are those of a text that begins with the name of software and says so, or that
// has them right behind it: "icewarp 12.0.3.1".
func holdsAddress(text string) bool {
	if strings.Count(text, ".") < 3 && strings.Count(text, ":") < 2 {
		return false
	}
	name, rest, _ := strings.Cut(text, " ")
	for word, slash := range hostWords(text) {
		if _, ok := parseAddress(word); ok && !slash {
			return !isProduct(name) || !strings.HasPrefix(rest, word) && !strings.Contains(rest, "version ") && !strings.Contains(rest, "server ")
		}
	}
	return false
}

// isProduct reports whether a word may be the name of mail software that a version
// follows: letters, and none of the words that stand before an address.
func isProduct(word string) bool {
	return word != "" && !isA(word, addressWord) && strings.Trim(word, "abcdefghijklmnopqrstuvwxyz-") == ""
}

// holdsVersion reports whether a word of text is a version: 3.35, V1.3, 8.17.1/8.17.1.
func holdsVersion(text string) bool {
	for word := range split(strings.ReplaceAll(text, "-", " "), separator) {
		if isVersion(word) && !allDigits(word) && !isHostName(word) {
			return true
		}
	}
	return false
}

// mentionsTLS reports whether text says something about the encryption, whatever
// else it says.
func mentionsTLS(text string) bool {
	for word := range split(text, separator) {
		if word == "cipher" || strings.HasPrefix(word, "tls") || strings.HasPrefix(word, "ssl") {
			return true
		}
	}
	return false
}
