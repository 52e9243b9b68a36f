package configs

import (
	"maps"
	"slices"

	"milterd/policy"
)

// Examine reads the access table, the domain files and, if configured,
// sendmail.cf, and makes the policy of them. It also reads the files that hold
// passwords and keys into the configuration. The error is an [*Error] that holds every problem.
func (c *Config) Examine() (*policy.Policy, []Finding, error) {
	s := c.sources()
	p := &policy.Policy{
		Features: s.features,
		Hostname: s.hostname,
		Domain:   s.domain,
		Local:    s.read("class w", s.local),
		Relay:    s.read("class R", s.relay),
		Access:   s.table(),

		OwnDomains: s.read("class m", s.ownDomains),

		Shadow:   c.Mode == policy.ModeShadow,
		Checks:   c.Checks,
		Ports:    maps.Clone(c.Ports),
		Received: c.Received,

		GrantsRelayOnly: c.Grants.RelayOnly,
	}
	p.Received.Networks = slices.Clone(c.Received.Networks)
	p.Received.Rules.Fields = slices.Clone(c.Received.Rules.Fields)
	p.Checks.DNSBL = c.dnsblPolicy()
	p.Limits = c.limitsPolicy(s)
	p.Checks.Relay.TrustAuthMech = slices.Clone(s.mechanisms)
	p.Checks.Relay.LocalMailers = slices.Clone(c.Checks.Relay.LocalMailers)
	p.Checks.SenderLogin.File = c.path(c.Checks.SenderLogin.File)
	p.Checks.SenderLogin.Logins = s.logins()
	p.Realms = c.Domains.Realms
	p.NameLogins()
	c.readSecrets(s)
	c.readCA(s)
	c.checkNotify(s)
	c.checkReach(s)
	c.checkPlaces(s)
	if err := s.err(); err != nil {
		return nil, s.findings, err
	}
	c.entries, c.LeftOut = s.entries, s.leftOut
	return p, s.findings, nil
}
