// Package header takes the traces of a client out of a message's header: who
// connected, from where, with what software. Plan decides what is to change,
// without I/O; whoever holds the message carries it out.
//
// # Received fields
//
// Each MTA that takes a message puts one on top (RFC 5321 section 4.4, RFC 5322
// section 3.6.7):
//
//	Received: from laptop.lan (host.example [203.0.113.8]) (authenticated bits=0)
//	        by mx.example (8.17.1/8.17.1) with ESMTPSA id 41A5xYz for <a@b.example>
//	        (version=TLSv1.3 cipher=TLS_AES_256_GCM_SHA384 bits=256 verify=NO);
//	        Mon, 5 Feb 2024 10:00:00 +0100
//
// That is clauses of a keyword and its value, a semicolon and a date. The
// keywords are from (the name the client gave itself), by (the host that writes
// the field), via (the link), with (the protocol), id and for (a recipient); tls
// (RFC 8314 section 4.3) and envelope-from stand in some. Everything in
// parentheses is a comment, which may stand anywhere and be nested, and there
// every MTA writes what it likes: the name and address that the DNS and TCP gave
// the client, its login, the cipher, its own make and version. No two agree, some
// leave clauses out (qmail writes a comment and a date), and anybody can write
// anything. So every value can be read here, in time proportional to its length:
//
//   - The date is what follows the last semicolon behind which there is one: a day
//     and a time in whatever form, Unix time, names of days and months in other
//     languages, other words among it. What stands behind it, such as Courier's id
//     or one more semicolon, counts as if it stood before it.
//   - A comment that is not closed extends to the date or to the end, a quotation
//     mark without a second one is an ordinary character, and so is < without >.
//     A ) too many is dropped. Control characters are white space.
//   - The word after from is its value, also when it is a keyword: a client may
//     call itself anything. Only "from by HOST" with no other by is read as a
//     from without a value.
//   - A word or comment that does not fit a line (900 octets) is dropped.
//
// # What is taken out
//
// With Rules.Client, a from clause with all its comments becomes Rules.From. A
// field without one keeps its form. Elsewhere, comments go that speak of a login, a
// user, an ident, a HELO name or a client certificate, and so does optional text
// (comments, with, via) that holds a word of the from clause, an address or a
// host name. What is then kept has to be known: the value of by, id and for, the
// envelope sender, the protocol, the date. Of several clauses of a kind the last
// one stays, since what a client can make a field say comes before what the MTA
// adds. Other words go; if nothing is left before the date, Rules.From stands
// there: "from SMTP; Mon, 5 Feb 2024 10:00:00 +0100".
//
// Of a date, what can be nothing but a part of one stays: numbers of days and years,
// the time, the zone, names of days and months, and a short word without digits or
// dots where such a name is missing, unless it names the client. Everything else
// that stands among it goes.
//
// So these stay by rule, whatever they tell: the value of by, which names the host
// that took the message, an internal one maybe; the value of id, by which that host's
// log can be searched; that of for, a recipient; and the envelope's sender, but not
// where a word of the from clause is in it.
//
// With Rules.Version, the first comment that names software becomes Rules.By and
// others go. Software is what a comment is about that is not about the client,
// the encryption, the envelope or a host. Of a with clause the protocol stays
// (of "Microsoft SMTP Server" that is SMTP), of a via clause a known link, and an
// id of four numbers, which is the version of an Exchange server, goes.
//
// With Rules.With, with and tls clauses and comments about encryption go. Without
// it these stay, also where they stand among the comments of a from clause, as
// Postfix writes them, but only where each word of them is known to be about TLS.
//
// Nothing ever removes a Received field, which MTAs count to find loops, or its by,
// for or date. A field that has nothing to hide is not rewritten, and one that has
// been is left alone the second time.
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
