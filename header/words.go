package header

import (
	"maps"
	"strings"
)

// isProtocol reports whether a word of a with clause is the name of a protocol
// (RFC 3848 and the IANA registry of mail transmission types), or one that mail
// software is known to write instead, alone or with the encryption behind a slash:
// "ESMTP/TLS/AES128-SHA".
func isProtocol(word string) bool {
	if isOneOf(protocols, word) {
		return true
	}
	name, rest, slash := strings.Cut(lower(strings.TrimRight(word, ",:")), "/")
	if slash && !isTLSText(rest) && !isProtocol(rest) {
		return false
	}
	return protocols[name] || isSMTP(name)
}

var protocols = set("smtp esmtp esmtpa esmtps esmtpsa lmtp lmtpa lmtps lmtpsa utf8lmtp utf8lmtpa utf8lmtps utf8lmtpsa mms http https httpu local uucp uucp-dom" +
	" qmqp qmtp mapi imap imap4 imaps pop pop2 pop3 pop3s apop jmap odmr etrn nntp nnfmp nnmp tcp decnet mail-11 nje niftp x400 x.400 ftp")

// isSMTP reports whether a word, in lower case, is SMTP or one of its variants:
// esmtpsa, asmtp, bsmtp, local-esmtp, esmtp-tls.
func isSMTP(word string) bool {
	before, after, ok := strings.Cut(word, "smtp")
	return ok && smtpPrefixes[strings.TrimSuffix(before, "e")] && smtpSuffixes[strings.TrimLeft(after, "-_+")]
}

var (
	smtpPrefixes = map[string]bool{"": true, "a": true, "b": true, "x": true, "s": true, "biz": true, "utf8": true, "local-": true, "batch-": true}
	smtpSuffixes = map[string]bool{"": true, "a": true, "s": true, "sa": true, "as": true, "p": true, "x": true, "tls": true, "ssl": true, "auth": true, "dsn": true}
)

// isLink reports whether a word is the name of a link that via may name, or of a
// protocol, which some software writes there.
func isLink(word string) bool { return isOneOf(links, word) || isProtocol(word) }

var links = set("socket smtpd stdio rmail internet arpanet bitnet csnet janet phonenet x.25 x25 dialup news")

// isTLS reports whether text, in lower case, is about the encryption and each word
// of it is known to be, so that it cannot hold anything of the client.
func isTLS(text string) bool {
	about := false
	for word := range strings.FieldsFuncSeq(text, isTLSSeparator) {
		switch {
		case isTLSWord(word):
			about = true
		case !isPlainWord(word):
			return false
		}
	}
	return about && !holdsAddress(text)
}

// isTLSText reports whether each word of text, in lower case, may stand beside
// others that are about the encryption.
func isTLSText(text string) bool {
	for word := range strings.FieldsFuncSeq(text, isTLSSeparator) {
		if !isTLSWord(word) && !isPlainWord(word) {
			return false
		}
	}
	return true
}

func isTLSSeparator(r rune) bool {
	return isSeparator(r) || r == '-' || r == '_' || r == '.' || r == '+' || r == '[' || r == ']'
}

// isTLSWord reports whether a word is a part of what mail software says about TLS.
// A word with digits is looked up without them: aes256, secp384r1.
func isTLSWord(word string) bool {
	var b [32]byte
	letters := b[:0]
	for i := 0; i < len(word) && len(letters) < len(b); i++ {
		if word[i] < '0' || word[i] > '9' {
			letters = append(letters, word[i])
		}
	}
	if len(letters) == len(word) {
		return tlsWords[word]
	}
	return numberedTLSWords[string(letters)]
}

// isPlainWord reports whether a word may stand beside those about TLS: an English
// word, a number, the number of a cipher such as 0x1301.
func isPlainWord(word string) bool {
	return plainWords[word] || isNumber(word, 5) || len(word) == len("0x1301") && word[:2] == "0x" && strings.Trim(word[2:], "0123456789abcdef") == ""
}

// tlsWords are the words without digits.
var tlsWords = set("tls tlsv ssl sslv starttls cipher ciphers ciphersuite encrypted certificate cert verify verified" +
	" aes aesgcm gcm ccm cbc ctr sha ecdhe ecdh eecdh dhe edh adh aecdh dh kedh rsa dss dsa ecdsa eddsa pss rsae psk anon anonymous chacha poly camellia" +
	" aria des ede arcfour seed idea export exp krb gost srp null hmac aead curve")

// numberedTLSWords are those with digits, without them.
var numberedTLSWords = set("tls tlsv ssl sslv aes sha md dh dhe rsa ed p x xmlkem mlkem secpr secpk secprmlkem secrmlkem sectr sectk primev brainpoolpr brainpoolprtls" +
	" ffdhe ffdhep chacha poly camellia aria des rc cbc ccm gost gostr krb sm exp export aesgcm gcm hmac kyber xkyber bits bit curve")

// plainWords may stand beside them.
var plainWords = set("using with version v bits bit key exchange server client signature digest did not present a no requested" +
	" ok none fail yes over raw public protocol p trust trusted eq other unknown secured secure channel connection encryption" +
	" keysize size suite strength temp software dane self signed invalid and on draft")

// isOneOf looks a word up whose case does not count.
func isOneOf(words map[string]bool, word string) bool {
	var b [16]byte
	if len(word) > len(b) {
		return false
	}
	for i := range copy(b[:], word) {
		if b[i] >= 'A' && b[i] <= 'Z' {
			b[i] += 'a' - 'A'
		}
	}
	return words[string(b[:len(word)])]
}

func union(sets ...map[string]bool) map[string]bool {
	all := make(map[string]bool)
	for _, words := range sets {
		maps.Copy(all, words)
	}
	return all
}

func set(words string) map[string]bool {
	m := make(map[string]bool)
	for word := range strings.FieldsSeq(words) {
		m[word] = true
	}
	return m
}
