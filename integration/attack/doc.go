// Package attack tries to relay through a real sendmail with milterd, in every way of
// writing a recipient that is known to have deceived a mail server, and in random ones.
// What counts is where sendmail delivers: every recipient that is accepted gets a
// message, and a stranger's message that arrives at a victim's mail host, or waits for
// one, is a failure.
//
// The environment variables MILTERD_TEST_SEED and MILTERD_TEST_ATTACKS choose the seed and
// the number of the random recipients of each door.
package attack
