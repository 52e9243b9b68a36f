// Package header takes the traces of a client out of a message's header: who
// connected, from where, with what software. Plan decides what is to change,
// without I/O; its caller has the message and carries it out.
//
// # Received fields
//
// Each MTA that takes a message puts one on top. RFC 5321 section 4.4 gives it this
// form, of which RFC 5322 section 3.6.7 leaves the words and the date:
//
//	Received: from laptop.lan (host.example [203.0.113.8]) (authenticated bits=0)
//	        by mx.example (8.17.1/8.17.1) via TCP with ESMTPSA id 41A5xYz
//	        for <a@b.example> (version=TLSv1.3 cipher=TLS_AES_256_GCM_SHA384);
//	        Mon, 5 Feb 2024 10:00:00 +0100
//
// A clause is a keyword and its value: from (the name the client gave itself), by
// (the host that writes the field), via (the link), with (the protocol), id and for
// (a recipient). Some MTAs write tls (RFC 8314 section 4.3), over (TLS) and
// envelope-from too. A comment in parentheses may stand anywhere, may be nested, and
// holds what the MTA likes to say.
//
// Many fields have another form: clauses that are missing or come twice, words that
// belong to none, a date without its semicolon, brackets that do not match. So a
// field is not checked against the grammar. It is taken into the parts that are known,
// what becomes of each part is decided by itself, and a new field is written of those
// that stay. All this takes time in proportion to the length of the field.
//
// # Parse: lex.go, received.go, date.go
//
//   - The date is what follows the last semicolon behind which there is one. What
//     stands behind the date, such as Courier's id, counts as if it stood before it.
//     Without a semicolon, a date of RFC 5322 at the end is taken for the date, or one
//     such as 2024-02-05 10:00:00 +0100.
//   - The word after from is its value, also if it is a keyword: a client may call
//     itself anything. Only "from by HOST" with no other by has no value.
//   - Of several by clauses, the last one that names a host counts; of with and via
//     the first that is known; of the others the last.
//   - A ) too many is dropped. A comment that is not closed extends to the end, but
//     if a by clause follows, its ( is dropped. Quotation marks and angle brackets
//     count in pairs only. Control characters are white space.
//   - A word or comment that does not fit a line (900 octets) is dropped.
//
// # Decide: scrub.go, comment.go, words.go, traces.go
//
// The client is known by the words of the from clause and of the comments about it
// (traces). With Rules.Client:
//
//   - from: Rules.From. All words and comments go but those about TLS.
//   - by: the host stays, and its address behind it.
//   - via and with: links and protocols that are known stay, and so does what is said
//     of TLS. Other words stay only if software may be named (no Rules.Version) and if
//     they hold no address, host name or word of the client.
//   - id: stays. What follows its @ goes, unless it is the host in by, or a domain that
//     host is in: it may be the client. If the rest names the client, the id goes.
//   - for: a recipient stays, and so does "multiple recipients".
//   - tls, over: words that are known to be about TLS stay.
//   - envelope-from: stays if it is the sender of this message's envelope, or empty,
//     and does not name the client. Any other may be a user at the client's host.
//   - date: all that can be nothing but a part of a date stays: digits, times, zones
//     and names of days and months; and a short word if such a name is missing.
//   - comments about the client, its login, and about hosts go. Comments about TLS
//     stay if each word in them is known. A comment with a recipient (ORCPT) stays if
//     it does not name the client, and one with the envelope's sender as envelope-from
//     does.
//
// With Rules.Version, the first comment that names software becomes Rules.By and
// others go. Behind by and with, or before all clauses, that is any comment that is
// about none of the other things; elsewhere it has to hold a version. An id of four
// numbers is the version of an Exchange server and goes.
//
// With Rules.With, with and tls clauses and comments about TLS go.
//
// So these stay by rule, whatever they tell: the host in by, an internal one maybe,
// the recipient in for, and the id. A Received field is never removed, as MTAs count
// them to find loops, nor its by, for or date.
//
// # Write: writer.go, fold.go
//
// What stays is written in its order, in lines. If nothing is left before the date,
// Rules.From stands there: "from SMTP; Mon, 5 Feb 2024 10:00:00 +0100". A field that
// has nothing to hide is not rewritten, and one that has been is left alone the second
// time.
//
// # Other fields
//
// Rules.Fields name fields to remove, to write anew, or to strip of versions and
// of what stands in parentheses: "Mozilla Thunderbird 115.3 (Windows/20230912)"
// becomes "Mozilla Thunderbird". If nothing is left, the field is removed.
//
// # Signatures
//
// A change to a field that a DKIM-Signature or ARC-Message-Signature covers would
// break the signature, and the message might be refused for it. Such a field is
// left alone and returned as Kept. A name that stands n times in a signature's h=
// covers the n last fields of that name (RFC 6376 section 5.4.2): those above them
// were added later and may be changed.
package header
