package maillog

import (
	"strings"
	"testing"
	"time"
)

// prefixes are the beginnings of lines, with PROG for the program and its process.
var prefixes = []struct{ name, text string }{
	{"RFC 3164", "Nov 22 10:00:00 mx PROG[834]: "},
	{"RFC 3164 without a process", "Nov  2 10:00:00 mx.example.test PROG: "},
	{"RFC 3164 with a fraction", "Nov 22 10:00:00.123456 mx PROG[834]: "},
	{"a path before the program", "Nov 22 10:00:00 mx /usr/libexec/PROG[834]: "},
	{"an address for a host", "Nov 22 10:00:00 2001:db8::25 PROG[834]: "},
	{"syslog-ng's chain of hosts", "Nov 22 10:00:00 src@mx/relay PROG[834]: "},
	{"rsyslog with an ISO time", "2026-11-22T10:00:00.123456+01:00 mx PROG[834]: "},
	{"an ISO time in UTC", "2026-11-22T10:00:00Z mx PROG[834]: "},
	{"journalctl -o short-iso", "2026-11-22T10:00:00+0100 mx PROG[834]: "},
	{"journalctl -o short-full", "Sun 2026-11-22 10:00:00 CET mx PROG[834]: "},
	{"journalctl -o short-unix", "1795341600.123456 mx PROG[834]: "},
	{"RFC 5424", "<22>1 2026-11-22T10:00:00.123456+01:00 mx PROG 834 - - "},
	{"RFC 5424 without a host and a process", "<22>1 2026-11-22T10:00:00Z - PROG - - - "},
	{"RFC 5424 with an id of the message", "<22>1 2026-11-22T10:00:00Z mx PROG 834 ID47 - "},
	{"RFC 5424 with structured data", `<22>1 2026-11-22T10:00:00Z mx PROG 834 - [meta sequenceId="1"][x@32473 a="b \" \] \\"] `},
	{"RFC 5424 with a byte order mark", "<22>1 2026-11-22T10:00:00Z mx PROG 834 - - \ufeff"},
	{"Solaris", "Nov 22 10:00:00 mx PROG[834]: [ID 583609 mail.info] "},
	{"Solaris, local0", "Nov 22 10:00:00 mx PROG[834]: [ID 1 local0.notice] "},
	{"FreeBSD -vv", "Nov 22 10:00:00 <mail.info> mx PROG[834]: "},
	{"FreeBSD -v", "Nov 22 10:00:00 <2.6> mx PROG[834]: "},
	{"busybox", "Nov 22 10:00:00 mx mail.info PROG[834]: "},
	{"AIX", "Nov 22 10:00:00 mx mail:info PROG[834]: "},
	{"macOS", "Nov 22 10:00:00 mx PROG[834] <Info>: "},
}

// logins are messages of successful logins.
var logins = []struct{ format, program, text string }{
	{"dovecot", "dovecot", "imap-login: Login: user=<shin>, method=PLAIN, rip=203.0.113.8, lip=203.0.113.25, mpid=12, TLS, session=<a>"},
	{"qpopper", "qpopper", `(v4.0.9) POP login by user "shin" at (client.example.com) 203.0.113.8`},
	{"qpopper", "popper", "Stats: shin 0 0 1 100 client.example 203.0.113.8"},
	{"uw", "ipop3d", "Login user=shin host=client.example.com [203.0.113.8] nmsgs=0/0"},
	{"courier", "pop3d", "LOGIN, user=shin, ip=[::ffff:203.0.113.8], port=[40112]"},
	{"cyrus", "imap", "login: client.example.com [203.0.113.8] shin plaintext+TLS User logged in SESSIONID=<a>"},
}

func TestLoginsBehindEveryPrefix(t *testing.T) {
	for _, l := range logins {
		for _, p := range prefixes {
			line := strings.Replace(p.text, "PROG", l.program, 1) + l.text
			if got, ok := named(t, l.format).Parse(line); !ok || got != login("shin", "203.0.113.8") {
				t.Errorf("%s, %s: %q: %v %v", l.format, p.name, line, got, ok)
			}
			other := strings.Replace(p.text, "PROG", "sshd", 1) + l.text
			if got, ok := named(t, l.format).Parse(other); ok {
				t.Errorf("%s, %s, another program: %q grants %v", l.format, p.name, other, got.Addr)
			}
			if _, ok := timeOf(line, time.Now()); !ok {
				t.Errorf("%s: %q has no time", p.name, line)
			}
		}
	}
}

// Of one program alone are a server's own file, and what multilog and svlogd write.
func TestLoginsWithoutAnOrigin(t *testing.T) {
	for _, tt := range []struct{ format, line string }{
		{"dovecot", "Nov 22 10:00:00 imap-login: Info: "},
		{"dovecot", "dovecot: Nov 22 10:00:00 Info: imap-login: "},
		{"dovecot", "dovecot: 2026-11-22 10:00:00 Info: imap-login: "},
		{"dovecot", "@400000004c91b044077a9e94 imap-login: Info: "},
		{"dovecot", "2026-11-22_10:00:00.12345 imap-login: Info: "},
		{"dovecot", "2026-11-22 10:00:00.123456789  imap-login: Info: "},
		{"qpopper", "Sep 26 00:19:44.817 2001 [12892] "},
		{"qpopper", "Wed Sep 26 00:19:44 2001 [12892]  "},
		{"qpopper", "@400000004c91b044077a9e94 "},
		{"courier", "@400000004c91b044077a9e94 INFO: "},
		{"courier", "@400000004c91b044077a9e94 "},
	} {
		for _, l := range logins {
			if l.format != tt.format {
				continue
			}
			line := tt.line + strings.TrimPrefix(l.text, "imap-login: ")
			if got, ok := named(t, l.format).Parse(line); !ok || got != login("shin", "203.0.113.8") {
				t.Errorf("%s: %q: %v %v", l.format, line, got, ok)
			}
			if _, ok := timeOf(strings.TrimPrefix(line, "dovecot: "), time.Now()); !ok {
				t.Errorf("%q has no time", line)
			}
		}
	}
}

func TestPrefixesThatAreNone(t *testing.T) {
	const text = "Login user=shin host=h [203.0.113.8]"
	for _, line := range []string{
		"Nov 22 10:00:00 mx sshd[1]: Invalid user imapd[1]: " + text,
		"Nov 22 10:00:00 mx sshd[1]: [ID 1 mail.info] imapd[1]: " + text,
		"Nov 22 10:00:00 mx imapd[1]: [ID x mail.info] " + text,
		"Nov 22 10:00:00 mx imapd[1]: [ID 1 mail.info] [ID 1 mail.info] " + text,
		"Nov 22 10:00:00 <mail.info> <mail.info> mx imapd[1]: " + text,
		"Nov 22 10:00:00 <no.info> mx imapd[1]: " + text,
		"Nov 22 10:00:00 mx mail.info mail.info imapd[1]: " + text,
		"<22>1 2026-11-22T10:00:00Z mx sshd 1 - - imapd[1]: " + text,
		"<22>1 2026-11-22T10:00:00Z mx sshd 1 - - mx imapd 1 - - " + text,
		"<22>1 2026-11-22T10:00:00Z mx imapd 1 - [broken " + text,
		"<22>1 2026-11-22T10:00:00Z mx imapd 1 - " + text,
		"<22>1 mx imapd 1 - - " + text,
		"<22>2 2026-11-22T10:00:00Z mx imapd 1 - - " + text,
		"@4000000 mx imapd[1]: " + text,
		"1 mx imapd[1]: " + text,
		"2026-11-22 mx imapd[1]: " + text,
	} {
		if got, ok := named(t, "uw").Parse(line); ok {
			t.Errorf("%q grants %v", line, got.Addr)
		}
	}
}

func TestTimeOf(t *testing.T) {
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	at := func(text string) time.Time {
		t.Helper()
		now, err := time.Parse(time.RFC3339Nano, text)
		if err != nil {
			t.Fatal(err)
		}
		return now.In(berlin)
	}
	for _, tt := range []struct{ name, line, now, want string }{
		{"this year", "Nov 22 10:00:00 mx x", "2026-11-22T10:00:05+01:00", "2026-11-22T10:00:00+01:00"},
		{"one digit", "Nov  2 10:00:00 mx x", "2026-11-22T10:00:05+01:00", "2026-11-02T10:00:00+01:00"},
		{"two digits", "Nov 02 10:00:00 mx x", "2026-11-22T10:00:05+01:00", "2026-11-02T10:00:00+01:00"},
		{"a fraction", "Nov 22 10:00:00.25 mx x", "2026-11-22T10:00:05+01:00", "2026-11-22T10:00:00.25+01:00"},
		{"read in the new year", "Dec 31 23:59:59 mx x", "2027-01-01T00:00:01+01:00", "2026-12-31T23:59:59+01:00"},
		{"a clock ahead of the new year", "Jan  1 00:00:01 mx x", "2026-12-31T23:59:59+01:00", "2027-01-01T00:00:01+01:00"},
		{"in summer", "Jul 22 10:00:00 mx x", "2026-07-22T10:00:05+02:00", "2026-07-22T10:00:00+02:00"},
		{"29 February, read in another year", "Feb 29 10:00:00 mx x", "2025-01-22T10:00:05+01:00", "2024-02-29T10:00:00+01:00"},
		{"before the hour comes again", "Oct 25 02:30:00 mx x", "2026-10-25T02:30:05+02:00", "2026-10-25T02:30:00+02:00"},
		{"when the hour comes again", "Oct 25 02:30:00 mx x", "2026-10-25T02:30:05+01:00", "2026-10-25T02:30:00+01:00"},
		{"Qpopper's year", "Sep 26 00:19:44.5 2001 [12892] x", "2026-11-22T10:00:05+01:00", "2001-09-26T00:19:44.5+02:00"},
		{"Qpopper's weekday and year", "Wed Sep 26 00:19:44 2001 [12892] x", "2026-11-22T10:00:05+01:00", "2001-09-26T00:19:44+02:00"},
		{"a zone", "2026-11-22T10:00:00.123-05:00 mx x", "2026-11-22T10:00:05+01:00", "2026-11-22T16:00:00.123+01:00"},
		{"a zone without a colon", "2026-11-22T10:00:00-0500 mx x", "2026-11-22T10:00:05+01:00", "2026-11-22T16:00:00+01:00"},
		{"UTC", "2026-11-22T10:00:00Z mx x", "2026-11-22T10:00:05+01:00", "2026-11-22T11:00:00+01:00"},
		{"no zone", "2026-11-22 10:00:00,5 mx x", "2026-11-22T10:00:05+01:00", "2026-11-22T10:00:00.5+01:00"},
		{"the name of UTC", "Sun 2026-11-22 10:00:00 UTC mx x", "2026-11-22T10:00:05+01:00", "2026-11-22T11:00:00+01:00"},
		{"the name of the local zone", "Sun 2026-11-22 10:00:00 CET mx x", "2026-11-22T10:00:05+01:00", "2026-11-22T10:00:00+01:00"},
		{"RFC 5424", "<22>1 2026-11-22T10:00:00+01:00 mx x 1 - - x", "2026-11-22T10:00:05+01:00", "2026-11-22T10:00:00+01:00"},
		{"TAI64N", "@400000004c91b044077a9e94 x", "2026-11-22T10:00:05+01:00", "2010-09-16T05:50:50.1254765Z"},
		{"Unix time", "1795341600.5 mx x", "2026-11-22T10:00:05+01:00", "2026-11-22T10:00:00.5Z"},
		{"no such day", "Feb 30 10:00:00 mx x", "2026-11-22T10:00:05+01:00", ""},
		{"no such month", "Foo 22 10:00:00 mx x", "2026-11-22T10:00:05+01:00", ""},
		{"no such hour", "Nov 22 25:00:00 mx x", "2026-11-22T10:00:05+01:00", ""},
		{"no time", "mx x", "2026-11-22T10:00:05+01:00", ""},
		{"a time of the stars", "@ffffffffffffffffffffffff x", "2026-11-22T10:00:05+01:00", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, ok := timeOf(tt.line, at(tt.now))
			if !ok {
				got = time.Time{}
			}
			var want time.Time
			if tt.want != "" {
				want = at(tt.want)
			}
			if !got.Equal(want) {
				t.Errorf("got %v, want %v", got.In(berlin), want)
			}
		})
	}
}

// FuzzTime: whatever is in a line, its time is one of this century or none, and a line that
// is no login has no address.
func FuzzTime(f *testing.F) {
	for _, p := range prefixes {
		f.Add(strings.Replace(p.text, "PROG", "dovecot", 1) + logins[0].text)
	}
	f.Add("@400000004c91b044077a9e94 x")
	f.Add("Wed Sep 26 00:19:44 2001 [12892]  Stats: shin 0 0 0 0 203.0.113.8")
	now := time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)
	f.Fuzz(func(t *testing.T, line string) {
		timeOf(line, now)
		for name := range parsers {
			got, ok := named(t, name).Parse(line)
			if ok == !got.Addr.IsValid() || !ok && got != (Login{}) {
				t.Errorf("%s: %q: %v %v", name, line, got, ok)
			}
		}
	})
}
