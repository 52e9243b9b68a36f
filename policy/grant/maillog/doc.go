// Package maillog learns who has read mail from the log of a POP or IMAP server,
// and asks for a relay grant for the address it was read from.
//
// # Formats
//
// A Format reads the lines of one server that announce a login: Named has those of
// Dovecot (logins that it hands on as a proxy as well), Qpopper, UW, Courier and Cyrus,
// Pattern makes one from a regular expression. Lines are taken as syslog daemons write
// them: RFC 3164 and RFC 5424, ISO times, the facilities of FreeBSD, AIX and busybox, the
// ID of Solaris, and what journalctl prints,
//
//	Nov 22 10:00:00 mx dovecot: imap-login: Login: user=<shin>, method=PLAIN, rip=203.0.113.8, …
//	2026-11-22T10:00:00.123456+01:00 mx imaps[123]: login: client.example.com [203.0.113.8] shin …
//	<22>1 2026-11-22T10:00:00Z mx pop3d - - - LOGIN, user=shin, ip=[::ffff:203.0.113.8]
//
// as multilog and svlogd write those of one server (TAI64N), and as Dovecot and Qpopper
// write them into a file of their own.
//
// # Old lines
//
// A line that is older than a grant lasts grants nothing: logs are edited, moved back and
// sent late. Its own time says how old it is. A year that it leaves out is such that the
// time is near to now; a time without a zone is local to milterd (TZ), so hosts in other
// zones should log with one. Only lines of a Pattern may be without a time that is known,
// and then they count when they are read.
//
// # Forged lines
//
// A client that can make a line look like a login can relay, so a line counts only if
// every part of it is at its place, from the time to the end:
//
//   - The syslog tag must be the server's. A line of another program counts for
//     nothing, whatever a client made that program log.
//   - A name that a client gave, and a host name from the client's own reverse DNS,
//     can hold anything that a line can. What follows them, up to the end of the line, is
//     matched strictly, so that the address is the one that the server wrote. A name
//     that holds what could be the end of a name gets no grant: in a line that was cut
//     short it might be the end.
//   - Only what a server logs after a login succeeded counts, and of a proxied login only
//     what it logs when the other server has taken it. No anonymous login does:
//     neither the mechanism nor the name ANONYMOUS, nor the user nobody, whom UW and Cyrus make
//     of such a client; nor a login without a name from a server that always has one.
//   - A line that was cut in two has a second half that begins wherever the client
//     wanted it to; see Parser.
//   - Control characters count for nothing.
//
// Beyond that the file is trusted. A program that may write to it, or send to a syslog
// daemon that takes messages from the network, can forge any line; so can local users
// with logger(1). Let the server log to a file of its own if that is a
// concern, or use package dovecot.
package maillog
