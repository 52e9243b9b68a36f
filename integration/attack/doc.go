// Package attack tries to relay through a real sendmail with milterd, in every way of
// writing a recipient that is known to have deceived a mail server, and in random ones.
// What counts is where sendmail delivers: every recipient that is accepted gets a
// message, and a stranger's message that arrives at a victim's mail host, or waits for
// one, is a failure.
//
// Another test has clients of every behaviour, while files change and the DNS fails.
//
// The environment variables MILTERD_TEST_SEED, MILTERD_TEST_ATTACKS and MILTERD_TEST_SOAK
// choose the seed, the number of the random recipients of each door, and the number of
// sessions.
package attack
