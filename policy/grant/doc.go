// Package grant keeps relay grants: for a while after a user has read mail over
// POP or IMAP, the address the login came from may relay (POP-before-SMTP).
//
// # What a grant is
//
// A grant belongs to one address, for one user, until a time. A login from an
// address without one makes it; each further login renews it, so that a mail
// program which looks for mail every ten minutes keeps a grant of thirty
// minutes for as long as it runs. It proves nothing about a client: the address
// has the grant, whatever uses it. That is why SMTP AUTH is better, and why the
// rules here are narrow.
//
// # Which addresses
//
// One exact address, never a network, for IPv6 as well. A /64 may be all
// of an office, a hotel or a campus, where a login of one guest must not open the
// relay to the others. A host that takes a new temporary address (RFC 8981)
// reads mail from that one too, and so gets its next grant by itself.
//
// Addresses that stand for many clients get none: loopback (a web mail program
// logs in from there for everyone), private networks, link-local addresses, the
// shared space of carriers' NATs (RFC 6598) and this machine's own addresses. So do IPv6
// addresses that hold one of these: of NAT64, 6to4, IPv4-compatible and IPv4-translated.
// Config.Exclude names the networks, Config.Require narrows them down to a list,
// and both hold again when a grant is looked up.
//
// # How many
//
// One user may hold grants for MaxPerUser addresses. One more takes the place of
// the one whose last login is the longest ago: a traveller is never locked out by
// the hotels behind him, and a stolen password opens the relay to a bounded number
// of addresses at a time. The users are compared exactly as the source names
// them; a source that does not know users (DRAC) leaves the name empty, and this
// limit does not apply. A store that is full takes renewals and refuses new
// grants.
//
// An address has one grant. When another user logs in there, it becomes that user's;
// a login without a user name renews the grant of the one who has it.
//
// # The parts
//
// A Keeper applies these rules, logs and counts. It has a Store: Memory or File, or a
// server that several machines share (policy/grant/redis). Sources tell it of logins with Keeper.Login; those who
// decide about mail ask Keeper.Grant.
package grant
