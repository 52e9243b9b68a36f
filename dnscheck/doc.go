// Package dnscheck asks the DNS what a mail policy wants to know about a client
// and a sender: whether the client's name and address belong together (iprev,
// RFC 8601), whether an address or a name is on a block list or an allow list
// (RFC 5782), and whether a sender's domain can receive mail (RFC 5321 section
// 5.1, RFC 7505).
//
// # Answers
//
// Everything here asks through a Resolver, one method that gives a typed
// Result: the records were Found, the name does not exist (NXDomain), it exists
// without such records (NoData), or nothing is known for now (Temporary). The
// last is never folded into one of the others: what a temporary failure means
// is for the policy to say.
//
// A Client asks real servers and remembers what they say. A Frozen resolver
// answers from zone-file lines, so that a recorded session can be judged again,
// and a Recorder writes those lines. A Result is the same whoever gives it:
// aliases are followed, records are sorted, and the cause of a temporary
// failure is one of two values.
//
// # What the network may do
//
// Nothing an answer holds is trusted. A datagram that does not answer the
// question asked is ignored and the wait goes on, because it may be forged;
// aliases are followed a bounded number of steps; the number of records kept
// is bounded; names are checked before they are asked for, and text is made
// printable before it is shown.
package dnscheck
