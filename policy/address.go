package policy

import (
	"errors"
	"slices"
	"strings"

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
	// local is the part before the domain, in tokens.
	local []string
	// domain has no trailing dot; it is empty for an unqualified address.
	domain string
	// quotedHost: a quoted or escaped part of local holds an operator. The host at
	// domain may take the quotes off and send the mail on to a further host.
	quotedHost bool
}

// localText is the local part as a key of the access table: quotes removed.
func (a address) localText() string {
	text := joinTokens(a.local)
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

// full and user are the look-ups of the address and of its local part alone.
func (a address) full() access.Item { return access.Item{Kind: a.kind('F'), Key: a.String()} }
func (a address) user() access.Item {
	return access.Item{Kind: a.kind('U'), Key: a.localText() + "@"}
}

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
	for _, t := range local {
		if t == "@" || t == "%" || t == "!" {
			return true
		}
	}
	return false
}

// quotedOperator reports whether quotes or a backslash hide an operator of class O in
// a local part. sendmail's rulesets do not look into such a token, unless it is the
// whole local part.
func quotedOperator(local []string) bool {
	for _, t := range local {
		if len(t) > 1 && strings.ContainsAny(t, "@%!") {
			return true
		}
	}
	return false
}

// canonical is sendmail's CanonAddr (rulesets 3, 96 and Parse0): the address the
// MTA would act on once every host of its own is taken off.
func (p *Policy) canonical(s string) (address, error) {
	if a, ok := p.plain(s); ok {
		return a, nil
	}
	tokens, err := tokenize(s)
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
		if !isWordByte(c) && c != '.' && c != '+' {
			return address{}, false
		}
	}
	dot := true
	for _, c := range []byte(domain) {
		if c == '.' && dot || c != '.' && !isWordByte(c) {
			return address{}, false
		}
		dot = c == '.'
	}
	if dot || p.Hostname != "" && p.isLocalhost(domain) {
		return address{}, false
	}
	return address{local: []string{local}, domain: domain}, true
}

func isWordByte(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_' || c == '='
}

func (p *Policy) canonicalTokens(tokens []string, depth int) (address, error) {
	// Once a host of ours is off, no source route is left to strip: MTAs differ in what
	// they make of one there.
	if depth > maxAddressDepth || depth > 0 && (colonBeforeHost(tokens) || tokens[0] == "@") {
		return address{}, errAddress
	}
	local, domain, err := focus(stripRoute(innermost(tokens)))
	if err != nil {
		return address{}, err
	}
	if len(domain) == 0 {
		return p.unqualified(local, depth)
	}
	name, err := p.domainName(domain)
	if err != nil {
		return address{}, err
	}
	for i, t := range local {
		if t == "@" || t == "," && (i+1 == len(local) || !hostOperator(local[i+1:i+2])) {
			return address{}, errAddress
		}
	}
	if !p.Local.Has(name) {
		if len(local) == 0 {
			return address{}, errAddress
		}
		return address{local: local, domain: name}, nil
	}
	local, err = dequote(local)
	if err != nil || len(local) == 0 {
		return address{}, errAddress
	}
	if hostOperator(local) {
		return p.canonicalTokens(local, depth+1)
	}
	return address{local: local, domain: name}, nil
}

// colonBeforeHost reports whether a colon stands outside a final address literal.
// Without angle brackets around the address sendmail would take what stands
// before it for the name of a group; nothing is relayed on such a guess.
func colonBeforeHost(tokens []string) bool {
	if n := len(tokens); n > 0 && tokens[n-1] == "]" {
		open := slices.Index(tokens, "[")
		if open < 0 || slices.Contains(tokens[open+1:], "[") {
			return slices.Contains(tokens, ":")
		}
		tokens = tokens[:open]
	}
	return slices.Contains(tokens, ":")
}

// unqualified handles an address without a domain, which is local.
func (p *Policy) unqualified(local []string, depth int) (address, error) {
	local, err := dequote(local)
	if err != nil || len(local) == 0 {
		return address{}, errAddress
	}
	if hostOperator(local) {
		return p.canonicalTokens(local, depth+1)
	}
	return address{local: local}, nil
}

// innermost takes what stands in the innermost angle brackets, and semicolons at
// its end off, as the beginning of ruleset 3 does.
func innermost(tokens []string) []string {
	for {
		open := slices.Index(tokens, "<")
		if open < 0 {
			break
		}
		tokens = tokens[open+1:]
	}
	if end := slices.Index(tokens, ">"); end >= 0 {
		tokens = tokens[:end]
	}
	for len(tokens) > 0 && tokens[len(tokens)-1] == ";" {
		tokens = tokens[:len(tokens)-1]
	}
	return tokens
}

// stripRoute takes source routes off: @a,@b:user@d is user@d.
func stripRoute(tokens []string) []string {
	for {
		end := -1
		if len(tokens) > 0 && tokens[0] == "@" {
			end = routeEnd(tokens)
		}
		if end < 0 {
			return tokens
		}
		tokens = tokens[end+1:]
	}
}

// routeEnd is the index of the comma or colon behind the first host of a route,
// or -1. A colon inside an address literal does not count.
func routeEnd(tokens []string) int {
	bracket := false
	for i, t := range tokens {
		switch t {
		case "[":
			bracket = true
		case "]":
			bracket = false
		case ",", ":":
			if !bracket && i >= 2 && i+1 < len(tokens) {
				return i
			}
		}
	}
	return -1
}

// focus splits tokens into local part and domain: at the last @, else at the
// first ! (host!user), else at the last %.
func focus(tokens []string) (local, domain []string, err error) {
	at, bang, percent := -1, -1, -1
	for i, t := range tokens {
		switch t {
		case "<", ">", ";":
			return nil, nil, errAddress
		case "@":
			at = i
		case "!":
			if bang < 0 {
				bang = i
			}
		case "%":
			percent = i
		}
	}
	switch {
	case at == 0 || at == len(tokens)-1 && at > 0:
		return nil, nil, errAddress
	case at > 0:
		return tokens[:at], tokens[at+1:], nil
	case bang == 0 || bang > 0 && bang == len(tokens)-1:
		return nil, nil, errAddress
	case bang > 0:
		domain = append(domain, tokens[:bang]...)
		if bang == 1 || tokens[bang-2] != "." {
			domain = append(domain, ".", "UUCP")
		}
		return tokens[bang+1:], domain, nil
	case percent == len(tokens)-1 && percent > 0:
		return nil, nil, errAddress
	case percent >= 0:
		return tokens[:percent], tokens[percent+1:], nil
	}
	return tokens, nil, nil
}

// domainName checks a domain as Parse0 does and writes it without trailing dots.
// Names for this host become $j.
func (p *Policy) domainName(tokens []string) (string, error) {
	dotted := len(tokens)
	for len(tokens) > 1 && tokens[len(tokens)-1] == "." {
		tokens = tokens[:len(tokens)-1]
	}
	name := joinTokens(tokens)
	if tokens[0] == "[" {
		if len(tokens) != dotted || tokens[len(tokens)-1] != "]" || strings.Count(name, "]") > 1 {
			return "", errAddress
		}
		if p.Local.Has(name) && p.Hostname != "" {
			return p.Hostname, nil
		}
		return name, nil
	}
	if tokens[0] == "." || strings.Contains(name, "..") || strings.ContainsAny(name, `:,@[]%!"\ `) {
		return "", errAddress
	}
	localhost := len(tokens) == dotted && p.isLocalhost(name)
	if p.Domain == "" && len(tokens) == dotted-1 {
		// The rule for "localhost . $m" takes "localhost." then.
		localhost = access.Fold(name) == "localhost"
	}
	if p.Hostname != "" && localhost {
		return p.Hostname, nil
	}
	return name, nil
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
