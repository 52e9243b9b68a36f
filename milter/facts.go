package milter

import (
	"net/netip"
	"strconv"
	"strings"

	gomilter "github.com/d--j/go-milter"

	"milterd/policy"
	"milterd/policy/access"
)

// connection collects the facts of CONNECT. ok is false if they do not tell who the client
// is. A local submission comes with the family unknown or unix, and without ${client_addr}
// or with 0 in it. It may relay, so nothing else is taken for one.
func connection(c *policy.Connection, host, family string, port uint16, addr string, m gomilter.Macros) (ok bool) {
	*c = policy.Connection{
		Name:        m.Get(gomilter.MacroClientName),
		PTR:         m.Get(gomilter.MacroClientPTR),
		DaemonName:  m.Get(gomilter.MacroDaemonName),
		DaemonPort:  uint16(number(m.Get(gomilter.MacroDaemonPort), 16)),
		DaemonAddr:  m.Get(gomilter.MacroDaemonAddr),
		DaemonFlags: m.Get(macroDaemonFlags),
	}
	if c.Name == "" {
		c.Name = host
	}
	if resolve := policy.Resolve(m.Get(macroClientResolve)); resolve.Known() {
		c.Resolve = resolve
	}
	if family == "tcp4" || family == "tcp6" {
		// The guard and the library have both checked the address.
		if a, err := netip.ParseAddr(addr); err == nil {
			c.Addr = a.Unmap()
			c.Port = port
		}
		return c.Addr.IsValid()
	}
	macro := m.Get(gomilter.MacroClientAddr)
	if macro == "" || macro == "0" {
		return true
	}
	// ${client_addr} knows better if the MTA cannot name the family.
	c.Addr, ok = access.ParseAddr(macro)
	return ok
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

// authState is who has logged in. sendmail writes the login in xtext, Postfix as it is.
func authState(m gomilter.Macros) policy.Auth {
	authen := m.Get(gomilter.MacroAuthAuthen)
	if strings.HasPrefix(m.Get(gomilter.MacroMTAVersion), "Postfix") {
		authen = policy.ToXtext(authen)
	}
	return policy.Auth{
		Type:   m.Get(gomilter.MacroAuthType),
		Authen: authen,
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
