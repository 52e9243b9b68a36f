// Package traffic reads the traffic logs of sendmail (sendmail -X FILE) as recorded
// sessions, so that what a server was asked yesterday can be asked of tomorrow's
// policy.
//
// # The log
//
// sendmail appends a line for every line it reads or writes, with the number of the
// process that does it:
//
//	04711 >>> 220 mx.example.test ESMTP Sendmail ...
//	04711 <<< EHLO laptop.lan
//	04711 >>> 250-mx.example.test Hello [203.0.113.8], pleased to meet you
//	04711 >>> 250 HELP
//	04711 <<< MAIL FROM:<a@good.example>
//	04711 >>> 250 2.1.0 <a@good.example>... Sender ok
//
// The lines of many processes stand between each other. One process serves one
// connection, and its number is given out again later: a greeting begins the next
// connection. A command is noted when sendmail takes it up, not when it comes, so
// that each stands before its reply even if the client sends many at once. What is
// said after STARTTLS is there in the clear, and so is what is said for AUTH.
//
// Deliveries are in the log as well, in other processes or, with DeliveryMode
// interactive, in the same. They begin with "===" and go the other way round: ">>>"
// is what sendmail asks and "<<<" what it is told.
//
// # What is taken from it
//
//   - The client: from sendmail's answer to EHLO or HELO, and from the greeting where
//     that has it (Debian's does). "mx.good.example [203.0.113.8]" is a confirmed name
//     (resolve OK), "mx.good.example [203.0.113.8] (may be forged)" a PTR record that
//     does not lead back (FORGED). "[203.0.113.8]" is FAIL or TEMP, and only Debian's
//     greeting says which. What the client says of itself is not looked at for this,
//     nor is what an ident server says.
//   - The HELO name, that TLS was begun, and the mechanism of AUTH. A connection in
//     which these change between two messages becomes several sessions. TLS stands as
//     version "TLS": its real version and the certificate are not in the log.
//   - MAIL and RCPT with their parameters, unless sendmail could not read them.
//   - The header of a message, as the client sent it.
//
// The id of a session is line-N-pid-P: the connection's first line and its process;
// for a later session of the same connection, the line of its first MAIL.
//
// # What a session expects
//
// A command that was accepted expects acceptance, one that was refused expects that
// reply, without the "<address>... " that sendmail puts into it. So -check shows where
// milterd would have said something else. Replies that sendmail gives by itself
// (User unknown, Insufficient disk space, syntax, 451 4.3.0 while a filter is away) are
// no matter of policy and expect nothing; nor does a command whose reply is not there.
// Which filter or rule gave a reply is not in the log, so the refusals of other filters
// are shown as different.
//
// # What is missing
//
// Notes of a session say what the log does not tell and what its verdicts therefore
// cannot: the listener, delivery agents, relay grants, DNS answers, who was
// authenticated. Nothing is guessed. A connection with messages whose client the log
// does not tell, as its beginning is in another file, cannot be decided; how many there
// are is an error.
//
// # What is not kept
//
// What a client sends for AUTH holds passwords. It is never stored, printed or quoted in
// an error. Bodies of messages are passed over.
//
// # Bounds
//
// A log is read once, from the beginning to the end, in constant memory: a line, a
// message and a connection have a largest size, and so has what is kept of all open
// connections. If there are too many, the one that has been silent for longest is
// taken to have ended.
//
// A log is no proof. Lines longer than sendmail's buffer are written in pieces, between
// which lines of other processes may come, so who sends messages can, with luck, make
// up lines. It is good for a dry run, and nothing in it can grant anything.
package traffic
