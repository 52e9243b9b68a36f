// Package sendmail reads what milterd needs to know from a sendmail.cf, so that
// an administrator with a working sendmail need not say it again.
//
// A sendmail.cf is a list of commands, one a line, told apart by their first
// character; a line that begins with white space continues the one before. Of
// these count here:
//
//	C w name ...       adds names to a class; C{TrustAuthMech} likewise
//	C R $={VirtHost}   adds what another class has so far, its files included
//	F w [-o] /file %s  adds the names in a file, -o: if there is one; the format, one
//	                   of scanf, says what counts of each line
//	D j name           defines a macro
//	K access hash ...  defines the map that FEATURE(access_db) looks up
//	K name socket ...  defines a map that a server such as milterd answers
//	S name             begins a ruleset
//	R lhs rhs          is one of its rules
//
// Class w holds our own names, class R what we relay for, and class m what
// FEATURE(relay_entire_domain) does: $m and the names that the file adds. The
// FEATUREs of the sendmail.mc leave no name behind in the sendmail.cf but only
// rules, each its own, and are told by these. So are rules of one's own that relay.
//
// Reading is tolerant: whatever else stands in the file is sendmail's business,
// and what cannot be followed (a program or a map as the source of a class) is
// a [Problem] to be shown, not an error.
package sendmail

import _ "embed"

// Include is milterd.m4, which connects a stock sendmail with milterd's two doors.
//
//go:embed milterd.m4
var Include string
