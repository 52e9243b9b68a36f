package maillog

import (
	"net/netip"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

var compareAddrs = cmpopts.EquateComparable(netip.Addr{})

func named(t testing.TB, name string) Format {
	t.Helper()
	f, err := Named(name)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func login(user, addr string) Login {
	return Login{Addr: netip.MustParseAddr(addr), User: user}
}

func TestFormats(t *testing.T) {
	const at = "Nov 22 10:00:00 mx "
	tests := []struct {
		name, format, line string
		want               Login // zero: no login
	}{
		{"Dovecot 2.3 in syslog", "dovecot", at + "dovecot: imap-login: Login: user=<shin>, method=PLAIN, rip=203.0.113.8, lip=203.0.113.25, mpid=12, TLS, session=<O7wFteBgtOx/AAAB>", login("shin", "203.0.113.8")},
		{"Dovecot with the process of its log server", "dovecot", at + "dovecot[12]: pop3-login: Login: user=<shin>, method=CRAM-MD5, rip=203.0.113.8, lip=203.0.113.25, mpid=12, session=<a+/=>", login("shin", "203.0.113.8")},
		{"Dovecot with Info: in syslog", "dovecot", at + "dovecot: pop3-login: Info: Login: user=<shin>, method=PLAIN, rip=203.0.113.8, lip=203.0.113.25, mpid=12", login("shin", "203.0.113.8")},
		{"Dovecot with the cipher", "dovecot", at + "dovecot: imap-login: Login: user=<shin>, method=PLAIN, rip=203.0.113.8, lip=203.0.113.25, mpid=12, TLS, TLSv1.3 with cipher TLS_AES_256_GCM_SHA384 (256/256 bits), session=<a>", login("shin", "203.0.113.8")},
		{"Dovecot 2.4", "dovecot", "2026-11-22T10:00:00.123456+01:00 mx dovecot: imap-login: Logged in: user=<shin@a.example>, method=PLAIN, rip=2001:db8::8, lip=2001:db8::25, mpid=12, TLS, session=<a>", login("shin@a.example", "2001:db8::8")},
		{"Dovecot in its own file", "dovecot", "Nov  2 10:00:00 pop3-login: Info: Login: user=<shin>, method=PLAIN, rip=203.0.113.8, lip=203.0.113.25, mpid=12, secured", login("shin", "203.0.113.8")},
		{"Dovecot in its own file with another time format", "dovecot", "2026-11-22 10:00:00 imap-login: Info: Login: user=<shin>, method=PLAIN, rip=203.0.113.8, lip=203.0.113.25", login("shin", "203.0.113.8")},
		{"Dovecot and a mapped address", "dovecot", at + "dovecot: imap-login: Login: user=<shin>, method=PLAIN, rip=::ffff:203.0.113.8, lip=::ffff:203.0.113.25, mpid=12", login("shin", "203.0.113.8")},
		{"Dovecot and a name with spaces and brackets", "dovecot", at + `dovecot: imap-login: Login: user=<a b> [203.0.113.9] "c">, method=PLAIN, rip=203.0.113.8, lip=203.0.113.25`, login(`a b> [203.0.113.9] "c"`, "203.0.113.8")},
		{"Dovecot, journalctl -o short-iso", "dovecot", "2026-11-22T10:00:00+0100 mx dovecot[12]: imap-login: Login: user=<shin>, method=PLAIN, rip=203.0.113.8, lip=203.0.113.25", login("shin", "203.0.113.8")},
		{"Dovecot, UTC", "dovecot", "2026-11-22T10:00:00Z mx dovecot: imap-login: Login: user=<shin>, method=PLAIN, rip=203.0.113.8, lip=203.0.113.25", login("shin", "203.0.113.8")},
		{"Dovecot and a carriage return at the end", "dovecot", at + "dovecot: imap-login: Login: user=<shin>, method=PLAIN, rip=203.0.113.8, lip=203.0.113.25\r", login("shin", "203.0.113.8")},
		{"Dovecot, authentication failed", "dovecot", at + "dovecot: pop3-login: Disconnected: Aborted login by logging out (auth failed, 1 attempts in 2 secs): user=<shin>, method=PLAIN, rip=203.0.113.8, lip=203.0.113.25", Login{}},
		{"Dovecot 2.4, authentication failed", "dovecot", at + "dovecot: imap-login: Login aborted: Logged out (auth failed, 1 attempts in 2 secs) (auth_failed): user=<shin>, method=PLAIN, rip=203.0.113.8, lip=203.0.113.25", Login{}},
		{"Dovecot, aborted", "dovecot", at + "dovecot: imap-login: Aborted login (no auth attempts in 0 secs): user=<>, rip=203.0.113.8, lip=203.0.113.25", Login{}},
		{"Dovecot, anonymous", "dovecot", at + "dovecot: imap-login: Login: user=<guest>, method=ANONYMOUS, rip=203.0.113.8, lip=203.0.113.25, mpid=12", Login{}},
		{"Dovecot, anonymous in small letters", "dovecot", at + "dovecot: imap-login: Login: user=<Anonymous>, method=PLAIN, rip=203.0.113.8, lip=203.0.113.25, mpid=12", Login{}},
		{"Dovecot, an empty name", "dovecot", at + "dovecot: imap-login: Login: user=<>, method=PLAIN, rip=203.0.113.8, lip=203.0.113.25, mpid=12", Login{}},
		{"Dovecot's submission server", "dovecot", at + "dovecot: submission-login: Login: user=<shin>, method=PLAIN, rip=203.0.113.8, lip=203.0.113.25, mpid=12", Login{}},
		{"Dovecot's ManageSieve server", "dovecot", at + "dovecot: managesieve-login: Login: user=<shin>, method=PLAIN, rip=203.0.113.8, lip=203.0.113.25, mpid=12", Login{}},
		{"Dovecot, cut within the address", "dovecot", at + "dovecot: imap-login: Login: user=<shin>, method=PLAIN, rip=203.0.113.", Login{}},
		{"Dovecot, an element that may be the client's", "dovecot", at + "dovecot: imap-login: Login: user=<shin>, method=PLAIN, rip=203.0.113.8, lip=203.0.113.25, orig=<shin>", Login{}},
		{"Dovecot, a zone in the address", "dovecot", at + "dovecot: imap-login: Login: user=<shin>, method=PLAIN, rip=fe80::1%eth0, lip=fe80::2", Login{}},
		{"Dovecot, no time", "dovecot", "mx dovecot: imap-login: Login: user=<shin>, method=PLAIN, rip=203.0.113.8, lip=203.0.113.25", Login{}},
		{"Dovecot, an escape sequence", "dovecot", at + "dovecot: imap-login: Login: user=<sh\x1bin>, method=PLAIN, rip=203.0.113.8, lip=203.0.113.25", Login{}},
		{"Dovecot, a name nobody has", "dovecot", at + "dovecot: imap-login: Login: user=<" + strings.Repeat("a", maxUser+1) + ">, method=PLAIN, rip=203.0.113.8, lip=203.0.113.25", Login{}},

		{"Dovecot 2.3, proxied", "dovecot", at + "dovecot: imap-login: proxy(shin,192.0.2.1:143): Started proxying to <192.0.2.1> (0.049 secs): user=<shin>, method=PLAIN, rip=203.0.113.8, lip=203.0.113.25, secured, session=<9g3dj0pheMp/AAAB>", login("shin", "203.0.113.8")},
		{"Dovecot 2.3 in its own file, proxied as another user", "dovecot", "Nov 22 10:00:00 imap-login: Info: proxy(shin,[2001:db8::1]:143): Started proxying to <2001:db8::1> (<backend.example>) from 192.0.2.2 as user other (master admin) (0.038 secs, 1 redirects): user=<shin>, method=PLAIN, rip=203.0.113.8, lip=203.0.113.25, TLS, session=<a>", login("shin", "203.0.113.8")},
		{"Dovecot 2.2, proxied", "dovecot", at + "dovecot: pop3-login: proxy(shin@a.example): started proxying to 192.0.2.1:110: user=<shin@a.example>, method=PLAIN, rip=203.0.113.8, lip=203.0.113.25, session=<udMDFAwQWQDU6/2a>", login("shin@a.example", "203.0.113.8")},
		{"Dovecot 2.1, proxied as another user by a master", "dovecot", at + "dovecot: imap-login: proxy(shin): started proxying to backend.example:143/other (master admin): user=<shin>, method=PLAIN, rip=203.0.113.8, lip=203.0.113.25, TLS", login("shin", "203.0.113.8")},
		{"Dovecot, the end of a proxied login", "dovecot", at + "dovecot: imap-login: proxy(shin,192.0.2.1:143): Disconnected by client (0s idle, in=212, out=516): user=<shin>, method=PLAIN, rip=203.0.113.8, lip=203.0.113.25, secured, session=<a>", Login{}},
		{"Dovecot 2.2, the end of a proxied login", "dovecot", at + "dovecot: imap-login: proxy(shin): disconnecting 203.0.113.8 (Disconnected by client): user=<shin>, method=PLAIN, rip=203.0.113.8, lip=203.0.113.25", Login{}},
		{"Dovecot, proxied and refused there", "dovecot", at + "dovecot: imap-login: proxy(shin): Login failed to 192.0.2.1:143: [AUTHENTICATIONFAILED] Authentication failed.: user=<shin>, method=PLAIN, rip=203.0.113.8, lip=203.0.113.25", Login{}},
		{"Dovecot 2.3, proxied and refused there", "dovecot", at + "dovecot: imap-login: Disconnected: Aborted login by logging out (proxy dest auth failed): user=<shin>, method=PLAIN, rip=203.0.113.8, lip=203.0.113.25, secured, session=<a>", Login{}},
		{"Dovecot, proxied and refused, under a name that says otherwise", "dovecot", at + "dovecot: imap-login: proxy(a): started proxying to h: user=<a,192.0.2.1:143): Login failed: user=<a): started proxying to h: user=<a>, method=PLAIN, rip=203.0.113.8, lip=203.0.113.25", Login{}},
		{"Dovecot, proxied, anonymous", "dovecot", at + "dovecot: imap-login: proxy(shin): started proxying to 192.0.2.1:143: user=<shin>, method=ANONYMOUS, rip=203.0.113.8, lip=203.0.113.25", Login{}},
		{"Dovecot, proxied, another name", "dovecot", at + "dovecot: imap-login: proxy(shin): started proxying to 192.0.2.1:143: user=<kim>, method=PLAIN, rip=203.0.113.8, lip=203.0.113.25", Login{}},
		{"Dovecot's submission proxy", "dovecot", at + "dovecot: submission-login: proxy(shin): started proxying to 192.0.2.1:143: user=<shin>, method=PLAIN, rip=203.0.113.8, lip=203.0.113.25", Login{}},
		{"Dovecot on Solaris", "dovecot", "Nov 22 10:00:00 mx dovecot[834]: [ID 583609 mail.info] imap-login: Login: user=<shin>, method=PLAIN, rip=203.0.113.14, lip=203.0.113.25, mpid=12, TLS", login("shin", "203.0.113.14")},
		{"Dovecot on FreeBSD", "dovecot", "Jan 21 19:06:28 <mail.info> mx dovecot: imap-login: Login: user=<shin>, method=PLAIN, rip=203.0.113.13, lip=203.0.113.25, mpid=51689, TLS", login("shin", "203.0.113.13")},
		{"Dovecot under multilog", "dovecot", "@400000004c91b044077a9e94 imap-login: Info: Login: user=<shin>, method=PLAIN, rip=203.0.113.12, lip=203.0.113.25, mpid=5, TLS", login("shin", "203.0.113.12")},
		{"Dovecot under multilog, failed", "dovecot", "@400000004c91b044077a9e94 imap-login: Info: Disconnected: Aborted login by logging out (auth failed, 1 attempts in 2 secs): user=<shin>, method=PLAIN, rip=203.0.113.12, lip=203.0.113.25", Login{}},

		{"Qpopper's statistics", "qpopper", at + "qpopper[123]: Stats: shin 0 0 1 100 client.example 203.0.113.73", login("shin", "203.0.113.73")},
		{"Qpopper's statistics of an address without a name", "qpopper", at + "popper[123]: Stats: shin 2 4711 0 0 [203.0.113.8] 203.0.113.8 [pop_updt.c:285]", login("shin", "203.0.113.8")},
		{"Qpopper's statistics without a host", "qpopper", at + "in.qpopper[123]: Stats: shin 0 0 0 0 203.0.113.8", login("shin", "203.0.113.8")},
		{"Qpopper's statistics over IPv6", "qpopper", at + "qpopper[123]: Stats: shin 0 0 0 0 client.example 2001:db8::8", login("shin", "2001:db8::8")},
		{"Qpopper's statistics in its own file", "qpopper", "Wed Sep 26 00:19:44 2001 [12892]  Stats: shin 0 0 0 0 client.example 203.0.113.8", login("shin", "203.0.113.8")},
		{"Qpopper's statistics of 2.x, without an address", "qpopper", at + "qpopper[123]: Stats: shin 0 0 1 100", Login{}},
		{"Qpopper's statistics with a number too few", "qpopper", at + "qpopper[123]: Stats: shin 0 0 1 client.example 203.0.113.8", Login{}},
		{"Qpopper's statistics without a name", "qpopper", at + "qpopper[123]: Stats: 0 0 1 100 client.example 203.0.113.8", Login{}},
		{"Qpopper's statistics, said by another program", "qpopper", at + "sshd[123]: Stats: shin 0 0 1 100 client.example 203.0.113.8", Login{}},
		{"Qpopper, a time-out", "qpopper", at + "qpopper[123]: (v4.0.9) Timeout (60 secs) during nw read from client.example at 203.0.113.8", Login{}},
		{"Qpopper, APOP failed", "qpopper", at + `qpopper[123]: [AUTH] shin@client.example (203.0.113.8): -ERR [AUTH] POP authentication failed.`, Login{}},
		{"Qpopper's own file", "qpopper", `Sep 26 00:19:44.817 2001 [12892] (v4.0.3) POP login by user "who" at (client.example.com) 192.168.10.10`, login("who", "192.168.10.10")},
		{"Qpopper's own file with its name", "qpopper", `Sep 26 00:19:44 [popper] (v4.0.3) POP login by user "who" at (203.0.113.8) 203.0.113.8`, login("who", "203.0.113.8")},
		{"Qpopper in syslog", "qpopper", at + `in.qpopper[7597]: (v4.0.9) POP login by user "shin" at (client.example.com) 203.0.113.8 [pop_log.c:244]`, login("shin", "203.0.113.8")},
		{"Qpopper under its full path", "qpopper", at + `/usr/sbin/popper[7597]: (v4.0.9) POP login by user "shin" at ([203.0.113.8]) 203.0.113.8`, login("shin", "203.0.113.8")},
		{"Qpopper, failed", "qpopper", at + `in.qpopper[7597]: [AUTH] Failed attempted login to shin from host (client.example.com) 203.0.113.8`, Login{}},
		{"Qpopper, refused", "qpopper", at + `in.qpopper[7597]: shin at client.example.com (203.0.113.8): -ERR [AUTH] Password supplied for "shin" is incorrect.`, Login{}},
		{"Qpopper, an empty name", "qpopper", at + `in.qpopper[7597]: (v4.0.9) POP login by user "" at (client.example.com) 203.0.113.8`, Login{}},

		{"UW POP3", "uw", at + "ipop3d[123]: Login user=shin host=client.example.com [203.0.113.8] nmsgs=0/0", login("shin", "203.0.113.8")},
		{"UW POP3, SASL", "uw", at + "ipop3d[123]: Auth user=shin host=client.example.com [203.0.113.8] nmsgs=3/17", login("shin", "203.0.113.8")},
		{"UW POP3, APOP", "uw", at + "ipop3d[123]: APOP user=shin host=client.example.com [203.0.113.8] nmsgs=3/17", login("shin", "203.0.113.8")},
		{"UW IMAP", "uw", at + "imapd[123]: Login user=shin host=[203.0.113.8]", login("shin", "203.0.113.8")},
		{"UW IMAP, SASL, IPv6", "uw", at + "imapd[123]: Authenticated user=shin host=client.example.com [2001:db8::8] mech=CRAM-MD5", login("shin", "2001:db8::8")},
		{"UW, failed", "uw", at + "ipop3d[123]: Login failed user=shin auth=shin host=client.example.com [203.0.113.8]", Login{}},
		{"UW, no mailbox", "uw", at + "ipop3d[123]: Auth user=shin host=client.example.com [203.0.113.8] no mailbox", Login{}},
		{"UW, login to another server", "uw", at + "ipop3d[123]: IMAP login to host=a.example user=shin host=client.example.com [203.0.113.8] nmsgs=0/0", Login{}},
		{"UW, a host name that was cut", "uw", at + "imapd[123]: Login user=shin host=" + strings.Repeat("a", 64) + ".example [203.0.", Login{}},
		{"UW IMAP, anonymous", "uw", at + "imapd[123]: Authenticated user=shin host=client.example.com [203.0.113.8] mech=ANONYMOUS", Login{}},
		{"UW IMAP, anonymous in small letters", "uw", at + "imapd[123]: Authenticated user=shin host=client.example.com [203.0.113.8] mech=anonymous", Login{}},
		{"UW POP3, what an anonymous client becomes", "uw", at + "ipop3d[123]: Auth user=nobody host=client.example.com [203.0.113.8] nmsgs=0/0", Login{}},
		{"UW, an empty name", "uw", at + "ipop3d[123]: Login user= host=client.example.com [203.0.113.8] nmsgs=0/0", Login{}},
		{"UW, preauthenticated over rsh", "uw", at + "imapd[123]: Preauthenticated user=shin host=client.example.com [203.0.113.8]", Login{}},

		{"UW POP2", "uw", at + "ipop2d[123]: Login user=shin host=client.example.com [203.0.113.8]", login("shin", "203.0.113.8")},
		{"UW POP3 of old, SASL", "uw", at + "ipop3d[123]: Authenticated user=shin host=client.example.com [203.0.113.8]", login("shin", "203.0.113.8")},
		{"UW over TLS", "uw", at + "imapsd[123]: Login user=shin host=client.example.com [203.0.113.8]", login("shin", "203.0.113.8")},
		{"UW, failed once", "uw", at + "ipop3d[123]: Login failure user=shin host=client.example.com [203.0.113.8]", Login{}},
		{"UW, failed too often", "uw", at + "ipop3d[123]: Excessive login failures user=shin host=client.example.com [203.0.113.8]", Login{}},
		{"UW, a guest", "uw", at + "imapd[123]: Login anonymous=shin@a.example host=client.example.com [203.0.113.8]", Login{}},
		{"UW, SASL failed", "uw", at + "ipop3d[123]: AUTHENTICATE PLAIN failure host=client.example.com [203.0.113.8]", Login{}},
		{"UW, logout", "uw", at + "ipop3d[123]: Logout user=shin host=client.example.com [203.0.113.8] nmsgs=3 ndele=0", Login{}},

		{"Courier IMAP of Debian 3", "courier", at + "courierimapd: LOGIN, user=shin, ip=[::ffff:203.0.113.83], port=[40112], protocol=IMAP", login("shin", "203.0.113.83")},
		{"Courier's login program", "courier", at + "courierimaplogin: LOGIN, user=shin, ip=[::ffff:203.0.113.82], protocol=IMAP", login("shin", "203.0.113.82")},
		{"Courier's login program of old", "courier", at + "imaplogin: LOGIN, user=shin, ip=[::ffff:203.0.113.8], protocol=IMAP", login("shin", "203.0.113.8")},
		{"Courier POP3's login program", "courier", at + "courierpop3login: LOGIN, user=shin, ip=[::ffff:203.0.113.8]", login("shin", "203.0.113.8")},
		{"Courier POP3 over TLS", "courier", at + "courierpop3d-ssl: LOGIN, user=shin, ip=[::ffff:203.0.113.8], port=[40112], protocol=POP3", login("shin", "203.0.113.8")},
		{"Courier POP3 with STARTTLS", "courier", at + "pop3d: LOGIN, user=shin, ip=[::ffff:203.0.113.8], port=[40112], protocol=POP3, stls=1", login("shin", "203.0.113.8")},
		{"Courier IMAP of Gentoo, over TLS", "courier", at + "courier-imapd-ssl: LOGIN, user=shin, ip=[::ffff:203.0.113.8], port=[40112], protocol=IMAP", login("shin", "203.0.113.8")},
		{"Courier's web mail", "courier", at + "sqwebmaild: LOGIN, user=shin, ip=[203.0.113.8]", Login{}},
		{"Courier's SMTP server", "courier", at + "courieresmtpd: LOGIN, user=shin, ip=[203.0.113.8]", Login{}},
		{"Courier's login program, failed", "courier", at + "courierimaplogin: LOGIN FAILED, user=shin, ip=[::ffff:203.0.113.8]", Login{}},
		{"Courier, disconnected", "courier", at + "courierpop3login: DISCONNECTED, user=shin, ip=[::ffff:203.0.113.8], port=[40112], time=0", Login{}},
		{"Courier, a password that is debugged", "courier", at + "courierpop3login: LOGIN: DEBUG: ip=[::ffff:203.0.113.8], username=shin, password=LOGIN, user=shin, ip=[203.0.113.8]", Login{}},
		{"Courier POP3", "courier", at + "pop3d: LOGIN, user=shin, ip=[::ffff:203.0.113.8]", login("shin", "203.0.113.8")},
		{"Courier POP3 with the port", "courier", at + "pop3d: LOGIN, user=shin, ip=[::ffff:203.0.113.8], port=[40112]", login("shin", "203.0.113.8")},
		{"Courier IMAP", "courier", at + "imapd: LOGIN, user=shin@a.example, ip=[2001:db8::8], port=[40112], protocol=IMAP", login("shin@a.example", "2001:db8::8")},
		{"Courier IMAP over TLS", "courier", at + "imapd-ssl: LOGIN, user=shin, ip=[::ffff:203.0.113.8], port=[40112], protocol=IMAP, stls=1", login("shin", "203.0.113.8")},
		{"Courier without its logger", "courier", at + "pop3d-ssl[12]: INFO: LOGIN, user=shin, ip=[203.0.113.8], port=[40112]", login("shin", "203.0.113.8")},
		{"Courier, failed", "courier", at + "imapd: LOGIN FAILED, user=shin, ip=[::ffff:203.0.113.8], port=[40112]", Login{}},
		{"Courier, failed without a name", "courier", at + "imapd: LOGIN FAILED, method=PLAIN, ip=[::ffff:203.0.113.8], port=[40112]", Login{}},
		{"Courier, logout", "courier", at + "imapd: LOGOUT, user=shin, ip=[::ffff:203.0.113.8], port=[40112], headers=0, body=0, rcvd=30, sent=400, time=0", Login{}},
		{"Courier, an empty name", "courier", at + "imapd: LOGIN, user=, ip=[::ffff:203.0.113.8], port=[40112], protocol=IMAP", Login{}},
		{"Courier, a name that could be cut", "courier", at + "pop3d: LOGIN, user=" + strings.Repeat("a", maxUser) + "b, ip=[203.0.113.8], port=[40112]", Login{}},

		{"Cyrus 1.x without a blank before the address", "cyrus", "Dec 30 16:03:27 mx imapd[2517]: login: client.example[203.0.113.41] shin plaintext", login("shin", "203.0.113.41")},
		{"Cyrus 1.x, CRAM-MD5", "cyrus", at + "pop3d[2517]: login: client.example[203.0.113.8] shin CRAM-MD5 User logged in", login("shin", "203.0.113.8")},
		{"Cyrus 1.x, an address without a name", "cyrus", at + "imapd[2517]: login: [203.0.113.8] shin plaintext", login("shin", "203.0.113.8")},
		{"Cyrus 2.1's proxy", "cyrus", at + "proxyd[2517]: login: client.example[203.0.113.8] shin plaintext User logged in", login("shin", "203.0.113.8")},
		{"Cyrus 2.3's POP3 proxy", "cyrus", at + "cyrus/pop3proxyd[2517]: login: client.example [203.0.113.8] shin plaintext+TLS User logged in", login("shin", "203.0.113.8")},
		{"Cyrus with a magic plus", "cyrus", at + "imap[2517]: login: client.example [203.0.113.8] shin+ PLAIN+TLS User logged in SESSIONID=<a>", login("shin+", "203.0.113.8")},
		{"Cyrus 1.x, failed", "cyrus", at + "imapd[2517]: badlogin: client.example[203.0.113.8] plaintext shin Login incorrect", Login{}},
		{"Cyrus 1.x, a guest", "cyrus", at + "pop3d[2517]: login: client.example[203.0.113.8] anonymous plaintext", Login{}},
		{"Cyrus 1.x, a host name with a bracket", "cyrus", at + "imapd[2517]: login: a[192.0.2.66]x[203.0.113.8] shin plaintext", Login{}},
		{"Cyrus's news server", "cyrus", at + "nntpd[2517]: login: client.example [203.0.113.8] shin plaintext User logged in", Login{}},
		{"Cyrus, the next line", "cyrus", at + "imap[2517]: USAGE shin user: 0.000000 sys: 0.004000", Login{}},
		{"Cyrus IMAP", "cyrus", at + "imaps[123]: login: client.example.com [203.0.113.8] shin plaintext+TLS User logged in SESSIONID=<mx-123-1763805600-1-1234>", login("shin", "203.0.113.8")},
		{"Cyrus POP3 on Debian", "cyrus", at + "cyrus/pop3[123]: login: [203.0.113.8] shin PLAIN User logged in", login("shin", "203.0.113.8")},
		{"Cyrus, APOP", "cyrus", at + "cyrus/pop3s[123]: login: client.example.com [2001:db8::8] shin APOP+TLS User logged in SESSIONID=<a>", login("shin", "2001:db8::8")},
		{"Cyrus of old", "cyrus", at + "imapd[123]: login: client.example.com [203.0.113.8] shin plaintext ", login("shin", "203.0.113.8")},
		{"Cyrus, failed", "cyrus", at + "imaps[123]: badlogin: client.example.com [203.0.113.8] plaintext shin SASL(-13): authentication failure", Login{}},
		{"Cyrus, anonymous", "cyrus", at + "imap[123]: login: client.example.com [203.0.113.8] anonymous ANONYMOUS User logged in", Login{}},
		{"Cyrus, what an anonymous client becomes", "cyrus", at + "imap[123]: login: client.example.com [203.0.113.8] nobody ANONYMOUS User logged in", Login{}},
		{"Cyrus, the same over TLS and under another name", "cyrus", at + "imap[123]: login: client.example.com [203.0.113.8] guest ANONYMOUS+TLS User logged in SESSIONID=<a>", Login{}},
		{"Cyrus, nobody by whatever mechanism", "cyrus", at + "pop3[123]: login: client.example.com [203.0.113.8] nobody plaintext User logged in", Login{}},
		{"Cyrus, an empty name", "cyrus", at + "imap[123]: login: client.example.com [203.0.113.8]  PLAIN User logged in", Login{}},
		{"Cyrus, without a password", "cyrus", at + "imap[123]: login: client.example.com [203.0.113.8] shin nopassword User logged in SESSIONID=<a>", Login{}},
		{"Cyrus, ManageSieve", "cyrus", at + "sieve[123]: login: client.example.com [203.0.113.8] shin PLAIN User logged in", Login{}},
		{"Cyrus, LMTP", "cyrus", at + "cyrus/lmtp[123]: login: client.example.com [203.0.113.8] shin PLAIN User logged in", Login{}},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			got, ok := named(t, tc.format).Parse(tc.line)
			if diff := cmp.Diff(tc.want, got, compareAddrs); diff != "" {
				t.Errorf("Parse(%q) (-want +got):\n%s", tc.line, diff)
			}
			if ok != (tc.want != Login{}) {
				t.Errorf("Parse(%q) says %v", tc.line, ok)
			}
		})
	}
}

// TestDovecotLog reads what Dovecot 2.3.19 of Debian 12 wrote while it was logged in to
// from 192.0.2.5 and 2001:db8::5, with names that were made to look like lines.
func TestDovecotLog(t *testing.T) {
	text, err := os.ReadFile("testdata/dovecot-2.3.19.log")
	if err != nil {
		t.Fatal(err)
	}
	var got []Login
	parse := named(t, "dovecot").Parser()
	for line := range strings.Lines(string(text)) {
		if l, ok := parse(strings.TrimSuffix(line, "\n")); ok {
			got = append(got, l)
		}
	}
	want := []Login{
		login("shin", "192.0.2.5"),
		login("shin", "2001:db8::5"),
		login("shin", "192.0.2.5"),
		login(`q"\?? é ? <b>`, "192.0.2.5"),
		login(strings.Repeat("l", 77)+"...", "192.0.2.5"),
	}
	if diff := cmp.Diff(want, got, compareAddrs); diff != "" {
		t.Errorf("logins (-want +got):\n%s", diff)
	}
}

// server writes the lines of a server as a client can influence them.
type server struct {
	format string
	// login is what it logs for a successful login.
	login func(user, host string) string
	// failed is what it logs for one that failed.
	failed func(user, host string) string
}

const (
	realAddr   = "203.0.113.8"
	forgedAddr = "192.0.2.66"
)

var servers = []server{
	{
		"dovecot", // as a proxy
		func(user, _ string) string {
			return "Nov 22 10:00:00 mx dovecot: imap-login: proxy(" + user + ",192.0.2.1:143): Started proxying to <192.0.2.1> (0.049 secs): user=<" + user + ">, method=PLAIN, rip=203.0.113.8, lip=203.0.113.25, TLS, session=<abc>"
		},
		func(user, _ string) string {
			return "Nov 22 10:00:00 mx dovecot: imap-login: proxy(" + user + ",192.0.2.1:143): Login failed: [AUTHENTICATIONFAILED] Authentication failed.: user=<" + user + ">, method=PLAIN, rip=203.0.113.8, lip=203.0.113.25, session=<abc>"
		},
	},
	{
		"qpopper", // its statistics
		func(user, host string) string {
			return "Nov 22 10:00:00 mx qpopper[1]: Stats: " + user + " 0 0 1 100 " + host + " 203.0.113.8"
		},
		func(user, host string) string {
			return "Nov 22 10:00:00 mx qpopper[1]: [AUTH] Failed attempted login to " + user + " from host (" + host + ") 203.0.113.8"
		},
	},
	{
		"dovecot",
		func(user, _ string) string {
			return "Nov 22 10:00:00 mx dovecot: imap-login: Login: user=<" + user + ">, method=PLAIN, rip=203.0.113.8, lip=203.0.113.25, mpid=12, TLS, session=<abc>"
		},
		func(user, _ string) string {
			return "Nov 22 10:00:00 mx dovecot: imap-login: Disconnected: Aborted login by logging out (auth failed, 1 attempts in 2 secs): user=<" + user + ">, method=PLAIN, rip=203.0.113.8, lip=203.0.113.25, session=<abc>"
		},
	},
	{
		"qpopper",
		func(user, host string) string {
			return `Sep 26 00:19:44.817 2001 [12892] (v4.0.3) POP login by user "` + user + `" at (` + host + `) 203.0.113.8`
		},
		func(user, host string) string {
			return "Sep 26 00:19:44.817 2001 [12892] [AUTH] Failed attempted login to " + user + " from host (" + host + ") 203.0.113.8"
		},
	},
	{
		"uw",
		func(user, host string) string {
			return "Nov 22 10:00:00 mx ipop3d[123]: Login user=" + user + " host=" + host + " [203.0.113.8] nmsgs=0/0"
		},
		func(user, host string) string {
			return "Nov 22 10:00:00 mx ipop3d[123]: Login failed user=" + user + " auth=" + user + " host=" + host + " [203.0.113.8]"
		},
	},
	{
		"courier",
		func(user, _ string) string {
			return "Nov 22 10:00:00 mx pop3d: LOGIN, user=" + user + ", ip=[::ffff:203.0.113.8], port=[40112]"
		},
		func(user, _ string) string {
			return "Nov 22 10:00:00 mx pop3d: LOGIN FAILED, user=" + user + ", ip=[::ffff:203.0.113.8], port=[40112]"
		},
	},
	{
		"cyrus",
		func(user, host string) string {
			return "Nov 22 10:00:00 mx cyrus/imaps[123]: login: " + host + " [203.0.113.8] " + user + " plaintext+TLS User logged in SESSIONID=<mx-1>"
		},
		func(user, host string) string {
			return "Nov 22 10:00:00 mx cyrus/imaps[123]: badlogin: " + host + " [203.0.113.8] plaintext " + user + " SASL(-13): authentication failure"
		},
	},
}

// hostile are names, of users and of hosts, that were made to look like the rest of a
// line, or like a line of their own.
func hostile() []string {
	names := []string{
		"a b", "a [192.0.2.66]", `a"`, "a>", "a, b", "a\tb", "a#012b", `a\nb`, "a\u2028b", "a\xff",
		"a>, method=PLAIN, rip=192.0.2.66",
		"a>, method=PLAIN, rip=192.0.2.66, lip=192.0.2.66",
		"a>, method=PLAIN, rip=192.0.2.66, lip=192.0.2.66, mpid=1, TLS, session=<",
		"a>, rip=192.0.2.66, user=<b",
		"a): Started proxying to <h>: user=<a", "a): Started proxying to <h>: user=<a>, method=PLAIN, rip=192.0.2.66",
		"a): Started proxying to <h>: user=<a>, method=PLAIN, rip=192.0.2.66, session=<", "a,h): started proxying to h:1: user=<a>, method=PLAIN, rip=192.0.2.66, lip=",
		"a 0 0 1 100 h 192.0.2.66", "h 192.0.2.66", "a 0 0 1 100 h",
		`a" at (h) 192.0.2.66`, `a" at (h) 192.0.2.66 [pop_log.c:244]`, `a" at (`, "h) 192.0.2.66", "h) 192.0.2.66 (",
		"a host=h [192.0.2.66]", "a host=h [192.0.2.66] nmsgs=0/0", "h [192.0.2.66] nmsgs=0/0", "h [192.0.2.66]", "[192.0.2.66]",
		"a, ip=[192.0.2.66]", "a, ip=[192.0.2.66], port=[1]", "a, ip=[192.0.2.66], port=[1], protocol=IMAP",
		"h [192.0.2.66] a plaintext User logged in", "a plaintext+TLS User logged in SESSIONID=<b>",
	}
	for _, s := range servers {
		line := strings.ReplaceAll(s.login("a", "h"), realAddr, forgedAddr)
		_, text, _ := strings.Cut(line, ": ")
		names = append(names, line, "\n"+line, "#012"+line, text)
	}
	return names
}

func TestHostileNamesDoNotMoveTheAddress(t *testing.T) {
	for _, s := range servers {
		f := named(t, s.format)
		for _, name := range hostile() {
			for _, line := range []string{s.login(name, "h"), s.login("a", name), s.login(name, name)} {
				if got, ok := f.Parse(line); ok && got.Addr != netip.MustParseAddr(realAddr) {
					t.Errorf("%s: %q grants %v, which the client wrote", s.format, line, got.Addr)
				}
				// Cut short anywhere from where a logger may cut.
				for end := courierCut; end < len(line); end++ {
					if got, ok := f.Parse(line[:end]); ok && got.Addr != netip.MustParseAddr(realAddr) {
						t.Errorf("%s: %q, cut short, grants %v", s.format, line[:end], got.Addr)
					}
				}
			}
			for _, line := range []string{s.failed(name, "h"), s.failed("a", name), s.failed(name, name)} {
				if got, ok := f.Parse(line); ok {
					t.Errorf("%s: a failed login, %q, grants %v", s.format, line, got.Addr)
				}
			}
		}
	}
}

// A name that ends where the logger cuts the line must not be taken for a whole one.
func TestPaddedNamesDoNotMoveTheAddress(t *testing.T) {
	for _, s := range servers {
		f := named(t, s.format)
		for _, name := range hostile() {
			before := strings.Index(s.login("\x00", "h"), "\x00")
			for _, end := range []int{courierCut, 511, 532, 1023, 1024} {
				for slack := range 8 {
					pad := max(0, end-before-len(name)+4-slack)
					line := s.login(strings.Repeat("p", pad)+name, "h")
					if end > len(line) {
						continue
					}
					if got, ok := f.Parse(line[:end]); ok && got.Addr != netip.MustParseAddr(realAddr) {
						t.Fatalf("%s: %q grants %v", s.format, line[:end], got.Addr)
					}
				}
			}
		}
	}
}

func TestLinesOfOtherProgramsDoNotCount(t *testing.T) {
	for _, s := range servers {
		f := named(t, s.format)
		line := s.login("shin", "h")
		if _, ok := f.Parse(line); !ok {
			t.Fatalf("%s: %q is no login", s.format, line)
		}
		_, text, _ := strings.Cut(line, "mx ")
		for _, other := range []string{
			"Nov 22 10:00:00 mx sshd[12]: Invalid user " + line,
			"Nov 22 10:00:00 mx sshd[12]: Invalid user " + text,
			"Nov 22 10:00:00 mx sendmail[12]: NOQUEUE: " + text,
			"Nov 22 10:00:00 mx sm-mta[12]: " + text,
			"Nov 22 10:00:00 mx " + line,
			"Nov 22 10:00:00 mx: " + text,
			"Nov 22 10:00:00 mx dovecot: auth: Debug: " + text,
			"Nov 22 10:00:00 mx dovecot: imap(" + text + ")<12><abc>: Logged out",
			"Nov 22 10:00:00 mx sshd[12] " + text,
			"Nov 22 10:00:00 mx mx sshd[12]: " + text,
			" " + line, "a" + line, "<22>" + line, line + " ", line + "x", line + "\n", "", "Nov 22 10:00:00 ", "Nov 22 10:00:00 mx ",
		} {
			if got, ok := f.Parse(other); ok && !(s.format == "cyrus" && other == line+" ") {
				t.Errorf("%s: %q grants %v", s.format, other, got.Addr)
			}
		}
	}
}

// courierlogger writes lines of 511 octets and logs what is left as another line.
func TestHalvesOfLinesAreNoLogins(t *testing.T) {
	const begin = "Nov 22 10:00:00 mx pop3d: "
	half := begin + "LOGIN FAILED, user=" + strings.Repeat("a", 511-len("INFO: LOGIN FAILED, user="))
	rest := begin + "LOGIN, user=shin, ip=[::ffff:203.0.113.8], port=[40112]"
	tests := []struct {
		name  string
		lines []string
		want  int
	}{
		{"a whole line is one", []string{rest}, 1},
		{"the rest of a line that was cut is none", []string{half, rest}, 0},
		{"the line after the rest is one", []string{half, rest, rest}, 1},
		{"nor is the rest of two halves", []string{half, half, rest}, 0},
		{"other loggers write between the halves", []string{half, strings.Replace(rest, "pop3d", "imapd", 1), strings.Replace(rest, "mx", "mx2", 1), "Nov 22 10:00:00 mx cron[1]: hello", rest}, 2},
		{"control characters do not hide a half", []string{half + "\x01", rest}, 0},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			parse, got := named(t, "courier").Parser(), 0
			for _, line := range tc.lines {
				if _, ok := parse(line); ok {
					got++
				}
			}
			if got != tc.want {
				t.Errorf("%d logins, want %d", got, tc.want)
			}
		})
	}
}

func TestManyHalvesAreNotForgotten(t *testing.T) {
	parse := named(t, "courier").Parser()
	long := strings.Repeat("a", courierCut)
	for i := range maxCut + 10 {
		parse("Nov 22 10:00:00 mx" + strings.Repeat("x", i%200) + string(rune('a'+i/200)) + " pop3d: " + long)
	}
	if l, ok := parse("Nov 22 10:00:00 other pop3d: LOGIN, user=shin, ip=[203.0.113.8]"); ok {
		t.Errorf("with more halves than are remembered, %v is granted", l)
	}
}

func TestNamed(t *testing.T) {
	for name := range parsers {
		if got := named(t, name).name; got != name {
			t.Errorf("format %q calls itself %q", name, got)
		}
	}
	for name, want := range map[string]string{
		"exim":   `login format "exim", expected courier, cyrus, dovecot, qpopper, uw or regexp with a pattern`,
		"regexp": "login format regexp: expected a pattern with it",
	} {
		_, err := Named(name)
		if err == nil || err.Error() != want {
			t.Errorf("Named(%q): %v, want %s", name, err, want)
		}
	}
}
