// Package redis keeps relay grants, and the counts of the limits, in a Redis or Valkey
// server, so that several milterds share them: a login at one mail host lets the client
// relay through another, and a login has one limit at all hosts.
//
// # Time
//
// The server's clock decides. A grant is a key that expires at the server (PX), and
// is held for as long as the key is there; what milterd tells of its end is
// reckoned from the time that is left. A key without an expiry grants nothing.
//
// # When the server does not answer
//
// That is never a grant, and never the lack of one: look-ups have an error, and
// the client is told to come again. A server that is dead, or hangs, costs one time-out a
// second in all, however much mail there is: after an operation has failed, all
// others fail at once for a second, and then one of them tries again. Nothing has to be
// restarted when the server is back.
//
// No answer is remembered. Every look-up asks the server, so that a revocation
// or a login counts at once, on every host. (Only for Known, which tells
// who gets a temporary failure, addresses with a grant are remembered.)
//
// Nor is the server trusted, or what is between it and here: a reply that is no RESP2, or
// has a length beyond all that milterd asks for, ends its connection.
//
// # Keys
//
//	PREFIXgrant:addr:ADDRESS    the grant: "1", first login (Unix time in milliseconds),
//	                      source and user, separated by tabs. Expires.
//	PREFIXgrant:user:USER       the user's addresses: a sorted set by the end of each
//	                      one's grant. Expires with the last.
//
// A login changes both in one script, which is atomic. The server should evict
// nothing (maxmemory-policy noeviction, the default): a user whose set is gone has
// more grants than the limit, and they are not all found to be revoked. What is
// read back is not trusted: a value of another form or length is no grant.
//
//	PREFIXlimit:HASH      a count: the time at which it will be empty, in microseconds by
//	                      the server's clock. Expires then.
//	PREFIXblocks          a hash: until when each login is blocked or, negative, until when
//	                      it counts as released.
//
// The scripts make up the names of keys, so in a Redis Cluster one node has to have them
// all: the prefix holds a part in braces, its hash tag. A Sentinel is asked in RESP3, as
// go-redis wants it; what it says is bounded in the same way.
//
// When a Sentinel makes a replica the master, what the old one had not told it yet is lost;
// the hosts tell the new one of their counts.
//
// With access control lists, milterd needs ~PREFIX* and +@read +@write +@scripting
// +@connection +time.
//
// # Expiry in the log
//
// The server tells nobody when a key expires. Each milterd remembers the grants it
// made itself (100,000 at most), asks about them when their time is over, and
// reports those that are gone. A grant that another milterd has renewed since is that one's to
// report; one that another has revoked looks like an expired one.
package redis
