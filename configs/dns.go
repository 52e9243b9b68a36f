package configs

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"time"

	"milterd/dnscheck"
	"milterd/dnscheck/answers"
	"milterd/policy"
)

// DNS says how questions to the DNS are asked, and what is asked.
type DNS struct {
	// Client sets the resolver up; Deadline bounds all look-ups that one SMTP command
	// waits for.
	Client   dnscheck.Config
	Deadline time.Duration
	// Lists (by zone) and Threshold are keys of checks.dnsbl.
	Lists     map[string]*List
	Threshold int
	// BadNetworks are those of checks.sender_domain.bad_mx.
	BadNetworks []netip.Prefix
	// Generic (the built-in rules) and Patterns are keys of checks.rdns.generic.
	Generic  bool
	Patterns []string
}

// List is one DNS list.
type List struct {
	dnscheck.List
	Reply policy.Reply // the zero value leaves it to the check's own
}

// AsksDNS reports whether any check of this configuration asks the DNS.
func (c *Config) AsksDNS() bool {
	on := func(m policy.Mode) bool { return m != policy.ModeOff }
	return on(c.Checks.SenderDomain.Mode) || on(c.Checks.RDNS.Mode) && c.Checks.RDNS.Source == policy.RDNSSourceOwn ||
		on(c.Checks.DNSBL.Mode) && len(c.DNS.Lists) > 0
}

func (c *Config) listSchema(zone string) (field, error) {
	if c.DNS.Lists == nil {
		c.DNS.Lists = make(map[string]*List)
	}
	l := &List{List: dnscheck.List{Zone: zone, Weight: 1, IPv4: true, IPv6: true}}
	c.DNS.Lists[zone] = l
	return field{name: zone, section: []field{
		{name: "name", value: optionalText(&l.Name)},
		{name: "key", value: secret(&l.Key, "the query key")},
		{name: "kind", value: choice(&l.Kind, []string{"address", "domain"}, dnscheck.AddressList, dnscheck.DomainList)},
		{name: "weight", value: integer(&l.Weight, -1_000_000, 1_000_000)},
		{name: "exempt", value: func(v value) {
			boolean(&l.Exempt)(v)
			if l.Exempt && l.Weight > 0 {
				l.Weight = 0
			}
		}},
		{name: "codes", value: listOf(&l.Codes, dnscheck.ParseCode)},
		{name: "families", value: families(l)},
		{name: "clients", value: choice(&l.Clients, []string{"all", "strangers", "authenticated"},
			dnscheck.AllClients, dnscheck.StrangersOnly, dnscheck.AuthenticatedOnly)},
		{name: "txt", value: boolean(&l.TXT)},
		{name: "on_temporary", value: choice(&l.OnTemporary, []string{"ignore", "tempfail"}, dnscheck.IgnoreTemporary, dnscheck.TempFail)},
		{name: "probe", value: func(v value) {
			probe := true
			boolean(&probe)(v)
			l.NoProbe = !probe
		}},
		{name: "reply", value: reply(&l.Reply)},
	}}, nil
}

// maxServers is how many DNS servers a resolver takes.
const maxServers = 16

func (c *Config) checkLists(d *decoder) {
	names := make(map[string]string)
	for _, zone := range slices.Sorted(maps.Keys(c.DNS.Lists)) {
		l := c.DNS.Lists[zone]
		path := "checks.dnsbl.lists." + zone
		if _, err := dnscheck.NewLists([]dnscheck.List{l.List}, dnscheck.ListOptions{}); err != nil {
			d.wrong(path, "%v", err)
		}
		if other, taken := names[l.name()]; taken {
			d.wrong(path, "its name is that of %s; give one of them a name", other)
		}
		names[l.name()] = zone
		if l.Kind == dnscheck.DomainList && (l.Exempt || l.Weight < 0) {
			d.wrong(path, "a list of names cannot be an allow list: clients choose the names they give")
		}
		key := string(l.Key)
		if key != "" && (strings.Contains(zone, key) || strings.Contains(l.Name, key) || strings.Contains(l.Reply.Text, key)) {
			d.wrong(path, "the query key stands outside key: as well; it would be shown")
		}
	}
	if _, err := dnscheck.NewGeneric(c.DNS.Generic, c.DNS.Patterns); err != nil {
		d.wrong("checks.rdns.generic.patterns", "%v", err)
	}
	if c.DNS.Client.MinTTL > c.DNS.Client.MaxTTL {
		d.wrong("dns.min_ttl", "%v is above dns.max_ttl, %v", c.DNS.Client.MinTTL, c.DNS.Client.MaxTTL)
	}
	if n := len(c.DNS.Client.Servers); n > maxServers {
		d.wrong("dns.servers", "%d servers, expected %d at most", n, maxServers)
	}
}

// name is what a list is called in reports.
func (l *List) name() string { return cmp.Or(l.Name, l.Zone) }

func (c *Config) dnsblPolicy() policy.DNSBLCheck {
	check := c.Checks.DNSBL
	check.Addresses, check.Names, check.Replies = policy.ListUse{}, policy.ListUse{}, make(map[string]policy.Reply)
	for _, l := range c.DNS.Lists {
		use := &check.Addresses
		if l.Kind == dnscheck.DomainList {
			use = &check.Names
		}
		switch l.Clients {
		case dnscheck.AllClients:
			use.All = true
		case dnscheck.StrangersOnly:
			use.Strangers = true
		case dnscheck.AuthenticatedOnly:
			use.Authenticated = true
		}
		if l.Reply.Code != 0 {
			check.Replies[l.name()] = l.Reply
		}
	}
	return check
}

func exemptSchema(x *policy.Exempt) []field {
	return []field{
		{name: "authenticated", value: boolean(&x.Authenticated)},
		{name: "relay", value: boolean(&x.Relay)},
		{name: "connect_ok", value: boolean(&x.ConnectOK)},
		{name: "friend", value: boolean(&x.Friend)},
		{name: "postmaster", value: boolean(&x.Postmaster)},
	}
}

func checkServer(s string) error {
	if _, err := dnscheck.ParseServer(s); err != nil {
		return fmt.Errorf("%s, expected the address of a DNS server, such as 192.0.2.53 or 127.0.0.1:5353", quote(s))
	}
	return nil
}

func families(l *List) func(value) {
	return func(v value) {
		l.IPv4, l.IPv6 = false, false
		list(new([]string), func(s string) error {
			switch s {
			case "ipv4":
				l.IPv4 = true
			case "ipv6":
				l.IPv6 = true
			default:
				return fmt.Errorf("%s, expected ipv4 or ipv6", quote(s))
			}
			return nil
		})(v)
		if !l.IPv4 && !l.IPv6 {
			v.fail("no family, expected [ipv4], [ipv6] or [ipv4, ipv6]")
		}
	}
}

func checkPattern(s string) error {
	if _, err := regexp.Compile(s); err != nil {
		return fmt.Errorf("%s: %w", quote(s), err)
	}
	return nil
}

// Lookups makes what DNS questions are answered with, by this resolver; nil if no
// check asks any. health, if not nil, has lists that are broken left out.
func (c *Config) Lookups(resolver dnscheck.Resolver, health *dnscheck.Health) (*answers.Lookups, error) {
	if !c.AsksDNS() {
		return nil, nil
	}
	d := &c.DNS
	lookups := &answers.Lookups{
		Resolver: resolver, Time: d.Deadline,
		Mail: dnscheck.MailOptions{
			BadMX:    c.Checks.SenderDomain.BadMX.Action != policy.ActionAccept,
			Networks: d.BadNetworks,
		},
	}
	var err error
	if d.Generic || len(d.Patterns) > 0 {
		if lookups.Generic, err = dnscheck.NewGeneric(d.Generic, d.Patterns); err != nil {
			return nil, err
		}
	}
	if len(d.Lists) > 0 {
		var lists []dnscheck.List
		for _, zone := range slices.Sorted(maps.Keys(d.Lists)) {
			lists = append(lists, d.Lists[zone].List)
		}
		lookups.Lists, err = dnscheck.NewLists(lists, dnscheck.ListOptions{Threshold: d.Threshold, Health: health})
		if err != nil {
			return nil, err
		}
		lookups.ListResolver = lookups.Lists.Resolver(resolver)
	}
	return lookups, nil
}
