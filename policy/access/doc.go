// Package access is sendmail's access table: the text file that says who may
// connect, send and relay, read as it stands, without makemap.
//
// # The file
//
// One entry a line, as makemap reads it: a key, white space, a value.
//
//	Connect:203.0.113        REJECT
//	From:spammer@example.com ERROR:5.7.1:550 We do not want your mail
//	To:relayed.example       RELAY
//
// A line that begins with # and an empty line are ignored; a # later in a line
// belongs to the value. Keys are folded to lower case (A to Z only). White
// space inside a value is kept as written. If a key stands twice, the first
// line counts and the second is reported with both line numbers.
//
// A line that makemap leaves out is left out here, too, and reported: one that
// begins with white space, has no value or is longer than 1022 octets. So is an
// entry that no look-up of sendmail could match and whose meaning is not plain: a
// network with bits behind its prefix length (203.0.113.5/24) or with a dotted
// netmask, and the first line of a file that begins with a byte order mark. A text
// with a NUL octet is none, and not read at all. Entries that are valid, but can
// never match or say something else than they seem to, are pointed out.
//
// # Keys
//
// A key is TAG:REST or REST alone. Connect: entries are about the client, From:
// about the sender, To: about the recipient, Spam: about recipients who want
// fewer checks (FRIEND) or more (HATER). Untagged keys serve for Connect, From
// and To alike, after the tagged one. Other tags that sendmail knows
// (GreetPause:, ClientRate:, TLS_Clt:, …) are kept for it and not looked at here.
//
// What stands for REST:
//
//	example.com           the domain and everything below it
//	.example.com          with lookupdotdomain: below it, not the domain itself
//	203.0.113.8           an IPv4 address
//	203.0.113             a network, at a dot: 203.0.113.0/24
//	IPv6:2001:db8:0:0     a network, at a colon, in sendmail's full form: no ::
//	                      (with UseCompressedIPv6Addresses in sendmail.cf: with ::)
//	[203.0.113.8]         an address literal (user@[203.0.113.8]), or the
//	                      name of a client whose name could not be confirmed
//	user@example.com      one address, and with any +detail
//	user+*@example.com    that user with some +detail
//	user@                 that user at any domain (recipients: at local ones)
//	203.0.113.0/26        beyond sendmail: a network by prefix length
//	IPv6:2001:db8::/32    likewise; an optional IPv6: and :: are understood
//
// # The look-ups
//
// The rulesets of sendmail's proto.m4, by their names there. Each tries the
// tagged key and then, unless the mark is !, the untagged one, before it goes on
// to the next form of the key; the first hit ends it.
//
//	D, LookUpDomain   mail.example.com, [.example.com with lookupdotdomain,]
//	                  example.com, …, com; [203.0.113.8] loses its last part
//	                  inside the brackets
//	A, LookUpAddress  203.0.113.8, 203.0.113, 203.0, 203; IPv6 at colons, down
//	                  to IPv6
//	F, LookUpFull     user+detail@domain, user+*@domain, user@domain
//	E, LookUpExact    the key alone
//	U, LookUpUser     user+detail@, user+*@, user@
//	SearchList        several of these in turn, for one tag
//
// With FEATURE skip, the value SKIP ends a D or A look-up as if nothing had been
// found. Prefix-length keys belong to A and come last: only an address that none
// of sendmail's own keys matched is looked up in them, the most specific network
// first, at equal length the tagged one. So a table that works in sendmail means
// the same here.
//
// # Values
//
//	OK               accept; ends the search, later checks of the same kind are skipped
//	RELAY            accept, and the client or recipient may be relayed
//	REJECT           refuse with the check's configured reply
//	DISCARD          take the message and drop it
//	QUARANTINE:text  take the message and hold it in the quarantine queue
//	SKIP             with FEATURE skip: end the search, nothing found
//	FRIEND, HATER    for Spam: keys
//	ERROR:D.S.N:text refuse: text begins with the reply code, D.S.N is the
//	                 enhanced code
//	ERROR:text       refuse: text begins with the reply code and may go on with
//	                 an enhanced code
//	text             the same as ERROR:text
//
// Keywords are recognised in any case. Any white space ends a reply code. A text
// without a code at its beginning is sent as "553 5.3.0 text", and one without an
// enhanced code gets 5.0.0 or 4.0.0, as from sendmail.
//
// # Deliberate differences from sendmail
//
//   - Reply texts keep their spacing, parentheses and punctuation; sendmail breaks
//     them into tokens, so that "a: b (c)" would reach the client as "a:b".
//     Double quotes are removed, as there.
//   - A text whose reply code is not 4xx or 5xx refuses as one without a code does,
//     and an enhanced code takes the class of the reply code.
//   - To: QUARANTINE does not open the relay: the recipient must still be one that
//     the client may send to. sendmail asks no further.
//   - An address such as user%[IPv6:2001:db8::5]%host@us, whose literal would be
//     taken for a group's name once the hosts are off, is never relayed.
//   - Host names are compared as the MTA gives them; sendmail may ask the DNS
//     for their canonical form first (unless FEATURE nocanonify).
package access
