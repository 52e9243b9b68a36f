// Package policy decides: whether a client's mail is taken, refused, dropped or
// held, and why. It is pure. Facts about the SMTP dialogue and answers from the
// DNS come in, a Verdict goes out; nothing here opens, waits, logs or looks at a
// clock, so live traffic, milterd -check and the tests run the same code.
//
// # The checks
//
// A Session takes one connection's commands in order. At MAIL the port check
// runs; at RCPT, in this order, the rest:
//
//	recipient      To: entries of the access table (FEATURE blocklist_recipients)
//	relay          is the recipient ours, or the client entitled to relay?
//	sender_login   is the sender an address of who has logged in?
//	own_sender     does a stranger send in the name of our own domains?
//	friend         FEATURE(delay_checks, friend or hater)
//	sender         From: entries
//	sender_domain  could mail be sent back to the sender's domain?
//	client         Connect: entries, by name, then by address
//	rdns           the client's reverse DNS
//	dnsbl          DNS block and allow lists
//	limits         how much a login, a client or a sender may send
//
// That is the order of sendmail's check_rcpt with FEATURE(delay_checks): a client
// with a trusted mechanism or certificate ends the checks after own_sender, a FRIEND
// after friend, an accepted sender after sender. Without the FEATURE, client,
// rdns, dnsbl, sender and sender_domain are given at MAIL, in the order of
// check_relay and check_mail, but for what spares postmaster and so has to wait
// for RCPT. sender_login and own_sender, which sendmail has not, are always given at
// RCPT. The limits are for everybody. Session.Mail and Session.Rcpt (session.go) are these
// orders; each check is a method in the file of its name, with its configuration: RelayCheck
// and checkRelay in relay.go.
//
// The checks that read the access table follow sendmail's rulesets exactly; the
// comment of package access has the details and the few differences.
//
// # Refusing
//
// Each check is enforced, in shadow mode (evaluated and noted in the verdict,
// never acted on) or off. A refusal names its check and its rule, and every
// verdict has a trace of the checks that ran, the keys they tried and the answers
// they used.
//
// An address that cannot be read is never relayed, and never taken past the
// table: sendmail itself takes some that no standard allows.
package policy
