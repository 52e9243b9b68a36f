// Package harness runs Debian's stock sendmail with milterd beside it, in a
// small world of its own: a network, a file system and a process table that
// no other process sees and that vanish with the process that made them.
//
// # The world
//
// Main starts the running program a second time in new namespaces (network,
// mount, PID, UTS, IPC) and lets that copy do the work. Inside it
//
//   - lo holds 203.0.113.25 and 2001:db8::25, the server's addresses, and all
//     of 192.0.2.0/24, 198.51.100.0/24, 203.0.113.0/24, 10.0.0.0/8 and
//     2001:db8::/32 is local, so that a client can come from any address in them;
//   - /etc, /run, /dev, the mail queues and /var/lib/sendmail are private
//     copies: nothing written there ever reaches the machine;
//   - the host is called mx.example.test and asks 127.0.0.1 for its DNS, where
//     an Env runs a dnstest.Server.
//
// Root, sendmail, m4 and iproute2 are needed; World.Missing says what is not
// there.
//
// # The server
//
// World.Start makes an Env: the package's own sendmail.mc plus the few lines of
// FilterLines, AuthLines and Options.MC, built with m4 as an administrator
// would, the real milterd binary, and SASL users. Mail that is accepted stays
// in the queue, where Env.Queue reads it.
//
// # Dialogues
//
// ReadDialogues reads SMTP dialogues from text files, and Env.Play speaks them.
// The format is described in integration/dialogues/README.md.
package harness
