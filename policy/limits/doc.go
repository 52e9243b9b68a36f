// Package limits counts what is sent, for the limits of package policy: at most so many
// messages or recipients in a time, for each login, client or sender.
//
// # The count
//
// It is the generic cell rate algorithm (GCRA, ITU-T I.371): the state of a count is one
// time, that at which all that was used is free again. A message moves it by the interval
// in which room for one comes, and has room if it is then no further away than the burst.
// So a count takes no more memory the more is sent, nothing has to be added up, and there
// is no edge of a window at which twice as much passes: who has used nothing may send a
// burst, and from then on one in each interval.
//
// Nothing is taken unless all enforced limits have room for it.
//
// # Where counts are kept
//
// Memory is for one host. A snapshot file lets counts and blocks outlast a restart. The
// clock is the monotonic one: a step of the machine's clock neither forgets nor prolongs.
//
// Many hosts share their counts in Redis, each question one round trip. Every answer is
// kept in Memory, too, and each question tells the server what Memory has. A count is that of
// the server, but never less than the host knows: so a server that has lost all, or the last
// moments, as a replica that becomes the master may, is told anew, and one host's mail stays
// within the limit. When the server is away Memory goes on from there, for this host alone,
// and what it has counted alone is added once the server is back. So mail is never refused
// because the server is away. More is taken than the limit only of what one host has taken
// and others have not heard of: while the server is away, and what was lost.
//
// The server's clock counts then. If it goes back, what is over a limit drains from full
// again; if it goes forward, there is room earlier in what no host knows of.
//
// # Keys
//
// A count's key is a hash (SHA-256, cut to 16 octets) of the limit's name, its period and
// the login, client or sender. No name can be made to stand for another one's, whatever
// is in it, and a long one takes no more room.
package limits
