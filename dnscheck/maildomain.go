package dnscheck

import (
	"cmp"
	"context"
	"net/netip"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/miekg/dns"
	"golang.org/x/net/idna"
)

// maxMX is how many mail hosts of a domain are looked at, the most preferred
// first.
const maxMX = 10

// MailStatus says whether mail for a domain can be delivered.
type MailStatus uint8

const (
	// MailTemporary: not known for now.
	MailTemporary MailStatus = iota
	// MailOK: the domain has mail hosts, or an address of its own.
	MailOK
	// MailNull: the domain says that it takes no mail (RFC 7505).
	MailNull
	// MailNoDomain: the domain does not exist, or has neither mail hosts nor
	// addresses.
	MailNoDomain
	// MailBadMX: no mail host has an address that mail could be sent to; see
	// MailOptions.
	MailBadMX
	// MailLiteral: an address literal such as [203.0.113.8], about which there
	// is nothing to ask.
	MailLiteral
	// MailInvalid: the text is neither a domain name nor an address literal.
	MailInvalid
	// MailInvalidIDN: a domain name in Unicode that breaks the rules of IDNA
	// (RFC 5891), so that it stands for no name in the DNS.
	MailInvalidIDN
)

func (s MailStatus) String() string {
	return word(s, "no answer", "ok", "null MX", "no such domain", "unusable MX", "address literal", "not a domain name",
		"not an internationalized domain name")
}

// MailOptions choose what is asked beyond the existence of the domain.
type MailOptions struct {
	// BadMX asks for the addresses of the mail hosts too. The domain is
	// MailBadMX if it has no usable address left: each one is loopback, private
	// or otherwise not for the public (see Public), or in Networks, or there is
	// none. One good address is enough for MailOK: a backup host with a private
	// address is a mistake and not a lie. A host without an answer is taken to
	// be good, in that it makes the result MailTemporary and never MailBadMX.
	BadMX bool
	// Networks are the networks that no mail host may be in.
	Networks []netip.Prefix
}

type MailHost struct {
	Preference uint16
	// Name is in lower case and without its final dot, in printable characters:
	// what a host name does not have is escaped as in a zone file.
	Name string
	// Addrs are its addresses, if they were asked for.
	Addrs []netip.Addr
	// Err says why its addresses are not, or not all, known.
	Err error
}

// MailDomain is the result of a check.
type MailDomain struct {
	// Domain is the name that was asked for: A-labels, lower case, no final dot.
	Domain string
	Status MailStatus
	// Hosts are the mail hosts, the most preferred first, maxMX at most. Without
	// MX records it is the domain itself (RFC 5321 section 5.1).
	Hosts []MailHost
	// Err is the cause of MailTemporary.
	Err error
}

// CheckMailDomain finds out whether mail can be sent back to a domain, the part
// of a sender's address behind the @.
func CheckMailDomain(ctx context.Context, resolver Resolver, domain string, o MailOptions) MailDomain {
	if isLiteral(domain) {
		return MailDomain{Domain: domain, Status: MailLiteral}
	}
	name, status := mailName(domain)
	m := MailDomain{Domain: name, Status: status}
	if status != MailOK {
		return m
	}
	mx := resolver.Lookup(ctx, name, dns.TypeMX)
	switch mx.Status {
	case Temporary:
		m.Status, m.Err = MailTemporary, mx.Err
		return m
	case NXDomain:
		m.Status = MailNoDomain
		return m
	case NoData:
		m.implicitMX(ctx, resolver)
	case Found:
		m.takeHosts(mx.Records)
		if m.Status == MailOK && o.BadMX {
			m.askHosts(ctx, resolver)
		}
	}
	if m.Status == MailOK && o.BadMX {
		m.judgeHosts(o.Networks)
	}
	return m
}

func mailName(domain string) (string, MailStatus) {
	domain = strings.TrimSuffix(domain, ".")
	if strings.ContainsFunc(domain, func(r rune) bool { return r >= utf8.RuneSelf }) {
		ascii, err := idna.Lookup.ToASCII(domain)
		if err != nil || !utf8.ValidString(domain) {
			return Printable(domain), MailInvalidIDN
		}
		domain = strings.TrimSuffix(ascii, ".")
	}
	// sendmail and the DNS allow one label; underscores are common in practice.
	name, ok := canonicalName(domain)
	if !ok || name == "." || !hostCharacters(name) {
		return Printable(domain), MailInvalid
	}
	return strings.TrimSuffix(name, "."), MailOK
}

// isLiteral says that a domain is an address literal (RFC 5321 section 4.1.3).
func isLiteral(domain string) bool {
	if len(domain) < len("[]") || domain[0] != '[' || domain[len(domain)-1] != ']' {
		return false
	}
	text, isIPv6 := strings.CutPrefix(asciiLower(domain[1:len(domain)-1]), "ipv6:")
	addr, err := netip.ParseAddr(text)
	return err == nil && addr.Is6() == isIPv6 && addr.Zone() == ""
}

// takeHosts reads the MX records. A null MX counts only if there is no other
// record (RFC 7505 section 3); beside others it is passed over, as no mail can
// be sent to it.
func (m *MailDomain) takeHosts(records []Record) {
	for _, record := range records {
		if record.Host != "." && len(m.Hosts) < maxMX {
			m.Hosts = append(m.Hosts, MailHost{
				Preference: record.Preference,
				Name:       strings.TrimSuffix(record.Host, "."),
			})
		}
	}
	if len(m.Hosts) == 0 {
		m.Status = MailNull
	}
}

// implicitMX takes the domain for its own mail host (RFC 5321 section 5.1).
func (m *MailDomain) implicitMX(ctx context.Context, resolver Resolver) {
	m.Hosts = []MailHost{{Name: m.Domain}}
	m.askHosts(ctx, resolver)
	host := m.Hosts[0]
	switch {
	case len(host.Addrs) > 0:
	case host.Err != nil:
		m.Status, m.Err = MailTemporary, host.Err
	default:
		m.Status, m.Hosts = MailNoDomain, nil
	}
}

// askHosts fills in the addresses of all hosts at once. A name that no host can
// have has none and is not asked for: it could hold anything, such as the place
// of a list's key.
func (m *MailDomain) askHosts(ctx context.Context, resolver Resolver) {
	questions := make([]Question, 0, 2*maxMX)
	hosts := make([]*MailHost, 0, maxMX)
	for i := range m.Hosts {
		if host := &m.Hosts[i]; hostCharacters(host.Name) {
			questions = append(questions, Question{host.Name, dns.TypeA}, Question{host.Name, dns.TypeAAAA})
			hosts = append(hosts, host)
		}
	}
	for i, result := range lookupAll(ctx, resolver, questions) {
		host := hosts[i/2]
		host.Addrs = append(host.Addrs, result.Addrs()...)
		if result.Status == Temporary {
			host.Err = result.Err
		}
	}
}

// judgeHosts looks for an address that mail could be sent to.
func (m *MailDomain) judgeHosts(networks []netip.Prefix) {
	m.Status = MailBadMX
	for _, host := range m.Hosts {
		if host.Err != nil {
			m.Status, m.Err = MailTemporary, host.Err
		}
		for _, addr := range host.Addrs {
			in := func(network netip.Prefix) bool { return network.Contains(addr.Unmap()) }
			if Public(addr) && !slices.ContainsFunc(networks, in) {
				m.Status, m.Err = MailOK, nil
				return
			}
		}
	}
}

// maxShown bounds the addresses of one mail host that String shows.
const maxShown = 4

// String says what was found, for a trace: with bad mail hosts also their addresses.
func (m MailDomain) String() string {
	text := "domain " + m.Domain + ": " + m.Status.String()
	if m.Status != MailBadMX {
		return text
	}
	for _, host := range m.Hosts {
		addrs := cmp.Or(joinAddrs(host.Addrs[:min(len(host.Addrs), maxShown)], " "), "no address")
		if len(host.Addrs) > maxShown {
			addrs += " ..."
		}
		text += ", " + host.Name + " (" + addrs + ")"
	}
	return text
}

func joinAddrs(addrs []netip.Addr, separator string) string {
	texts := make([]string, len(addrs))
	for i, addr := range addrs {
		texts[i] = addr.String()
	}
	return strings.Join(texts, separator)
}
