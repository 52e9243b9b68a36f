package header

import (
	"regexp"
	"strings"
)

// words is a set of words that are known.
type words uint16

const (
	// tlsWord is a part of what mail software says about TLS, numberedTLSWord one that
	// has digits, with them left out: aes256, secp384r1. A plainWord may stand beside
	// them.
	tlsWord words = 1 << iota
	numberedTLSWord
	plainWord
	// formWord stands in many from clauses and tells nothing, or is a time zone.
	formWord
	// clientWord stands before something of the client, and addressWord before an
	// address.
	clientWord
	addressWord
	// versionWord announces a version.
	versionWord
	// protocolWord is a protocol: one of RFC 3848 and the IANA registry of mail
	// transmission types, or what mail software is known to write instead. A linkWord
	// is no protocol and may follow via.
	protocolWord
	linkWord
	// dayName is a day or month: those of English, and of other languages the ones
	// that looksLikeDayName does not find. noDayName only looks like one. A
	// dateParticle stands between the words of a date.
	dayName
	noDayName
	dateParticle
)

// vocabulary are the words of each set, in lower case.
var vocabulary = vocabularyOf(map[words]string{
	tlsWord: "tls tlsv ssl sslv starttls cipher ciphers ciphersuite encrypted certificate cert verify verified" +
		" aes aesgcm gcm ccm cbc ctr sha ecdhe ecdh eecdh dhe edh adh aecdh dh kedh rsa dss dsa ecdsa eddsa pss rsae psk anon anonymous chacha poly camellia" +
		" aria des ede arcfour seed idea export exp krb gost srp null hmac aead curve",
	numberedTLSWord: "tls tlsv ssl sslv aes sha md dh dhe rsa ed p x xmlkem mlkem secpr secpk secprmlkem secrmlkem sectr sectk primev brainpoolpr brainpoolprtls" +
		" ffdhe ffdhep chacha poly camellia aria des rc cbc ccm gost gostr krb sm exp export aesgcm gcm hmac kyber xkyber bits bit curve",
	plainWord: "using with version v bits bit key exchange server client signature digest did not present a no requested" +
		" ok none fail yes over raw public protocol p trust trusted eq other unknown secured secure channel connection encryption" +
		" keysize size suite strength temp software dane self signed invalid and on draft",
	formWord: "from smtp unknown may be forged authenticated auth authid authuser account login user username userid uid" +
		" sender helo ehlo ident invoked by network plain cram-md5 digest-md5 external issuer cn subject port rdns softfail mail" +
		" z ut utc gmt cet cest met mest mez mesz wet west eet eest msk bst ist est edt cst cdt mst mdt pst pdt jst kst aest aedt",
	clientWord: "authenticated auth authid authuser account login user username userid uid ident identity sender" +
		" helo ehlo lhlo invoked peer cn issuer subject",
	addressWord: "for from ip client address host see of to at by via with unknown unverified",
	versionWord: "version ver v release rel build revision rev",
	protocolWord: "smtp esmtp esmtpa esmtps esmtpsa lmtp lmtpa lmtps lmtpsa utf8lmtp utf8lmtpa utf8lmtps utf8lmtpsa mms http https httpu local uucp uucp-dom" +
		" qmqp qmtp mapi imap imap4 imap4-ssl imaps pop pop2 pop3 pop3-ssl pop3s apop jmap odmr etrn nntp nnfmp nnmp tcp decnet mail-11 nje niftp x400 x.400 ftp",
	linkWord: "socket smtpd stdio rmail internet arpanet bitnet csnet janet phonenet x.25 x25 dialup news",
	dayName: "mon tue wed thu fri sat sun jan feb mar apr may jun jul aug sep sept oct nov dec" +
		" monday tuesday wednesday thursday friday saturday sunday" +
		" january february march april june july august september october november december" +
		" montag dienstag mittwoch donnerstag freitag samstag sonntag januar februar märz juni juli oktober dezember" +
		" lundi mardi mercredi jeudi vendredi samedi dimanche janvier février avril juin juillet août septembre octobre novembre décembre" +
		" lunes martes miércoles jueves viernes sábado domingo enero febrero marzo abril mayo junio julio agosto septiembre octubre noviembre diciembre" +
		" lunedì martedì mercoledì giovedì venerdì sabato domenica gennaio febbraio aprile maggio giugno luglio settembre ottobre dicembre" +
		" segunda-feira terça-feira quarta-feira quinta-feira sexta-feira janeiro fevereiro março maio junho julho setembro outubro novembro dezembro" +
		" maandag dinsdag woensdag donderdag vrijdag zaterdag zondag januari februari maart augustus",
	noDayName:    "on in to host user ip",
	dateParticle: "de del of the at um uhr le am pm a.m. p.m. - à",
})

func vocabularyOf(sets map[words]string) map[string]words {
	all := make(map[string]words)
	for set, text := range sets {
		for word := range strings.FieldsSeq(text) {
			all[word] |= set
		}
	}
	return all
}

// isA reports whether a word is in one of the sets. Case does not count.
func isA(word string, sets words) bool {
	var b [16]byte // the longest word that is known has less
	if len(word) > len(b) {
		return false
	}
	n := copy(b[:], word)
	fold(b[:n])
	return vocabulary[string(b[:n])]&sets != 0
}

// isProtocol reports whether a word of a with clause is the name of a protocol, alone
// or with the encryption behind a slash: "ESMTP/TLS/AES128-SHA".
func isProtocol(word string) bool {
	if isA(word, protocolWord) {
		return true
	}
	name, rest, found := strings.Cut(strings.TrimRight(word, ",:"), "/")
	if found && !isTLSText(lower(rest)) && !isProtocol(rest) {
		return false
	}
	return isA(name, protocolWord) || smtpForm.MatchString(lower(name))
}

// smtpForm is SMTP or one of its variants: esmtpsa, asmtp, bsmtp, local-esmtp, esmtp-tls.
var smtpForm = regexp.MustCompile(`^(a|b|x|s|biz|utf8|local-|batch-)?e?smtp[-_+]*(a|s|sa|as|p|x|tls|ssl|auth|dsn)?$`)

// isLink reports whether a word is the name of a link that via may name, or of a
// protocol, which some software writes there.
func isLink(word string) bool { return isA(word, linkWord) || isProtocol(word) }

// isTLS reports whether text, in lower case, is about the encryption and each word
// of it is known to be, so that it cannot hold anything of the client.
func isTLS(text string) bool { return tlsTextOf(text)&tlsWord != 0 && !holdsAddress(text) }

// isTLSText reports whether each word of text, in lower case, may stand beside
// others that are about the encryption.
func isTLSText(text string) bool { return tlsTextOf(text) != 0 }

// tlsTextOf says what tlsWordOf does of the words of text, nothing if one is unknown.
func tlsTextOf(text string) words {
	all := plainWord
	for word := range split(text, separator|joint) {
		kind := tlsWordOf(word)
		if kind == 0 {
			return 0
		}
		all |= kind
	}
	return all
}

// tlsWordOf says whether a word is about TLS, a plain one such as a number or the
// number of a cipher (0x1301), or neither.
func tlsWordOf(word string) words {
	switch {
	case isNumber(word, 5):
		return plainWord
	case index(word, digit) < 0:
		return vocabulary[word] & (tlsWord | plainWord)
	}
	var b [32]byte
	letters := b[:0]
	for i := 0; i < len(word) && len(letters) < len(b); i++ {
		if !is(word[i], digit) {
			letters = append(letters, word[i])
		}
	}
	switch {
	case vocabulary[string(letters)]&numberedTLSWord != 0:
		return tlsWord
	case len(word) == len("0x1301") && word[:2] == "0x" && strings.Trim(word[2:], "0123456789abcdef") == "":
		return plainWord
	}
	return 0
}
