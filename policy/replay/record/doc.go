// Package record writes live SMTP connections down as sessions that package replay
// reads, so that yesterday's traffic can be judged by tomorrow's policy.
//
// # What is recorded
//
// One object a line (.jsonl) is one SMTP connection: what was known about the
// client, what it said, the DNS answers and the relay grant that its verdicts rest
// on, and those verdicts as expect. A connection without a MAIL command asks the
// policy nothing and leaves nothing behind. The schema has one HELO name, one
// state of TLS and of AUTH, and one relay grant a session. A connection in which one
// of them changes becomes several objects: the further ones have the number of
// their first message behind the id, as in ID-0017, and the number of its first
// recipient too where the change comes in the middle of a message (ID-0017-0003).
// A message that the client gave up ends its object as well: what its end would have
// been told is not known, and the next one must not be compared with that.
//
// sendmail asks the map door about a recipient before the filter door hears of it, and
// the filter door never does if it is refused. Such recipients are in the message all the
// same, in their place: the question has the message's queue id. One that the policy takes
// and sendmail's own rules refuse is there, too, and then the message's end is not
// expected. A question about a message that the filter door has not begun is an object of
// its own, with the same queue id in its name for each recipient of a message: so an MTA
// without a filter is recorded, too. What sendmail's rules refuse before they ask leaves
// nothing behind: by check_relay and check_mail without FEATURE(delay_checks), or as the
// question is too long.
//
// Replayed with the same configuration, an object gives the same verdicts. What
// could not is left out, and counted: a message with text that is not UTF-8, which
// JSON does not hold, and all of one connection beyond maxMessages messages, or
// beyond maxOctets of what is written of it, so that others have room
// in files that together hold a few times that. Of a message with a great many
// recipients the first maxRecipients are kept, and its end is not expected. A message
// that was given up shows its end in a replay, as a client that goes on would get it,
// but nothing is expected of that.
//
// # What it costs
//
// A connection notes references to what the policy was told, and lists its DNS
// answers at its end; everything else happens in one goroutine of the Recorder's. Mail never waits for it: sessions
// queue up to a bound, and are dropped and counted beyond. While the directory
// cannot be written to, sessions are lost and counted, one line in the log says so,
// and writing is tried again, ever less often, up to once a minute.
//
// # Files
//
// The directory is the administrator's; it must not be writable for everyone. The
// current file is milterd-TIME.jsonl, of mode 0600, and holds whole lines only,
// unless the machine stops in the middle of a write. Finished files are compressed
// in the background, under another name until they are complete, and the oldest are
// removed; files of other users are left alone, and do not count. Files that a crash left behind are treated in the same way, without the
// part of a line at their end; a lock tells them from those that another milterd is
// writing.
//
// # What is private
//
// With redaction the local part of every address, the identities of SMTP AUTH, the
// values of ENVID and the like, and the subject of a client certificate are replaced
// by tokens made with a keyed hash (HMAC-SHA256): the same text has the same token
// wherever it stands, so sessions can still be counted by sender; case does not
// count. The null sender, postmaster and abuse stay. Domains stay, also those in
// user%host@domain, host!user and @route:user@domain: relaying is decided on them.
// What does not look like a domain behind an @ is hidden as well, and the message left
// out where it could matter. An identity of AUTH keeps its domain only as user@domain,
// and not with the mechanism EXTERNAL.
// The addresses, names and HELO names of clients stay, but for the local part of a HELO
// name that is an address, and so do issuers of verified certificates. Of a verdict whose reply or reason stands in the access table only the
// action is kept. Header fields are not stored then. Rules about single people
// (From:user@domain, CertSubject:, the file of checks.sender_login) find nothing in a
// redacted recording, and what they decided shows as a difference.
//
// Without redaction a recording holds what the envelopes hold. Header fields are
// stored where they are asked for by name; message bodies and passwords never come
// here.
package record
