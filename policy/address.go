package policy

import (
	"errors"
	"slices"
	"strings"
	"unicode/utf8"

	"milterd/policy/access"
)

// maxAddressDepth bounds how often an address is taken apart: each step takes
// one host of an a%b%c@d chain away.
const maxAddressDepth = 20

// MaxAddress bounds the addresses that are taken apart. RFC 5321 section 4.5.3.1.3
// allows 256 octets; sendmail takes more.
const MaxAddress = 1024

// errAddress stands for an address that sendmail's ruleset 0 refuses, or that is
// written in a way that nothing is decided on.
var errAddress = errors.New("not an address that can be relayed")

// address is an envelope address as sendmail's CanonAddr makes it: source routes
// stripped, hosts that are ours taken off, nothing quoted that hides an operator.
type address struct {
	local  []string // the part before the domain, in tokens
	domain string   // without a trailing dot; empty for an unqualified address
	// quotedHost: a quoted part of local holds an operator. The host at
	// domain may take the quotes off and send the mail on to a further host.
	quotedHost bool
	// strayed: domain is not the one that the MTA judges. The MTA may send the mail to
	// another one.
	strayed bool
}

// localText is the local part as a key of the access table: quotes removed.
func (a address) localText() string {
	text := strings.Join(a.local, "")
	if !strings.ContainsAny(text, `"\`) {
		return text
	}
	return access.Unquote(text)
}

// String is local@domain, or the local part alone.
func (a address) String() string {
	if a.domain == "" {
		return a.localText()
	}
	return a.localText() + "@" + a.domain
}

// full, user and domainItem are the look-ups of the address, of its local part alone, and of
// its domain.
func (a address) full() access.Item { return access.Item{Kind: a.kind('F'), Key: a.String()} }
func (a address) user() access.Item {
	return access.Item{Kind: a.kind('U'), Key: a.localText() + "@"}
}
func (a address) domainItem() access.Item { return access.Item{Kind: 'D', Key: a.domain} }

// kind is the kind of a look-up that tries a local part without its +detail, too. A
// plus sign within quotes begins none.
func (a address) kind(kind byte) byte {
	for _, t := range a.local {
		if t[0] == '"' && strings.Contains(t, "+") {
			return 'E'
		}
	}
	return kind
}

// hostOperator reports whether a local part names a further host (class O).
func hostOperator(local []string) bool {
	return slices.ContainsFunc(local, func(t string) bool { return t == "@" || t == "%" || t == "!" })
}

// quotedOperator reports whether quotes hide an operator in a local part: one of class O,
// or a colon, by which DECnet names hosts. sendmail's rulesets do not look into such a
// token, unless it is the whole local part.
func quotedOperator(local []string) bool {
	return slices.ContainsFunc(local, func(t string) bool { return t[0] == '"' && strings.ContainsAny(t, "@%!:") })
}

// canonical is sendmail's CanonAddr (rulesets 3, 96 and Parse0): the address the
// MTA would act on once every host of its own is taken off.
func (p *Policy) canonical(s string) (address, error) {
	if a, ok := p.plain(s); ok {
		return a, nil
	}
	tokens, err := read(s)
	if err != nil {
		return address{}, err
	}
	return p.canonicalTokens(tokens, 0)
}

// plain reads what nearly every address is, local@domain without anything to take
// apart, and leaves all others to the long way.
func (p *Policy) plain(s string) (address, bool) {
	at := strings.IndexByte(s, '@')
	if at < 1 || len(s) > MaxAddress {
		return address{}, false
	}
	local, domain := s[:at], s[at+1:]
	for _, c := range []byte(local) {
		if !isLabelByte(c) && c != '.' && c != '+' && c != '=' {
			return address{}, false
		}
	}
	if !isDomain(domain) || p.Hostname != "" && p.isLocalhost(domain) {
		return address{}, false
	}
	return address{local: []string{local}, domain: domain}, true
}

// isDomain reports whether s is made of labels with single dots between them.
func isDomain(s string) bool {
	dot := true
	for _, c := range []byte(s) {
		if c == '.' && dot || c != '.' && !isLabelByte(c) {
			return false
		}
		dot = c == '.'
	}
	return !dot
}

// canonicalTokens takes hosts of ours off. No host is left to a guess: what stands in a
// local part is taken apart only if sendmail, and any MTA behind it, can read it in one
// way.
func (p *Policy) canonicalTokens(tokens []string, depth int) (address, error) {
	if depth > maxAddressDepth {
		return address{}, errAddress
	}
	local, domain, err := focus(tokens)
	if err != nil {
		return address{}, err
	}
	a := address{local: local}
	if len(domain) > 0 {
		if a.domain, err = p.domainName(domain); err != nil {
			return address{}, err
		}
		if !p.Local.Has(a.domain) {
			return a, nil
		}
	}
	if a.local, err = dequote(local); err != nil || len(a.local) == 0 {
		return address{}, errAddress
	}
	if hostOperator(a.local) {
		return p.canonicalTokens(a.local, depth+1)
	}
	return a, nil
}

// read returns the tokens of an address without what ruleset 3 takes off first: angle
// brackets with the name before them, semicolons at the end, and a source route.
func read(s string) ([]string, error) {
	tokens, err := tokenize(s)
	if err != nil {
		return nil, err
	}
	for len(tokens) > 0 && tokens[len(tokens)-1] == ";" {
		tokens = tokens[:len(tokens)-1]
	}
	if open := slices.Index(tokens, "<"); open >= 0 {
		if open > 1 || open == 1 && !isText(tokens[0]) || tokens[len(tokens)-1] != ">" {
			return nil, errAddress
		}
		tokens = tokens[open+1 : len(tokens)-1]
	}
	if len(tokens) > 0 && tokens[0] == "@" {
		return stripRoute(tokens)
	}
	return tokens, nil
}

// stripRoute takes a source route off: @a,@b:user@d is user@d.
func stripRoute(tokens []string) ([]string, error) {
	for len(tokens) > 0 && tokens[0] == "@" {
		end := slices.IndexFunc(tokens, func(t string) bool { return t == "," || t == ":" })
		if end < 2 {
			break
		}
		if _, _, ok := hostName(tokens[1:end]); !ok && (end > 2 || !isLiteral(tokens[1])) {
			break
		}
		if tokens[end] == ":" {
			return tokens[end+1:], nil
		}
		tokens = tokens[end+1:]
	}
	return nil, errAddress
}

// focus splits tokens into local part and domain: at the @, else at the first !
// (host!user), else at the last %. MTAs differ in which of ! and % they take first.
func focus(tokens []string) (local, domain []string, err error) {
	at, bang, percent, quoted := -1, -1, -1, false
	for i, t := range tokens {
		switch t {
		case "<", ">", ";", ":", ",":
			return nil, nil, errAddress
		case "@":
			if at >= 0 {
				return nil, nil, errAddress
			}
			at = i
		case "!":
			if bang < 0 {
				bang = i
			}
		case "%":
			percent = i
		}
		quoted = quoted || t[0] == '"'
	}
	switch {
	case quoted && (bang >= 0 || percent >= 0), at < 0 && bang >= 0 && percent >= 0:
		return nil, nil, errAddress
	case at >= 0:
		local, domain = tokens[:at], tokens[at+1:]
	case bang >= 0:
		domain = slices.Clone(tokens[:bang])
		if bang < 2 || tokens[bang-2] != "." {
			domain = append(domain, ".", "UUCP")
		}
		local = tokens[bang+1:]
	case percent >= 0:
		local, domain = tokens[:percent], tokens[percent+1:]
	default:
		local = tokens
	}
	if len(local) == 0 || len(domain) == 0 && len(local) < len(tokens) {
		return nil, nil, errAddress
	}
	return local, domain, nil
}

// domainName checks a domain as Parse0 does and writes it without trailing dots.
// Names for this host become $j.
func (p *Policy) domainName(tokens []string) (string, error) {
	if literal := tokens[0]; len(tokens) == 1 && isLiteral(literal) {
		if p.Local.Has(literal) && p.Hostname != "" {
			return p.Hostname, nil
		}
		return literal, nil
	}
	name, dots, ok := hostName(tokens)
	if !ok {
		return "", errAddress
	}
	localhost := dots == 0 && p.isLocalhost(name)
	if p.Domain == "" && dots == 1 {
		// The rule for "localhost . $m" takes "localhost." then.
		localhost = access.Fold(name) == "localhost"
	}
	if p.Hostname != "" && localhost {
		return p.Hostname, nil
	}
	return name, nil
}

// hostName joins the labels of a domain, without the dots behind it.
func hostName(tokens []string) (name string, dots int, ok bool) {
	for len(tokens) > 1 && tokens[len(tokens)-1] == "." {
		tokens = tokens[:len(tokens)-1]
		dots++
	}
	for i, t := range tokens {
		if label := i%2 == 0; label != isLabel(t) || !label && t != "." {
			return "", 0, false
		}
	}
	return strings.Join(tokens, ""), dots, len(tokens) > 0
}

// isLabel reports whether a token may be a label of a domain name, or several labels in
// a name that is one token. Others are names only to a server that guesses.
func isLabel(token string) bool {
	for _, c := range []byte(token) {
		if !isLabelByte(c) && c < utf8.RuneSelf {
			return false
		}
	}
	return utf8.ValidString(token)
}

func isLabelByte(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_'
}

// isLocalhost reports whether a name is localhost, alone or in our own domain.
func (p *Policy) isLocalhost(name string) bool {
	head, domain, qualified := strings.Cut(name, ".")
	if access.Fold(head) != "localhost" {
		return false
	}
	domain = access.Fold(domain)
	return !qualified || domain == "uucp" || domain != "" && domain == access.Fold(p.Domain)
}
