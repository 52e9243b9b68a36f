package milter

import (
	"net/netip"
	"strconv"
	"strings"

	gomilter "github.com/d--j/go-milter"

	"milterd/policy"
)

// connection collects the facts of CONNECT. A local submission comes with the
// family unknown or unix.
func connection(host, family string, port uint16, addr string, m gomilter.Macros) policy.Connection {
	c := policy.Connection{
		Name:        m.Get(gomilter.MacroClientName),
		PTR:         m.Get(gomilter.MacroClientPTR),
		Resolve:     resolve(m.Get(macroClientResolve)),
		DaemonName:  m.Get(gomilter.MacroDaemonName),
		DaemonPort:  uint16(number(m.Get(gomilter.MacroDaemonPort), 16)),
		DaemonAddr:  m.Get(gomilter.MacroDaemonAddr),
		DaemonFlags: m.Get(macroDaemonFlags),
	}
	if c.Name == "" {
		c.Name = host
	}
	if family == "tcp4" || family == "tcp6" {
		// The guard and the library have both checked the address.
		if a, err := netip.ParseAddr(addr); err == nil {
			c.Addr = a.Unmap()
			c.Port = port
		}
		return c
	}
	// A client without an address is taken for one of this host, which may relay.
	// ${client_addr} knows better if the MTA cannot name the family.
	if a, err := netip.ParseAddr(strings.TrimPrefix(m.Get(gomilter.MacroClientAddr), "IPv6:")); err == nil {
		c.Addr = a.Unmap()
	}
	return c
}

func resolve(macro string) policy.Resolve {
	switch r := policy.Resolve(macro); r {
	case policy.ResolveOK, policy.ResolveFail, policy.ResolveForged, policy.ResolveTemp:
		return r
	}
	return ""
}

// tlsState is the zero value without TLS: sendmail has a ${verify} even then.
func tlsState(m gomilter.Macros) policy.TLS {
	version := m.Get(gomilter.MacroTlsVersion)
	if version == "" {
		return policy.TLS{}
	}
	return policy.TLS{
		Version:     version,
		Cipher:      m.Get(gomilter.MacroCipher),
		Bits:        number(m.Get(gomilter.MacroCipherBits), 31),
		Verify:      m.Get(macroVerify),
		CertSubject: m.Get(gomilter.MacroCertSubject),
		CertIssuer:  m.Get(gomilter.MacroCertIssuer),
	}
}

func authState(m gomilter.Macros) policy.Auth {
	return policy.Auth{
		Type:   m.Get(gomilter.MacroAuthType),
		Authen: m.Get(gomilter.MacroAuthAuthen),
		Author: m.Get(gomilter.MacroAuthAuthor),
		SSF:    number(m.Get(gomilter.MacroAuthSsf), 31),
	}
}

// number reads a macro that holds a number of so many bits; anything else is 0.
func number(macro string, bits int) int {
	n, err := strconv.ParseUint(macro, 10, bits)
	if err != nil {
		return 0
	}
	return int(n)
}
