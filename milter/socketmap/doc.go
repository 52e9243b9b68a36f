// Package socketmap is the map door: it answers the look-ups that sendmail's own
// rulesets make, in the socket map protocol, and so takes part in decisions that a
// filter never sees. A K line of sendmail.cf makes a map of it:
//
//	Kaccess socket -T<TMPF> local:/run/milterd/map.sock
//
// # The protocol
//
// As sendmail's map.c speaks it: the client sends one netstring, LEN:NAME KEY, with
// the map's name (that of the K line), one space and the key, and waits for one
// netstring of a status, one space and a value or a reason:
//
//	28:access connect:198.51.100.77,       8:OK RELAY,
//	24:access from:good.example,           9:NOTFOUND ,
//	26:access connect:203.0.113.5,         29:TEMP the policy is not loaded,
//
// LEN counts octets, in decimal. The space after the status must be there even
// if nothing follows: sendmail takes the text behind it without looking. This
// server answers what is pipelined in order, as Postfix and others may ask.
//
// What sendmail 8.17 sends: the key in lower case and cut at 256 octets, unless the
// K line has -f; then as it is, up to 1023. What it understands:
//
//   - OK: found. In the value, %0 to %9 stand for the key and the arguments of the
//     look-up, %% for a percent sign, as in every map. It is broken into tokens, for
//     which there is room for some 1250 octets.
//   - NOTFOUND.
//   - TEMP, and TIMEOUT likewise: the ruleset gets KEY<TMPF> if the K line says
//     -T<TMPF>, and answers 451.
//   - PERM, and every other word, count as not found: a server that cannot answer
//     and says so in this way lets every client in. It is not used here, not even for
//     a map that does not exist.
//
// # The question at RCPT
//
// The rules of milterd.m4 ask one map, milterd, about each recipient, with all that
// sendmail knows in one key; its K line needs -q, so that quotes stay where they are,
// and -f. The fields are separated by $|, which arrives as the octet \x9b and which no
// client can send:
//
//	3  the version of the question     11 ${rcpt_host}: only if ${rcpt_mailer} is error
//	   i, the queue id                    ${client_name}
//	   ${client_addr}                     ${client_ptr}
//	   ${client_resolve}                  ${cert_issuer}, ${cert_subject}: only
//	   ${daemon_port}                     if ${verify} is OK or TRUSTED
//	   ${daemon_name}                     s, the HELO name
//	   ${auth_type}                       f, the sender
//	   ${auth_authen}                     the recipient
//	   ${tls_version}                     the domain that check_rcpt judges
//	   ${verify}                          END
//	   ${rcpt_mailer}
//
// The domain is that of sendmail's ParseRecipient: what an alias in the DNS stands for, as the
// mail goes there; "." if there is none. If the recipient has no operator but its last @, it
// is written with that domain, and the field is empty. Else it is as the client wrote it.
//
// A key without its END was cut off. One that has more or fewer fields, or a field that
// is not what it should be, is not read either: the answer is TEMP. sendmail asks
// nothing at all if the key has more than about 1,000 parts, or a part of more than 255
// octets: the rule fails, and the ruleset ends with what it had before. The rules of
// milterd.m4 take everything that is no answer for 451. So the K line has no -T: the key
// that it would bring back can be one that sendmail refuses for good (553, prescan: token
// too long), and shows to the client.
//
// The value of an answer is SHOW or HIDE, for the Received: field that this sendmail
// adds, and one of:
//
//	RELAY                     relay it: that much of check_rcpt is over
//	TRUSTED                   take it; sendmail's own check_rcpt is over
//	NONE                      no objection: sendmail's own rules go on
//	REFUSE 5.7.1 "550 text"   refuse it, with 4xx for now
//	DISCARD                   take the message and throw it away
//	QUARANTINE "text"         take it and hold it
//
// RELAY is given for a recipient that is relayed: for everybody (class R, To: RELAY) or
// for this client. As with these in sendmail's own rules, what FEATURE(delay_checks) has put
// off goes on then: check_mail, check_relay and block_bad_helo. TRUSTED spares a client that,
// as with a login or a certificate there ($#RELAY); a relay grant counts as much. Version 1
// of the question has the one word RELAY, which ends check_rcpt; neither it nor version 2 has
// the domain. NONE is given for recipients of this host, which sendmail takes by itself, and
// for what is only refused in shadow mode: then sendmail's own rules decide. A text is one or
// more quoted tokens, which sendmail puts together.
//
// # The keys of the table
//
// Where sendmail's rules ask for the access table key by key, those of milterd.m4 put more
// between the tag and the rest than a colon, with the separator of the question:
//
//	TAG  OPTIONS  i  ${client_addr}  KEY
//
// So a refusal by an entry is logged with its queue id and client, and no sender or
// recipient can be written so that it reads as a tag. OPTIONS is skip if FEATURE(access_db)
// has this argument, and not lookupdotdomain. Then a search for the client under Connect:,
// GreetPause:, Srv_Features:, TLS_Clt:, ClientRate: or ClientConn: ends at its first key,
// that is its name (LookUpDomain) or its address (LookUpAddress): the answer is what
// sendmail's own search would find at last, or SKIP, by which it finds nothing. This halves
// what a session asks. A key without these fields is answered by itself, as every other
// sendmail.cf has it; one that was cut off is answered TEMP.
//
// # Connections
//
// A sendmail process opens one connection for all maps of the same address, at its
// first look-up, and keeps it until it ends or forks; there is one process for each
// SMTP client. So:
//
//   - A connection that is closed while the process lives costs it its next
//     look-up, which fails for now (451); the one after that connects again. For
//     this reason the idle time-out is above the two hours that sendmail lets
//     an SMTP client be silent. After a restart of milterd, each SMTP session in
//     progress gets one such 451.
//   - If the connection cannot be made, all look-ups of that process fail for
//     now until it ends: the SMTP session gets 451, later ones are not
//     concerned.
//   - sendmail waits 30 s for an answer, or as long as -d of the K line says.
//   - sendmail refuses a socket in a directory that others may write to.
package socketmap
