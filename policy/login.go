package policy

import (
	"maps"
	"slices"
	"strings"

	"milterd/policy/access"
)

// LoginName is a login (SMTP AUTH) as limits and blocks know it: in lower case, and without
// a realm that tells no two people apart. What a client writes behind the @ is often not
// looked at (saslauthd without -r), or is what Cyrus SASL would have added: our host name. So
// only one of Policy.Realms is part of the name.
func (p *Policy) LoginName(login string) string {
	login = access.Fold(login)
	user, realm, ok := strings.Cut(login, "@")
	// The name of a certificate (EXTERNAL) may hold a mail address.
	if ok && user != "" && user[0] != '/' && !p.realm(realm) {
		return user
	}
	return login
}

// LoginOf is who has logged in, in the form of LoginName; empty without that.
func (p *Policy) LoginOf(a Auth) string {
	if !a.authenticated() {
		return ""
	}
	return p.LoginName(a.Login())
}

// authenticated reports whether there is a login. ANONYMOUS (RFC 4505) is none.
func (a Auth) authenticated() bool { return a.Type != "" && access.Fold(a.Type) != "anonymous" }

// realm reports whether a realm, in lower case, tells people apart. A name below a domain
// of ours does not: there is no end of those. What else is in the classes does not either:
// names without a domain, addresses and networks.
func (p *Policy) realm(realm string) bool {
	if realm == access.Fold(p.Hostname) {
		return false
	}
	if p.Realms.Names.Has(realm) {
		return true
	}
	last := realm[strings.LastIndexByte(realm, '.')+1:]
	if last == realm || strings.Trim(last, "0123456789]") == "" {
		return false
	}
	return p.Realms.Local && p.Local.Has(realm) || p.Realms.Relay && p.Relay.Has(realm)
}

// NameLogins puts the logins in lists and exceptions of the limits into the form of
// LoginName, once Hostname, Local, Relay and Realms are known.
func (p *Policy) NameLogins() {
	for i := range p.Limits.Rules {
		l := &p.Limits.Rules[i]
		l.Whom.Logins = slices.Clone(l.Whom.Logins)
		for j, login := range l.Whom.Logins {
			l.Whom.Logins[j] = p.LoginName(login)
		}
		if l.Exceptions == nil {
			continue
		}
		named := make(map[string][]Rate, len(l.Exceptions))
		for _, login := range slices.Sorted(maps.Keys(l.Exceptions)) {
			// The name itself comes before, and counts rather than, the same with a realm.
			name := p.LoginName(login)
			if _, there := named[name]; !there || name == login {
				named[name] = l.Exceptions[login]
			}
		}
		l.Exceptions = named
	}
}
