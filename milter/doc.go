// Package milter is the filter door: it speaks the milter protocol with
// sendmail (INPUT_MAIL_FILTER), turns what the MTA reports into facts, asks
// package policy for a verdict and answers with it.
//
// The protocol, as sendmail's milter.c and libmilter use it: the MTA opens one
// connection to the filter for every SMTP connection and sends frames, each a
// 4-byte big-endian length, a command byte and data. It begins with OPTNEG, in
// which the MTA says what it can do and the filter picks from that. One frame
// a step of the SMTP dialogue follows (CONNECT, HELO, MAIL, RCPT, ..., end of
// message), each after a MACRO frame with the sendmail macros that belong to
// it, and the filter answers CONTINUE, a reply code, DISCARD and so on. ABORT
// ends a message early, QUIT ends the connection, and QUIT_NC begins another
// SMTP connection on the same filter connection.
//
// The way of a frame through this package:
//
//   - accept.go limits the connections. guard.go takes frames off the socket,
//     whole and bounded, and frame.go checks their structure. Only then does the
//     go-milter library see them, whose parser ends the process on a malformed
//     frame. kept.go keeps those that it need not see, macros and most header
//     fields, for the session.
//   - negotiate.go answers OPTNEG: it asks the MTA for the macros and steps that
//     the policy needs, and waives the others.
//   - session.go has one method for each callback, in the order of the
//     dialogue. It collects facts (facts.go) and asks for verdicts.
//   - reply.go turns a verdict into the answer.
//   - server.go starts and stops it all; stats.go counts.
//
// log.go writes the line of a message, lingering.go finds refused recipients
// that the MTA does not let go of. Package milter/service opens the sockets.
//
// When milterd is not there, sendmail does what the F= equate of its
// INPUT_MAIL_FILTER line says. With F=T it answers 451 and the client comes
// back later. Without F= it takes mail unfiltered: always set F=T.
package milter
