package record

import (
	"regexp"
	"strings"

	"milterd/policy"
	"milterd/policy/replay"
)

// plainArgs are the ESMTP parameters that name nobody, with what they look like. A
// client may write anything in their place.
var plainArgs = map[string]*regexp.Regexp{
	"SIZE":        regexp.MustCompile(`^=[0-9]{1,20}$`),
	"BODY":        regexp.MustCompile(`(?i)^=(7BIT|8BITMIME|BINARYMIME)$`),
	"SMTPUTF8":    regexp.MustCompile(`^$`),
	"REQUIRETLS":  regexp.MustCompile(`^$`),
	"RET":         regexp.MustCompile(`(?i)^=(FULL|HDRS)$`),
	"NOTIFY":      regexp.MustCompile(`(?i)^=(NEVER|(SUCCESS|FAILURE|DELAY)(,(SUCCESS|FAILURE|DELAY)){0,2})$`),
	"BY":          regexp.MustCompile(`(?i)^=[+-]?[0-9]{1,9};[NR]T?$`),
	"MT-PRIORITY": regexp.MustCompile(`^=[+-]?[0-9]$`),
	"HOLDFOR":     regexp.MustCompile(`^=[0-9]{1,9}$`),
	"HOLDUNTIL":   regexp.MustCompile(`(?i)^=[0-9:.T+-]{1,35}Z?$`),
	"RRVS":        regexp.MustCompile(`(?i)^=[0-9:.T+-]{1,35}Z?(;[CR])?$`),
}

// args hides what ESMTP parameters say about people.
func (v *veil) args(args []string) []string {
	if v.redactor == nil || len(args) == 0 {
		return args
	}
	hidden := make([]string, len(args))
	for i, arg := range args {
		hidden[i] = v.arg(arg)
	}
	return hidden
}

func (v *veil) arg(arg string) string {
	name, value, ok := strings.Cut(arg, "=")
	upper := strings.ToUpper(name)
	if form := plainArgs[upper]; form != nil && form.MatchString(arg[len(name):]) {
		return arg
	}
	if !ok {
		if plainArgs[upper] != nil {
			return arg
		}
		return v.token(arg)
	}
	switch {
	case value == "":
		return arg
	case upper == "AUTH":
		return name + "=" + toXtext(v.identity(fromXtext(value)))
	case upper == "ORCPT":
		kind, address, _ := strings.Cut(value, ";")
		if strings.EqualFold(kind, "rfc822") || strings.EqualFold(kind, "utf-8") {
			return name + "=" + kind + ";" + toXtext(v.identity(fromXtext(address)))
		}
	}
	return name + "=" + v.token(value)
}

// identity hides who somebody is. Of user@domain the domain stays; what has any other
// form is hidden as a whole, as nothing is decided on it.
func (v *veil) identity(s string) string {
	if v.redactor == nil || s == "" || s == "<>" {
		return s
	}
	user, domain, at := s, "", false
	if inner, ok := strings.CutPrefix(s, "<"); ok {
		user = strings.TrimSuffix(inner, ">")
	}
	if i := strings.LastIndexByte(user, '@'); i >= 0 {
		user, domain, at = user[:i], user[i+1:], true
	}
	if n := len(user); n > 1 && user[0] == '"' && closing(user, 0) == n-1 {
		user = strings.NewReplacer(" ", "", "\t", "").Replace(user[1 : n-1])
	}
	if user == "" || user[0] == '/' || strings.ContainsAny(user, operators) || at && (domain == "" || hostEnd(domain) < len(domain)) {
		return v.token(s)
	}
	return v.address(s)
}

// fromXtext decodes xtext (RFC 3461 section 4).
func fromXtext(s string) string {
	if !strings.Contains(s, "+") {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '+' && i+2 < len(s) {
			high, low := strings.IndexByte(hexDigits, s[i+1]), strings.IndexByte(hexDigits, s[i+2])
			if high >= 0 && low >= 0 {
				b.WriteByte(byte(high<<4 | low))
				i += 2
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

const hexDigits = "0123456789ABCDEF"

// toXtext encodes xtext.
func toXtext(s string) string {
	var b strings.Builder
	for i := range len(s) {
		if c := s[i]; c < '!' || c > '~' || c == '+' || c == '=' {
			b.WriteByte('+')
			b.WriteByte(hexDigits[c>>4])
			b.WriteByte(hexDigits[c&15])
			continue
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// auth hides the identities of SMTP AUTH. Those of EXTERNAL are out of certificates.
func (v *veil) auth(a policy.Auth) replay.Auth {
	hide := v.identity
	if v.redactor != nil && strings.EqualFold(a.Type, "EXTERNAL") {
		hide = v.wholly
	}
	return replay.Auth{Type: a.Type, Authen: hide(a.Authen), Author: hide(a.Author), SSF: a.SSF}
}

// wholly hides a text, if there is one.
func (v *veil) wholly(s string) string {
	if s == "" {
		return s
	}
	return v.token(s)
}
