package record

import (
	"regexp"
	"strings"

	"milterd/policy"
	"milterd/policy/replay"
)

// plainArgs are the ESMTP parameters that name no person, with what they look like. A
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

func (m *messageRedactor) args(args []string) []string {
	if m.redactor == nil || len(args) == 0 {
		return args
	}
	hidden := make([]string, len(args))
	for i, arg := range args {
		hidden[i] = m.arg(arg)
	}
	return hidden
}

func (m *messageRedactor) arg(arg string) string {
	name, value, ok := strings.Cut(arg, "=")
	upper := strings.ToUpper(name)
	if form := plainArgs[upper]; form != nil && form.MatchString(arg[len(name):]) {
		return arg
	}
	if !ok {
		if plainArgs[upper] != nil {
			return arg
		}
		return m.token(arg)
	}
	switch {
	case value == "":
		return arg
	case upper == "AUTH":
		return name + "=" + policy.ToXtext(m.identity(policy.FromXtext(value)))
	case upper == "ORCPT":
		kind, address, _ := strings.Cut(value, ";")
		if strings.EqualFold(kind, "rfc822") || strings.EqualFold(kind, "utf-8") {
			return name + "=" + kind + ";" + policy.ToXtext(m.identity(policy.FromXtext(address)))
		}
	}
	return name + "=" + m.token(value)
}

// identity hides a login. Of user@domain the domain stays; any other form is hidden as
// a whole, as nothing is decided on it.
func (m *messageRedactor) identity(s string) string {
	if m.redactor == nil || s == "" || s == "<>" {
		return s
	}
	user, domain, at := s, "", false
	if inner, ok := strings.CutPrefix(s, "<"); ok {
		user = strings.TrimSuffix(inner, ">")
	}
	if i := strings.LastIndexByte(user, '@'); i >= 0 {
		user, domain, at = user[:i], user[i+1:], true
	}
	if user == "" {
		return m.token(s)
	}
	if kind, n := policy.CutPiece(user, operators); kind == policy.PieceQuoted && n == len(user) {
		user = strings.NewReplacer(" ", "", "\t", "").Replace(user[1 : n-1])
	}
	if user == "" || user[0] == '/' || strings.ContainsAny(user, operators) || at && (domain == "" || hostEnd(domain) < len(domain)) {
		return m.token(s)
	}
	return m.address(s)
}

// auth hides the identities of SMTP AUTH. Those of EXTERNAL are out of certificates.
func (m *messageRedactor) auth(a policy.Auth) replay.Auth {
	hide := m.identity
	if m.redactor != nil && strings.EqualFold(a.Type, "EXTERNAL") {
		hide = m.wholly
	}
	return replay.Auth{Type: a.Type, Authen: hide(a.Authen), Author: hide(a.Author), SSF: a.SSF}
}

func (m *messageRedactor) wholly(s string) string {
	if s == "" {
		return s
	}
	return m.token(s)
}
