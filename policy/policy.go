package policy

import "milterd/policy/access"

// Policy is one complete, validated and immutable set of rules. A connection
// keeps the Policy that was current when it began.
type Policy struct {
	// Access is the access table, nil for an empty one, and Features are the FEATUREs that
	// change its use.
	Access   *access.Table
	Features access.Features
	// Hostname is sendmail's $j, the name that qualifies addresses without a domain, and
	// Domain is $m, the name of our own domain. Both may be empty.
	Hostname, Domain string
	// OwnDomains is class m, which only FEATURE(relay_entire_domain) uses: Domain
	// and others whose hosts are relayed for.
	OwnDomains Class
	Local      Class   // class w: the domains whose mail is delivered here
	Relay      Class   // class R: the domains and networks that may be relayed to and from
	Realms     Domains // of logins: those that tell people apart, see LoginName
	Shadow     bool    // every check is in shadow mode; a login blocked by hand is put off all the same
	Checks     Checks
	Limits     Limits
	// Ports holds overrides, by daemon name or decimal port number. A value for
	// the name wins; values that it leaves empty are those for the number.
	Ports map[string]Port
	// Received says whose mail loses the traces of its client.
	Received Scrub
	// GrantsRelayOnly: a relay grant lets a client relay, and lifts no refusal of the client.
	GrantsRelayOnly bool
}

// Mode says how a check's verdict is used; empty is ModeEnforce.
type Mode string

const (
	ModeEnforce Mode = "enforce" // acted on
	ModeShadow  Mode = "shadow"  // evaluated, logged and counted, never acted on
	ModeOff     Mode = "off"     // not evaluated
)

// Checks configures the checks, in the order they run. Each has its own in the file of its
// name; what the replies are for is in the reference, configs/milterd.yaml.
type Checks struct {
	Port         PortCheck
	Recipient    TableCheck
	Relay        RelayCheck
	SenderLogin  SenderLoginCheck
	OwnSender    OwnSenderCheck
	Sender       TableCheck
	SenderDomain SenderDomainCheck
	Client       TableCheck
	RDNS         RDNSCheck
	DNSBL        DNSBLCheck
}

// TableCheck is a check that takes its verdict from the access table.
type TableCheck struct {
	Mode   Mode
	Reject Reply // for the value REJECT
}

// Reaction is what to do on one result of a check.
type Reaction struct {
	// Action is accept, reject (with Reply, 4xx or 5xx), discard or
	// quarantine (with Reply.Text as the reason).
	Action Action
	Reply  Reply
}

// Exempt switches the exemptions of a DNS-based check.
type Exempt struct {
	// Authenticated exempts clients that used a trusted mechanism, Relay those entitled to
	// relay by address or name, ConnectOK those with a Connect: OK entry.
	Authenticated, Relay, ConnectOK bool
	// Friend exempts recipients marked FRIEND, Postmaster exempts postmaster and abuse at
	// our own domains (RFC 5321 section 4.5.1).
	Friend, Postmaster bool
}
