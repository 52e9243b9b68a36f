package policy

import "milterd/policy/access"

// Policy is one complete, validated and immutable set of rules. A connection
// keeps the Policy that was current when it began.
type Policy struct {
	// Access is the access table; nil stands for an empty one.
	Access *access.Table
	// Features are the FEATUREs that change how the table is used.
	Features access.Features
	// Hostname is sendmail's $j: the name that qualifies addresses without
	// a domain. May be empty.
	Hostname string
	// Domain is sendmail's $m, the name of our own domain; may be empty.
	Domain string
	// OwnDomains is class m, which only FEATURE(relay_entire_domain) uses: Domain
	// and others whose hosts are relayed for.
	OwnDomains Class
	// Local is class w: the domains whose mail is delivered here.
	Local Class
	// Relay is class R: the domains and networks that may be relayed to and
	// from.
	Relay Class
	// Realms are further realms of logins that tell people apart, see LoginName.
	Realms Class
	// Shadow puts every check into shadow mode.
	Shadow bool
	// Checks configures each check.
	Checks Checks
	// Limits bound how much mail is taken.
	Limits Limits
	// Ports holds overrides, by daemon name or decimal port number. A value for
	// the name wins; values that it leaves empty are those for the number.
	Ports map[string]Port
	// Received says whose mail loses the traces of its client.
	Received Scrub
	// GrantsRelayOnly: a relay grant lets a client relay, and lifts no refusal of the client.
	GrantsRelayOnly bool
}

// Mode says how a check's verdict is used.
type Mode string

// The modes of a check.
const (
	ModeEnforce Mode = "enforce" // acted on
	ModeShadow  Mode = "shadow"  // evaluated, logged and counted, never acted on
	ModeOff     Mode = "off"     // not evaluated
)

// Reaction is what to do on one result of a check.
type Reaction struct {
	// Action is accept, reject (with Reply, 4xx or 5xx), discard or
	// quarantine (with Reply.Text as the reason).
	Action Action
	Reply  Reply
}

// Checks configures the checks, in the order they run.
type Checks struct {
	Port      PortCheck
	Recipient TableCheck
	Relay     RelayCheck
	// SenderLogin and OwnSender are about the right to a sender address.
	SenderLogin SenderLoginCheck
	OwnSender   OwnSenderCheck
	Sender      TableCheck
	// SenderDomain comes after Sender, if the table has no entry for it.
	SenderDomain SenderDomainCheck
	Client       TableCheck
	RDNS         RDNSCheck
	DNSBL        DNSBLCheck
}

// PortCheck enforces the auth and tls rules of Port.
type PortCheck struct {
	Mode Mode
	// AuthRequired answers MAIL without AUTH if auth is required.
	AuthRequired Reply
	// AuthRefused answers MAIL after AUTH if auth is refused.
	AuthRefused Reply
	// TLSRequired answers MAIL without TLS if tls is required.
	TLSRequired Reply
}

// TableCheck is a check that takes its verdict from the access table.
type TableCheck struct {
	Mode Mode
	// Reject is the reply for the value REJECT.
	Reject Reply
}

// RelayCheck decides who may send to recipients that are not ours.
type RelayCheck struct {
	Mode Mode
	// Deny refuses a client that nothing entitles; DenyAuth does the same
	// if authentication would have helped.
	Deny, DenyAuth Reply
	// Temp, Fail and Forged refuse a client that nothing entitles and whose
	// name could not be confirmed (sendmail's Relay_ok).
	Temp, Fail, Forged Reply
	// GrantTemp refuses a client that nothing else entitles, while it cannot be asked
	// whether the client holds a relay grant.
	GrantTemp Reply
	// TrustAuthMech lists the SASL mechanisms whose users may relay.
	TrustAuthMech []string
	// LocalMailers lists the delivery agents ({rcpt_mailer}) that deliver on this host.
	// What goes to another one is local if its domain is in class w.
	LocalMailers []string
}

// SenderDomainCheck acts on what the DNS says about the sender's domain.
type SenderDomainCheck struct {
	Mode Mode
	// Missing, NullMX, Temporary and BadMX say what to do on each result.
	Missing, NullMX, Temporary, BadMX Reaction
}

// RDNSSource says whose reverse look-up the rdns check acts on.
type RDNSSource string

// The sources.
const (
	// RDNSSourceSendmail is ${client_resolve}: sendmail looks at one PTR name.
	RDNSSourceSendmail RDNSSource = "sendmail"
	// RDNSSourceOwn is milterd's own look-up of all names (RFC 8601 iprev).
	RDNSSourceOwn RDNSSource = "own"
)

// RDNSCheck acts on the client's reverse DNS.
type RDNSCheck struct {
	Mode   Mode
	Source RDNSSource
	// Temp, Fail and Forged say what to do on each result.
	Temp, Fail, Forged Reaction
	// Generic says what to do with a client whose confirmed names are all of the
	// kind that providers give to access lines (Source own only).
	Generic Reaction
	Exempt  Exempt
}

// ListClients is a kind of clients, as DNS lists are chosen for it.
type ListClients uint8

// The kinds of clients.
const (
	// ListStrangers have not logged in: lists for everybody, and those for strangers.
	ListStrangers ListClients = iota
	// ListAuthenticated have: lists for everybody, and those for logins.
	ListAuthenticated
	// ListLogins have, and Exempt.Authenticated spares them the lists for everybody.
	ListLogins
)

// ListUse says which clients there are lists for.
type ListUse struct{ All, Strangers, Authenticated bool }

func (u ListUse) any() bool { return u.All || u.Strangers || u.Authenticated }

// of reports whether there is a list to ask about such clients.
func (u ListUse) of(c ListClients) bool {
	switch c {
	case ListStrangers:
		return u.All || u.Strangers
	case ListAuthenticated:
		return u.All || u.Authenticated
	}
	return u.Authenticated
}

// DNSBLCheck acts on what DNS lists say about the client and its names.
type DNSBLCheck struct {
	Mode Mode
	// Addresses and Names: there are lists of that kind to ask, about which clients.
	Addresses, Names ListUse
	// Reply refuses what is listed; Replies holds those of single lists, by the
	// list's name. {listed}, {zone} and {reason} stand for the listing.
	Reply   Reply
	Replies map[string]Reply
	// Temporary answers if a list that must be waited for has no answer.
	Temporary Reply
	Exempt    Exempt
}

// Exempt switches the exemptions of a DNS-based check.
type Exempt struct {
	// Authenticated exempts clients that used a trusted mechanism.
	Authenticated bool
	// Relay exempts clients entitled to relay by address or name.
	Relay bool
	// ConnectOK exempts clients with a Connect: OK entry.
	ConnectOK bool
	// Friend exempts recipients marked FRIEND.
	Friend bool
	// Postmaster exempts mail to postmaster and abuse at our own domains
	// (RFC 5321 section 4.5.1).
	Postmaster bool
}

// AuthRule says whether a port takes, needs or refuses SMTP AUTH.
type AuthRule string

// The rules for SMTP AUTH on a port.
const (
	AuthAllow   AuthRule = "allow"
	AuthRequire AuthRule = "require"
	AuthRefuse  AuthRule = "refuse"
)

// TLSRule says whether a port needs TLS.
type TLSRule string

// The rules for TLS on a port.
const (
	TLSAllow   TLSRule = "allow"
	TLSRequire TLSRule = "require"
)

// RelayRule says which clients may relay on a port.
type RelayRule string

// The rules for relaying on a port.
const (
	// RelayEntitled: trusted AUTH, listed networks and names, relay features.
	RelayEntitled RelayRule = "entitled"
	// RelayAuthenticated: trusted AUTH only.
	RelayAuthenticated RelayRule = "authenticated"
	// RelayNone: no client; only mail for our own and relay domains is taken.
	RelayNone RelayRule = "none"
)

// Port holds one listener's rules.
type Port struct {
	Auth  AuthRule
	TLS   TLSRule
	Relay RelayRule
	// Received overrides whose header is scrubbed.
	Received ReceivedRule
	// Checks overrides the mode of checks on this port, by name.
	Checks map[string]Mode
}
