package access

// Features are sendmail's FEATUREs that change how the table is read, or what
// is looked up in it. The names are those of sendmail.mc.
type Features struct {
	// Skip is FEATURE(access_db, …, skip): the value SKIP ends a search.
	Skip bool
	// BlocklistRecipients looks up recipients under To: and untagged.
	BlocklistRecipients bool
	// DelayChecks gives the verdicts on client and sender at RCPT.
	DelayChecks bool
	// Friend is FEATURE(delay_checks, friend): recipients with Spam: FRIEND
	// are spared the checks on sender and client.
	Friend bool
	// Hater is FEATURE(delay_checks, hater): only recipients with Spam:
	// HATER have them.
	Hater bool
	// LookupDotDomain also looks up .example.com for host.example.com.
	LookupDotDomain bool
	// RelayHostsOnly takes names in class R and the table for hosts, not
	// domains.
	RelayHostsOnly bool
	// RelayEntireDomain relays for every host of our own domain (class m).
	RelayEntireDomain bool
	// RelayMailFrom relays for senders with From: RELAY. It trusts what the
	// client says.
	RelayMailFrom bool
	// RelayMailFromDomain also looks the sender's domain up
	// (relay_mail_from with the argument domain).
	RelayMailFromDomain bool
	// RelayLocalFrom relays for senders in a local domain. It trusts what the
	// client says.
	RelayLocalFrom bool
	// RelayToFullAddress looks up To:user@domain as well when it decides
	// about relaying.
	RelayToFullAddress bool
	// UseClientPTR looks up the client's PTR name, confirmed or not.
	UseClientPTR bool
	// CompressedIPv6 is no FEATURE but the option UseCompressedIPv6Addresses:
	// sendmail writes addresses with "::" (IPv6:2001:db8::8), so the keys of
	// the table have to be written so, too. Without it all eight groups are
	// written (IPv6:2001:db8:0:0:0:0:0:8).
	CompressedIPv6 bool
}
