package policy

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"milterd/policy/access"
)

// SenderLoginCheck has who has logged in (SMTP AUTH, by any mechanism) send only as
// addresses that are the login's own.
type SenderLoginCheck struct {
	Mode  Mode
	Allow []SenderRule // for all logins
	// Logins are the addresses of single logins, and File is where they stand.
	Logins map[string][]SenderRule
	File   string
	// NullSender takes the null sender from a login: it is that of the receipts that
	// mail programs send (RFC 8098 section 3).
	NullSender bool
	Reply      Reply
}

// set reports whether there is a rule to go by.
func (c *SenderLoginCheck) set() bool { return len(c.Allow) > 0 || c.Logins != nil }

// loginPlace stands for the login in a rule.
const loginPlace = "{login}"

// SenderRule is an address, or some, that a login may send as. Case does not count.
type SenderRule struct {
	text string // as it was written, in lower case
	line int    // of the file of logins; 0 if the configuration has it
}

// ParseSenderRule reads a rule for all logins: ADDRESS, @DOMAIN, {login} (the login is
// the address) or {login}@DOMAIN.
func ParseSenderRule(s string) (SenderRule, error) {
	if s == loginPlace {
		return SenderRule{text: s}, nil
	}
	if domain, ok := strings.CutPrefix(s, loginPlace+"@"); ok && isDomain(domain) {
		return SenderRule{text: access.Fold(s)}, nil
	}
	r, err := ParseLoginRule(s, 0)
	if err != nil || s == "*" {
		return SenderRule{}, fmt.Errorf("%q, expected {login}, {login}@DOMAIN, an address or @DOMAIN", s)
	}
	return r, nil
}

// ParseLoginRule reads a rule for one login, which stands on a line of the file of
// logins: ADDRESS, @DOMAIN, or * for any address.
func ParseLoginRule(s string, line int) (SenderRule, error) {
	local, domain, ok := cutAddress(s)
	if s != "*" && (!ok || local == "*" || !isDomain(domain) || len(s) > MaxAddress || strings.ContainsAny(local, `"\<>()[],;:{} `)) {
		return SenderRule{}, fmt.Errorf("%q, expected an address or @DOMAIN", s)
	}
	return SenderRule{text: access.Fold(s), line: line}, nil
}

// cutAddress takes an address apart at its only @.
func cutAddress(s string) (local, domain string, ok bool) {
	local, domain, ok = strings.Cut(s, "@")
	return local, domain, ok && !strings.Contains(domain, "@")
}

// login is who has logged in.
type login struct {
	name  string            // as the administrator knows it
	host  string            // our full host name: Cyrus SASL adds it to a login that has no realm
	realm func(string) bool // whether a realm tells people apart
}

// bare is the login without a realm that says nothing: our host name, or the domain of
// the rule. ok is false if it has another one: that may be another person.
func (l login) bare(domain string) (user string, ok bool) {
	user, realm, qualified := cutAddress(l.name)
	switch {
	case !qualified:
		return l.name, !strings.Contains(l.name, "@")
	case realm == "":
		return "", false
	}
	realm = access.Fold(realm)
	return user, realm == access.Fold(l.host) || domain != "" && realm == domain
}

// holds reports whether a rule holds an address, with or without its +detail.
func (r SenderRule) holds(a senderAddress, l login) bool {
	if r.text == "*" {
		return true
	}
	if r.text == loginPlace {
		if _, realm, ok := strings.Cut(access.Fold(l.name), "@"); ok {
			// Anybody may write anything there if no realm is looked at.
			return (l.realm(realm) || realm == access.Fold(l.host)) && a.is(access.Fold(l.name))
		}
		return a.is(access.Fold(l.name + "@" + l.host))
	}
	if domain, ok := strings.CutPrefix(r.text, loginPlace+"@"); ok {
		user, ok := l.bare(domain)
		return ok && a.is(access.Fold(user)+"@"+domain)
	}
	if domain, ok := strings.CutPrefix(r.text, "@"); ok {
		return a.domain == domain
	}
	return a.is(r.text)
}

// senderAddress is a sender in lower case.
type senderAddress struct {
	// whole is the address, plain is it without its +detail.
	whole, plain, domain string
}

func (a senderAddress) is(text string) bool { return a.whole == text || a.plain == text }

func (s *Session) senderAddress() (senderAddress, error) {
	a, err := s.policy.canonical(s.message.mail.From)
	if err != nil {
		return senderAddress{}, err
	}
	if a.domain == "" {
		a.domain = s.policy.Hostname
	}
	local, domain := access.Fold(a.localText()), access.Fold(a.domain)
	to := senderAddress{whole: local + "@" + domain, plain: local + "@" + domain, domain: domain}
	if plus := strings.IndexByte(local, '+'); plus > 0 && a.kind('F') == 'F' {
		to.plain = local[:plus] + "@" + domain
	}
	return to, nil
}

// checkSenderLogin asks whether the sender is one of the login's own addresses.
func (s *Session) checkSenderLogin(e *evaluation) finding {
	check := &s.policy.Checks.SenderLogin
	switch auth := s.message.auth; {
	case auth.Type == "":
		return pass("the client has not authenticated")
	case s.message.mail.From == "" && check.NullSender:
		return pass("the null sender is that of receipts (RFC 8098)")
	case s.message.mail.From == "":
		return e.refusal(check.Reply, "checks.sender_login.null_sender", "the null sender is no login's own")
	case auth.Authen == "":
		return e.refusal(check.Reply, "checks.sender_login", "it is not known who has authenticated")
	}
	who := Printable(s.message.auth.Login())
	a, err := s.senderAddress()
	if err != nil {
		return e.refusal(check.Reply, "checks.sender_login", "the sender is written in a way that cannot be compared with the addresses of "+who)
	}
	if why := s.ownAddress(a); why != "" {
		return pass(why)
	}
	return e.refusal(check.Reply, "checks.sender_login", Printable(a.whole)+" is not an address of "+who)
}

// ownAddress says which rule lets the login send as an address, or nothing.
func (s *Session) ownAddress(a senderAddress) string {
	check := &s.policy.Checks.SenderLogin
	l := login{name: s.message.auth.Login(), host: s.policy.Hostname, realm: s.policy.realm}
	for _, rule := range check.Allow {
		if rule.holds(a, l) {
			return fmt.Sprintf("the sender is an address of %s (checks.sender_login.allow: %s)", Printable(l.name), rule.text)
		}
	}
	names := []string{l.name}
	if user, ok := l.bare(""); ok && user != l.name {
		names = append(names, user)
	}
	for _, name := range names {
		for _, rule := range check.Logins[name] {
			if rule.holds(a, l) {
				return fmt.Sprintf("%s:%d: %s may send as %s", check.File, rule.line, Printable(name), rule.text)
			}
		}
	}
	return ""
}

// FromXtext decodes xtext (RFC 3461 section 4), in which + and two hexadecimal digits
// stand for a character. sendmail writes ${auth_authen} so.
func FromXtext(s string) string {
	if !strings.Contains(s, "+") {
		return s // as nearly all are
	}
	return xtext.ReplaceAllStringFunc(s, func(code string) string {
		n, _ := strconv.ParseUint(code[1:], 16, 8) // two digits
		return string([]byte{byte(n)})
	})
}

var xtext = regexp.MustCompile(`\+[0-9A-F]{2}`)

// ToXtext encodes text as xtext.
func ToXtext(s string) string {
	var b strings.Builder
	for _, c := range []byte(s) {
		if c < '!' || c > '~' || c == '+' || c == '=' {
			fmt.Fprintf(&b, "+%02X", c)
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}
