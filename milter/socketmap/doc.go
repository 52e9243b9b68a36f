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
