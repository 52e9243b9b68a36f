package policy

import (
	"net/netip"

	"milterd/header"
	"milterd/policy/access"
)

// Resolve is what the MTA's own reverse look-up of the client found, as
// sendmail reports it in ${client_resolve}.
type Resolve string

const (
	ResolveOK     Resolve = "OK"     // the PTR name resolves back to the client's address
	ResolveFail   Resolve = "FAIL"   // the address has no PTR record
	ResolveForged Resolve = "FORGED" // the PTR name does not resolve back to the address
	ResolveTemp   Resolve = "TEMP"   // the PTR look-up had no answer (SERVFAIL, time-out)
)

// Known reports whether it is one of the four.
func (r Resolve) Known() bool {
	switch r {
	case ResolveOK, ResolveFail, ResolveForged, ResolveTemp:
		return true
	}
	return false
}

// Connection is what is known about a client once it has connected.
type Connection struct {
	// Addr is the client's address, unmapped; invalid for a local submission
	// that has no network address (sendmail -bs, a unix socket).
	Addr netip.Addr
	Port uint16 // 0 if it is not known
	// Name is ${client_name}: the confirmed host name, or the bracketed
	// address if Resolve is not OK.
	Name    string
	PTR     string  // ${client_ptr}: the name the PTR record gives, confirmed or not
	Resolve Resolve // ${client_resolve}; empty if the MTA did not say
	// DaemonName, DaemonPort, DaemonAddr and DaemonFlags describe the listener
	// that took the connection: ${daemon_name}, ${daemon_port},
	// ${daemon_addr} and ${daemon_flags}.
	DaemonName  string
	DaemonPort  uint16
	DaemonAddr  string
	DaemonFlags string
	// Shared: nearly all clients have this address, as something hides their own. It
	// entitles to nothing then, and what the DNS says of it says nothing of the client.
	Shared bool
}

// ClientAddr is the client's address as sendmail writes it in ${client_addr}:
// IPv6 with the IPv6: prefix and no zero compression, empty without an address.
func (c Connection) ClientAddr() string { return access.FormatAddr(c.Addr) }

// The tags of the types below are the keys that they have in recorded sessions.

// TLS is the state of the connection's encryption; the zero value means none.
type TLS struct {
	// Version is ${tls_version}, empty without TLS.
	Version string `yaml:"version,omitempty" json:"version,omitempty"`
	// Cipher and Bits are ${cipher} and ${cipher_bits}.
	Cipher string `yaml:"cipher,omitempty" json:"cipher,omitempty"`
	Bits   int    `yaml:"bits,omitempty" json:"bits,omitempty"`
	// Verify is ${verify}: OK or TRUSTED for a verified client certificate.
	Verify string `yaml:"verify,omitempty" json:"verify,omitempty"`
	// CertSubject and CertIssuer are ${cert_subject} and ${cert_issuer}.
	CertSubject string `yaml:"cert_subject,omitempty" json:"cert_subject,omitempty"`
	CertIssuer  string `yaml:"cert_issuer,omitempty" json:"cert_issuer,omitempty"`
}

// Auth is the SMTP AUTH state; the zero value means not authenticated.
type Auth struct {
	// Type is ${auth_type}, the SASL mechanism.
	Type string `yaml:"type,omitempty" json:"type,omitempty"`
	// Authen is ${auth_authen}, the authenticated identity, as sendmail writes it: in xtext.
	Authen string `yaml:"authen,omitempty" json:"authen,omitempty"`
	// Author is ${auth_author}, the AUTH= parameter of MAIL.
	Author string `yaml:"author,omitempty" json:"author,omitempty"`
	// SSF is ${auth_ssf}, the strength of the SASL layer in bits.
	SSF int `yaml:"ssf,omitempty" json:"ssf,omitempty"`
}

// String says who has authenticated, and how. Not every source of facts knows who.
func (a Auth) String() string {
	if a.Authen == "" {
		return "authenticated with " + Printable(a.Type)
	}
	return "authenticated as " + Printable(a.Login()) + " with " + Printable(a.Type)
}

// Login is who has authenticated, as the person types it into a mail program. That is the
// form in logs, in files and in commands.
func (a Auth) Login() string { return FromXtext(a.Authen) }

// Mail is one MAIL command.
type Mail struct {
	// From is the reverse-path as given, without angle brackets; empty for <>.
	From string `yaml:"from" json:"from"`
	// Args are the ESMTP parameters, e.g. SIZE=1000.
	Args []string `yaml:"args,omitempty" json:"args,omitempty"`
	// Mailer, Host and Addr are ${mail_mailer}, ${mail_host}, ${mail_addr}.
	Mailer string `yaml:"mailer,omitempty" json:"mailer,omitempty"`
	Host   string `yaml:"host,omitempty" json:"host,omitempty"`
	Addr   string `yaml:"addr,omitempty" json:"addr,omitempty"`
}

// Recipient is one RCPT command.
type Recipient struct {
	// To is the forward-path as given, without angle brackets; Args are as in Mail.
	To   string   `yaml:"to" json:"to"`
	Args []string `yaml:"args,omitempty" json:"args,omitempty"`
	// Mailer, Host and Addr are ${rcpt_mailer}, ${rcpt_host} and ${rcpt_addr}:
	// where the MTA will send this recipient's mail.
	Mailer string `yaml:"mailer,omitempty" json:"mailer,omitempty"`
	Host   string `yaml:"host,omitempty" json:"host,omitempty"`
	Addr   string `yaml:"addr,omitempty" json:"addr,omitempty"`
	// Domain is the one that the MTA's own rules judge (sendmail's ParseRecipient), after
	// aliases in the DNS and in its tables; "." if there is none, empty if it is not known.
	Domain string `yaml:"domain,omitempty" json:"domain,omitempty"`
}

// HeaderField is one header field of a message, in message order.
type HeaderField = header.Field
