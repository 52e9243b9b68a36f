package header

import (
	"net/netip"
	"strings"
)

// topic is what a comment of a Received field is about.
type topic uint8

const (
	// aboutSoftware: the make and version of an MTA; and whatever is none of the
	// others.
	aboutSoftware topic = iota
	// aboutClient: its login, user, ident, HELO name or certificate.
	aboutClient
	// aboutBoth: an MTA that writes the client's user behind its own name:
	// "qmail 123 invoked by uid 1000", "Postfix, from userid 1000".
	aboutBoth
	// aboutTLS: the encryption, in words that are all known.
	aboutTLS
	// aboutEnvelope: the envelope's sender, and nothing else.
	aboutEnvelope
	// aboutAddress: an IP address, and nothing else.
	aboutAddress
	// aboutHost: a host and its IP address.
	aboutHost
)

// topicOf classifies a comment, given in lower case without its parentheses.
func topicOf(text string) topic {
	switch {
	case isEnvelope(text):
		return aboutEnvelope
	case isAddress(text):
		return aboutAddress
	case isTLS(text):
		return aboutTLS
	case ownName(text) < len(text):
		return aboutBoth
	case namesClient(text):
		return aboutClient
	case holdsAddress(text):
		return aboutHost
	}
	return aboutSoftware
}

func isEnvelope(text string) bool {
	name, sender, _ := strings.Cut(text, " ")
	switch strings.TrimRight(name, ":") {
	case "envelope-from", "envelope-sender", "return-path":
		return sender != "" && !strings.Contains(sender, " ")
	}
	return false
}

// ownName returns the length of what an MTA says of itself before it comes to
// the user that called it.
func ownName(text string) int {
	for _, form := range []struct{ name, user string }{
		{"qmail", " invoked "},
		{"postfix", ", from "},
	} {
		if strings.HasPrefix(text, form.name) {
			if i := strings.Index(text, form.user); i >= 0 {
				return i
			}
		}
	}
	return len(text)
}

// namesClient reports whether a word is one that stands before something of the
// client.
func namesClient(text string) bool {
	if strings.HasPrefix(text, "from ") {
		return true
	}
	for word := range strings.FieldsFuncSeq(text, isSeparator) {
		switch word {
		case "authenticated", "auth", "authid", "authuser", "account", "login",
			"user", "username", "userid", "uid", "ident", "identity", "sender",
			"helo", "ehlo", "invoked", "peer", "cn", "issuer", "subject":
			return true
		}
	}
	return false
}

// isSeparator tells the words of a comment apart.
func isSeparator(r rune) bool {
	switch r {
	case ' ', ',', ';', ':', '=', '/', '(', ')', '<', '>', '"', '\'':
		return true
	}
	return false
}

// isAddress reports whether text is an IP address, in brackets or not.
func isAddress(text string) bool {
	text = strings.TrimSuffix(strings.TrimPrefix(text, "["), "]")
	_, ok := parseAddress(text)
	return ok
}

// parseAddress reads an IP address as mail software writes it: with IPv6: in
// front, or with a port behind it.
func parseAddress(word string) (netip.Addr, bool) {
	if len(word) > 64 || strings.Count(word, ".") != 3 && strings.Count(word, ":") < 2 {
		return netip.Addr{}, false
	}
	if len(word) > len("ipv6:") && equalFold(word[:len("ipv6:")], "ipv6:") {
		word = word[len("ipv6:"):]
	}
	if addr, err := netip.ParseAddr(word); err == nil {
		return addr.Unmap(), true
	}
	if host, port, ok := cutLast(word, ":"); ok && isNumber(port, 5) {
		if addr, err := netip.ParseAddr(host); err == nil && addr.Is4() {
			return addr, true
		}
	}
	return netip.Addr{}, false
}

func cutLast(s, sep string) (before, after string, found bool) {
	i := strings.LastIndex(s, sep)
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+len(sep):], true
}

// holdsAddress reports whether one of the words of text is an IP address. Numbers
// with a slash beside them are versions: 8.17.1.9/8.17.1.9.
func holdsAddress(text string) bool {
	for word := range hostWords(text) {
		if _, ok := parseAddress(word.text); ok && !word.slash {
			return true
		}
	}
	return false
}

// isTLS reports whether text is about the encryption and each word of it is known
// to be, so that it cannot hold anything of the client.
func isTLS(text string) bool {
	about := false
	for word := range strings.FieldsFuncSeq(text, func(r rune) bool { return isSeparator(r) || r == '-' || r == '_' || r == '.' }) {
		switch {
		case tlsWords[word]:
			about = true
		case plainWords[word] || isNumber(word, 5) || isCode(word):
		default:
			return false
		}
	}
	return about && !holdsAddress(text)
}

// isCode reports whether a word is the number of a cipher: 0x1301.
func isCode(word string) bool {
	return len(word) == len("0x1301") && word[:2] == "0x" && strings.Trim(word[2:], "0123456789abcdef") == ""
}

// mentionsTLS reports whether text says something about the encryption, whatever
// else it says.
func mentionsTLS(text string) bool {
	for word := range strings.FieldsFuncSeq(text, isSeparator) {
		if word == "cipher" || strings.HasPrefix(word, "tls") || strings.HasPrefix(word, "ssl") {
			return true
		}
	}
	return false
}

// tlsWords are the words of what mail software says about TLS.
var tlsWords = set("tls tlsv1 tls1 tls12 tls13 tlsv12 tlsv13 ssl sslv2 sslv3 starttls cipher encrypted certificate" +
	" verify verified aes aes128 aes256 aesgcm gcm ccm ccm8 cbc cbc3 sha sha1 sha256 sha384 sha512 md5 ecdhe ecdh dhe edh adh aecdh dh" +
	" rsa dss ecdsa eddsa ed25519 ed448 pss rsae psk anon chacha20 poly1305 camellia camellia128 camellia256 aria aria128 aria256" +
	" des des3 3des ede rc4 seed idea export x25519 x448 anonymous prime256v1 secp256r1 secp384r1 secp521r1 p256 p384 p521 ffdhe2048 ffdhe3072" +
	" ffdhe4096 mlkem512 mlkem768 mlkem1024 x25519mlkem768 secp256r1mlkem768 secp384r1mlkem1024")

// plainWords may stand beside them.
var plainWords = set("using with version bits key exchange server client signature digest did not present a no requested" +
	" ok none fail yes over raw public protocol p trust")

func set(words string) map[string]bool {
	m := make(map[string]bool)
	for word := range strings.FieldsSeq(words) {
		m[word] = true
	}
	return m
}
