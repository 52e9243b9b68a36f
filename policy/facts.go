package policy

import (
	"net/netip"

	"milterd/header"
	"milterd/policy/access"
)

// Resolve is what the MTA's own reverse look-up of the client found, as
// sendmail reports it in ${client_resolve}.
type Resolve string

// The four values of ${client_resolve}.
const (
	// ResolveOK: the PTR name resolves back to the client's address.
	ResolveOK Resolve = "OK"
	// ResolveFail: the address has no PTR record.
	ResolveFail Resolve = "FAIL"
	// ResolveForged: the PTR name does not resolve back to the address.
	ResolveForged Resolve = "FORGED"
	// ResolveTemp: the PTR look-up had no answer (SERVFAIL, time-out).
	ResolveTemp Resolve = "TEMP"
)

// Connection is what is known about a client once it has connected.
type Connection struct {
	// Addr is the client's address, unmapped; invalid for a local submission
	// that has no network address (sendmail -bs, a unix socket).
	Addr netip.Addr
	// Port is the client's TCP port, 0 if it is not known.
	Port uint16
	// Name is ${client_name}: the confirmed host name, or the bracketed
	// address if Resolve is not OK.
	Name string
	// PTR is ${client_ptr}: the name the PTR record gives, confirmed or not.
	PTR string
	// Resolve is ${client_resolve}; empty if the MTA did not say.
	Resolve Resolve
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
func (c Connection) ClientAddr() string {
	return access.FormatAddr(c.Addr)
}

// TLS is the state of the connection's encryption; the zero value means none.
type TLS struct {
	// Version is ${tls_version}, empty without TLS.
	Version string
	// Cipher and Bits are ${cipher} and ${cipher_bits}.
	Cipher string
	Bits   int
	// Verify is ${verify}: OK or TRUSTED for a verified client certificate.
	Verify string
	// CertSubject and CertIssuer are ${cert_subject} and ${cert_issuer}.
	CertSubject string
	CertIssuer  string
}

// Auth is the SMTP AUTH state; the zero value means not authenticated.
type Auth struct {
	// Type is ${auth_type}, the SASL mechanism.
	Type string
	// Authen is ${auth_authen}, the authenticated identity.
	Authen string
	// Author is ${auth_author}, the AUTH= parameter of MAIL.
	Author string
	// SSF is ${auth_ssf}, the strength of the SASL layer in bits.
	SSF int
}

// String says who has authenticated, and how. Not every source of facts knows who.
func (a Auth) String() string {
	if a.Authen == "" {
		return "authenticated with " + Printable(a.Type)
	}
	return "authenticated as " + Printable(a.Authen) + " with " + Printable(a.Type)
}

// Mail is one MAIL command.
type Mail struct {
	// From is the reverse-path as given, without angle brackets; empty for <>.
	From string
	// Args are the ESMTP parameters, e.g. SIZE=1000.
	Args []string
	// Mailer, Host and Addr are ${mail_mailer}, ${mail_host}, ${mail_addr}.
	Mailer, Host, Addr string
}

// Recipient is one RCPT command.
type Recipient struct {
	// To is the forward-path as given, without angle brackets.
	To string
	// Args are the ESMTP parameters.
	Args []string
	// Mailer, Host and Addr are ${rcpt_mailer}, ${rcpt_host} and ${rcpt_addr}:
	// where the MTA will send this recipient's mail.
	Mailer, Host, Addr string
}

// HeaderField is one header field of a message, in message order.
type HeaderField = header.Field
