package tally

import (
	"cmp"
	"net/netip"
	"regexp"
	"slices"
	"strings"
)

// hiddenPart stands for what is not shown.
const hiddenPart = "…"

// Hide takes out of a Snapshot whom it is about: addresses of clients are shortened to
// their networks, of their names the first label is left out, and of mail addresses and
// users the local part.
func (s *Snapshot) Hide() {
	for i := range s.Verdicts {
		s.Verdicts[i].hide()
	}
	s.Clients, s.Users, s.RefusedRecipients = hideNames(s.Clients, hideText), hideNames(s.Users, hideUser), hideNames(s.RefusedRecipients, hideText)
	s.Logins = hideLogins(s.Logins)
	for _, list := range []*[]Name{&s.Shadow.Checks, &s.Shadow.Networks, &s.Shadow.Names, &s.Shadow.Domains} {
		*list = hideNames(*list, func(name string) string { return name })
	}
}

// hideNames hides names. Those that are the same then are counted together.
func hideNames(names []Name, hide func(string) string) []Name {
	hidden := names[:0]
	for _, n := range names {
		n.Name = hide(n.Name)
		if i := slices.IndexFunc(hidden, func(h Name) bool { return h.Name == n.Name }); i >= 0 {
			hidden[i].Count, hidden[i].Over = hidden[i].Count+n.Count, hidden[i].Over+n.Over
			continue
		}
		if x := n.Example; x != nil {
			x.Name, x.Client = hideHost(x.Name), hideText(x.Client)
			x.From, x.To = hideText(x.From), hideText(x.To)
		}
		hidden = append(hidden, n)
	}
	slices.SortStableFunc(hidden, func(a, b Name) int { return cmp.Compare(b.Count, a.Count) })
	return hidden
}

func (v *Verdict) hide() {
	for _, host := range []*string{&v.Name, &v.PTR, &v.Helo} {
		shown := hideHost(*host)
		if shown != *host {
			v.everywhere(*host, shown)
		}
		*host = shown
	}
	if v.User != "" {
		shown := hideUser(v.User)
		v.everywhere(v.User, shown)
		v.User = shown
	}
	for _, text := range v.hidable() {
		*text = hideText(*text)
	}
}

// everywhere hides a name in the texts that explain as well.
func (v *Verdict) everywhere(name, shown string) {
	for _, text := range v.hidable() {
		*text = strings.ReplaceAll(*text, name, shown)
	}
}

func (v *Verdict) hidable() []*string {
	all := []*string{&v.Client, &v.From, &v.To, &v.Rule, &v.Reply, &v.Reason, &v.Relay}
	for i := range v.Shadow {
		all = append(all, &v.Shadow[i])
	}
	return all
}

// Hidden is a login, or another text, without whom it is about.
func Hidden(text string, login bool) string {
	if login {
		return hideUser(text)
	}
	return hideText(text)
}

func hideUser(user string) string {
	if at := strings.LastIndexByte(user, '@'); at >= 0 {
		return hiddenPart + user[at:]
	}
	return hiddenPart
}

// hideHost leaves out the first label of a name, and the end of an address.
func hideHost(name string) string {
	if shown := hideText(name); shown != name {
		return shown
	}
	if _, above, ok := strings.Cut(name, "."); ok && strings.Contains(above, ".") {
		return hiddenPart + "." + above
	}
	return name
}

var (
	localParts = regexp.MustCompile(`(?:"[^"]*"|[^\s<>"@,;()]+)@`)
	addresses  = regexp.MustCompile(`(?i:IPv6:)?[0-9A-Fa-f.:]*[0-9A-Fa-f][.:][0-9A-Fa-f.:]*`)
)

// hideText hides the local parts and addresses that stand in a text.
func hideText(text string) string {
	text = localParts.ReplaceAllString(text, hiddenPart+"@")
	return addresses.ReplaceAllStringFunc(text, func(found string) string {
		// What stands before and behind an address may look like a part of it.
		word := strings.Trim(strings.TrimRight(found, ".:"), ".")
		if len(word) > len("IPv6:") && strings.EqualFold(word[:len("IPv6:")], "IPv6:") {
			word = word[len("IPv6:"):]
		}
		addr, err := netip.ParseAddr(word)
		if err != nil {
			if at := strings.LastIndexByte(word, ':'); at >= 0 {
				word = word[at+1:]
				addr, err = netip.ParseAddr(word)
			}
		}
		if err != nil {
			return found
		}
		return strings.Replace(found, word, shortened(addr), 1)
	})
}

func shortened(addr netip.Addr) string {
	if addr = addr.Unmap(); addr.Is4() {
		text := addr.String()
		return text[:strings.LastIndexByte(text, '.')+1] + "x"
	}
	network, _ := addr.Prefix(48) // a possible length
	return strings.TrimSuffix(network.Addr().String(), "::") + "::x"
}
