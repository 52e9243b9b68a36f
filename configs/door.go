package configs

import (
	"net/netip"
	"strings"

	"milterd/configs/sendmail"
)

// checkDoor compares what sendmail.cf says about its filters with where milterd
// listens, and warns where mail would pass milterd by.
func (c *Config) checkDoor(s *sources, cf *sendmail.Config) {
	if cf.Submission {
		s.warn(s.cf, 0, "a submission program's file (FEATURE(msp)), which decides about no client; the server's is usually /etc/mail/sendmail.cf")
		return
	}
	ours, others := false, []string(nil)
	for _, f := range cf.Filters {
		if !c.listensOn(f.Socket) {
			others = append(others, f.Name+" (S="+f.Socket+")")
			continue
		}
		ours = true
		switch {
		case !f.Used:
			s.warn(s.cf, f.Line, "the filter %s is defined, but not in InputMailFilters, so sendmail does not ask milterd; write INPUT_MAIL_FILTER in place of MAIL_FILTER", f.Name)
		case strings.Contains(f.Flags, "R"):
			s.warn(s.cf, f.Line, "the filter %s has F=R: mail is refused for good while milterd is down; F=T defers it", f.Name)
		case !strings.ContainsAny(f.Flags, "T4"):
			s.warn(s.cf, f.Line, "the filter %s has no F=T: mail is taken unfiltered while milterd is down", f.Name)
		}
	}
	if ours {
		return
	}
	found := "there is none"
	if len(others) > 0 {
		found = "there is " + strings.Join(others, ", ")
	}
	s.warn(s.cf, 0, "no INPUT_MAIL_FILTER leads to listen.milter (%s), so sendmail does not ask milterd; %s", strings.Join(c.Listen.Milter, ", "), found)
}

// listensOn reports whether a filter's address is one that milterd listens on.
func (c *Config) listensOn(filter string) bool {
	for _, own := range c.Listen.Milter {
		if sameAddress(own, filter) {
			return true
		}
	}
	return false
}

// sameAddress compares addresses in sendmail's notation as far as that is
// possible without asking the DNS: hosts of two kinds, a name and an address,
// may be the same.
func sameAddress(a, b string) bool {
	schemeA, restA := splitScheme(a)
	schemeB, restB := splitScheme(b)
	if schemeA != schemeB {
		return false
	}
	if schemeA == "local" {
		return restA == restB
	}
	portA, hostA, _ := strings.Cut(restA, "@")
	portB, hostB, _ := strings.Cut(restB, "@")
	if portA != portB {
		return false
	}
	addrA, isAddrA := hostAddr(hostA)
	addrB, isAddrB := hostAddr(hostB)
	return !isAddrA || !isAddrB || addrA == addrB || addrA.IsUnspecified() || addrB.IsUnspecified()
}

// splitScheme cuts local:, inet: or inet6: off; unix: is another word for local:,
// and a path alone means it, too.
func splitScheme(s string) (scheme, rest string) {
	scheme, rest, ok := strings.Cut(s, ":")
	switch {
	case !ok:
		return "local", s
	case scheme == "unix":
		return "local", rest
	}
	return scheme, rest
}

// hostAddr reads a literal address, with or without brackets.
func hostAddr(host string) (netip.Addr, bool) {
	addr, err := netip.ParseAddr(strings.TrimSuffix(strings.TrimPrefix(host, "["), "]"))
	return addr, err == nil
}
