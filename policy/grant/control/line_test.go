package control

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"milterd/policy/grant"
)

func TestParseCommand(t *testing.T) {
	four, six := netip.MustParseAddr("203.0.113.8"), netip.MustParseAddr("2001:db8::8")
	for _, test := range []struct {
		name, line string
		want       command
		err        string
	}{
		{"a grant", "grant 203.0.113.8", command{verbGrant, four, ""}, ""},
		{"a grant for a user", "grant 203.0.113.8 shin", command{verbGrant, four, "shin"}, ""},
		{"blanks and tabs", " \tgrant\t203.0.113.8   shin \t", command{verbGrant, four, "shin"}, ""},
		{"an IPv6 address in long form", "grant 2001:0DB8:0:0::8", command{verbGrant, six, ""}, ""},
		{"a mapped IPv4 address", "revoke ::ffff:203.0.113.8", command{verbRevoke, four, ""}, ""},
		{"a quoted user", `grant 203.0.113.8 "Shin \"the\" Oka"`, command{verbGrant, four, `Shin "the" Oka`}, ""},
		{"a user of nothing", `grant 203.0.113.8 ""`, command{verbGrant, four, ""}, ""},
		{"a user in UTF-8", "revoke-user müller", command{verbRevokeUser, netip.Addr{}, "müller"}, ""},
		{"a user that looks like a command", "revoke-user list", command{verbRevokeUser, netip.Addr{}, "list"}, ""},
		{"a list", "list", command{verb: verbList}, ""},
		{"help", "help", command{verb: verbHelp}, ""},
		{"quit", "quit", command{verb: verbQuit}, ""},

		{"nothing", "", command{}, "no command, try help"},
		{"blanks only", "   ", command{}, "no command, try help"},
		{"an unknown command", "drop 203.0.113.8", command{}, `unknown command "drop", try help`},
		{"capital letters", "LIST", command{}, `unknown command "LIST", try help`},
		{"a long unknown command", strings.Repeat("x", 900), command{}, `unknown command "` + strings.Repeat("x", 64) + `"..., try help`},
		{"no address", "grant", command{}, "expected grant ADDR [USER]"},
		{"too much", "grant 203.0.113.8 shin oka", command{}, "expected grant ADDR [USER]"},
		{"an argument of list", "list all", command{}, "expected list"},
		{"a network", "grant 203.0.113.0/24", command{}, `"203.0.113.0/24" is not an IP address`},
		{"a host name", "revoke mx.example.test", command{}, `"mx.example.test" is not an IP address`},
		{"octal numbers", "grant 0203.0.0113.010", command{}, `"0203.0.0113.010" is not an IP address`},
		{"a zone", "grant fe80::1%eth0", command{}, `"fe80::1%eth0" is not an IP address`},
		{"no user", `revoke-user ""`, command{}, "the user has no name"},
		{"a user with a line end", `grant 203.0.113.8 "a\nb"`, command{}, "user name has control characters"},
		{"a user with NUL", `grant 203.0.113.8 "a\x00b"`, command{}, "user name has control characters"},
		{"a user that is not UTF-8", `grant 203.0.113.8 "a\xff"`, command{}, "user name is not valid UTF-8"},
		{"a user that is too long", "revoke-user " + strings.Repeat("x", grant.MaxUser+1), command{}, "user name of 321 octets, the limit is 320"},
		{"an open quotation", `grant 203.0.113.8 "shin`, command{}, "a quoted word has no end, or an unknown escape"},
		{"an unknown escape", `grant 203.0.113.8 "\q"`, command{}, "a quoted word has no end, or an unknown escape"},
		{"a word after a quotation", `grant 203.0.113.8 "shin"oka`, command{}, "a quoted word ends before a blank or the end of the line"},
		{"a quotation mark in a word", `grant 203.0.113.8 shin"oka`, command{}, `a word with "\"" has to stand between quotation marks`},
		{"a backslash in a word", `grant 203.0.113.8 AD\shin`, command{}, `a word with "\\" has to stand between quotation marks`},
		{"a control character", "grant 203.0.113.8 a\x1b[2J", command{}, `a word with "\x1b" has to stand between quotation marks`},
		{"bytes", "\xff\xfe\x00", command{}, "the line is not valid UTF-8"},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := parseCommand(test.line)
			text := ""
			if err != nil {
				text = err.Error()
			}
			if diff := cmp.Diff(test.err, text); diff != "" {
				t.Errorf("error (-want +got):\n%s", diff)
			}
			if got != test.want {
				t.Errorf("command %+v, expected %+v", got, test.want)
			}
		})
	}
}

func TestEachCommandOfHelpIsOne(t *testing.T) {
	for _, u := range usage {
		line := strings.NewReplacer("ADDR", "203.0.113.8", "[USER]", "shin", "USER", "shin").Replace(u.form)
		if c, err := parseCommand(line); err != nil || c.verb != u.verb {
			t.Errorf("%s: %+v, %v", line, c, err)
		}
	}
}

func TestGrantLine(t *testing.T) {
	since := time.Date(2026, 3, 1, 12, 0, 0, 0, time.FixedZone("", 3600))
	for _, test := range []struct {
		grant grant.Grant
		want  string
	}{
		{grant.Grant{Addr: netip.MustParseAddr("203.0.113.8"), User: "shin", Source: "control", Since: since, Expires: since.Add(30 * time.Minute)},
			"grant 203.0.113.8 shin control 2026-03-01T11:00:00Z 2026-03-01T11:30:00Z"},
		{grant.Grant{Addr: netip.MustParseAddr("2001:db8::8"), Source: "drac:127.0.0.1", Since: since, Expires: since},
			`grant 2001:db8::8 "" drac:127.0.0.1 2026-03-01T11:00:00Z 2026-03-01T11:00:00Z`},
		{grant.Grant{Addr: netip.MustParseAddr("2001:db8::8"), User: "Müller \"ok\" \u202e", Source: "maillog:my log", Since: since, Expires: since},
			`grant 2001:db8::8 "Müller \"ok\" \u202e" "maillog:my log" 2026-03-01T11:00:00Z 2026-03-01T11:00:00Z`},
	} {
		if diff := cmp.Diff(test.want, grantLine(test.grant)); diff != "" {
			t.Errorf("line (-want +got):\n%s", diff)
		}
	}
}

// sameTime compares what a line holds of a time: its second.
var sameTime = cmp.Options{
	cmp.Comparer(func(a, b time.Time) bool { return a.Unix() == b.Unix() }),
	cmp.Comparer(func(a, b netip.Addr) bool { return a == b }),
}

func TestLinesAreReadAsTheyWereWritten(t *testing.T) {
	addrs := rapid.Custom(func(t *rapid.T) netip.Addr {
		b := rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "octets")
		if rapid.Bool().Draw(t, "four") {
			return netip.AddrFrom4([4]byte(b[:4]))
		}
		return netip.AddrFrom16([16]byte(b)).Unmap()
	})
	users := rapid.OneOf(rapid.SampledFrom([]string{"", " ", `"`, `\`, "ok", "a b", "\u2029"}), rapid.String())
	rapid.Check(t, func(t *rapid.T) {
		user, source := users.Draw(t, "user"), users.Draw(t, "source")
		g := grant.Grant{Addr: addrs.Draw(t, "addr"), User: user, Source: source,
			Since:   time.Unix(rapid.Int64Range(0, 4e9).Draw(t, "since"), 0),
			Expires: time.Unix(rapid.Int64Range(0, 4e9).Draw(t, "expires"), 0)}
		line := grantLine(g)
		got, err := parseGrantLine(line)
		if err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		if diff := cmp.Diff(g, got, sameTime); diff != "" {
			t.Fatalf("%q (-want +got):\n%s", line, diff)
		}
		c := command{verb: verbGrant, addr: g.Addr, user: user}
		if grant.ValidUser(user) != nil {
			return
		}
		if got, err := parseCommand(c.String()); err != nil || got != c {
			t.Fatalf("%q: %+v, %v", c, got, err)
		}
	})
}

func TestTheLongestUserFitsALine(t *testing.T) {
	// Every character is escaped: six bytes for two.
	c := command{verb: verbGrant, addr: netip.MustParseAddr("2001:db8:1111:2222:3333:4444:5555:6666"), user: strings.Repeat("\u00ad", grant.MaxUser/2)}
	if err := grant.ValidUser(c.user); err != nil {
		t.Fatal(err)
	}
	if n := len(c.String()) + 1; n > maxLine {
		t.Errorf("%d bytes, the limit is %d", n, maxLine)
	}
}

func FuzzCommand(f *testing.F) {
	for _, seed := range []string{"grant 203.0.113.8 shin", `revoke-user "a\x41\u00e9"`, "revoke 2001:db8::8", "list", `grant 1.2.3.4 "`, "\xff", `"list"`} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, line string) {
		c, err := parseCommand(line)
		if err != nil {
			if c != (command{}) {
				t.Fatalf("%q: %+v and %v", line, c, err)
			}
			if text := oneLine("error " + err.Error()); strings.ContainsAny(text, "\r\n\x1b") {
				t.Fatalf("%q: the answer %q is not a line", line, text)
			}
			return
		}
		if again, err := parseCommand(c.String()); err != nil || again != c {
			t.Fatalf("%q: %+v was written as %q and read as %+v, %v", line, c, c, again, err)
		}
	})
}

func FuzzGrantLine(f *testing.F) {
	f.Add("grant 203.0.113.8 shin control 2026-03-01T11:00:00Z 2026-03-01T11:30:00Z")
	f.Add(`grant 2001:db8::8 "" "a b" 2026-03-01T11:00:00+02:00 2026-03-01T11:30:00Z`)
	f.Fuzz(func(t *testing.T, line string) {
		g, err := parseGrantLine(line)
		if err != nil {
			return
		}
		again, err := parseGrantLine(grantLine(g))
		if err != nil {
			t.Fatalf("%q: %+v cannot be read again: %v", line, g, err)
		}
		if diff := cmp.Diff(g, again, sameTime); diff != "" {
			t.Fatalf("%q (-first +again):\n%s", line, diff)
		}
	})
}
