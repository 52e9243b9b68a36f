// Package dnstest is a real DNS server, over UDP and TCP, for tests: it answers
// from a few lines of zone file and misbehaves if it is told to.
//
// # Lines
//
// A line is a resource record in the master file format of RFC 1035 section
// 5, or a fault. Names are absolute, with or without the final dot; the TTL
// may be left out and is 300 seconds then. Empty lines and lines that begin
// with a semicolon are ignored.
//
//	mx.good.example.          300 IN A   203.0.113.5
//	5.113.0.203.in-addr.arpa. 300 IN PTR mx.good.example.
//
// A fault takes the place of the answer for one name, or for one name and
// type, and wins over records of that name:
//
//	NAME [TYPE] NXDOMAIN    the name does not exist
//	NAME [TYPE] NODATA      the name exists, without records of the type
//	NAME [TYPE] TIMEOUT     no answer, ever
//	NAME [TYPE] SERVFAIL    the server failed; likewise REFUSED, FORMERR, NOTIMP
//
// A trick leaves the answer as the other lines have it and spoils how it
// arrives. Tricks of one name add up.
//
//	NAME [TYPE] DELAY=200ms    the answer comes so much later
//	NAME [TYPE] TRUNCATED      over UDP the answer is empty and marked as truncated
//	NAME [TYPE] WRONGID        before the answer comes NXDOMAIN with another id
//	NAME [TYPE] WRONGQUESTION  before the answer comes NXDOMAIN to another question
//
// Negative answers carry an SOA record (RFC 2308), an alias is followed within
// the server's own records, and an answer too long for UDP is truncated, so
// that the client has to come back over TCP. A name that no line mentions
// does not exist, or never gets an answer: see Options.Unknown.
package dnstest
