package maillog

import (
	"net/netip"
	"strings"
	"testing"
)

// FuzzLine holds that no line makes a parser fail, that a login of a hostile name from
// a host with a hostile name is either none or one from the server's address, and that
// a failed one is none, also where the line is cut in two.
func FuzzLine(f *testing.F) {
	for _, name := range hostile() {
		f.Add(name, "h", uint16(511))
		f.Add("a", name, uint16(600))
	}
	for _, s := range servers {
		f.Add(strings.Repeat("a", 470)+s.login("a", "h"), "h", uint16(500))
	}
	pattern, err := Pattern(`\w{3} [ \d]\d [\d:]{8} mx popd: user=(?P<user>.*) from (?P<addr>[0-9a-f.:]+)`)
	if err != nil {
		f.Fatal(err)
	}
	actual := netip.MustParseAddr(realAddr)
	f.Fuzz(func(t *testing.T, user, host string, cut uint16) {
		if strings.ContainsAny(user+host, "\n") {
			return // two lines, which no syslog daemon makes of one message
		}
		for _, s := range servers {
			format := named(t, s.format)
			format.Parse(user)
			format.Parse(host)
			good := s.login(user, host)
			if l, ok := format.Parse(good); ok && l.Addr != actual {
				t.Errorf("%s: %q grants %v", s.format, good, l.Addr)
			}
			bad := s.failed(user, host)
			if l, ok := format.Parse(bad); ok {
				t.Errorf("%s: a failed login, %q, grants %v", s.format, bad, l.Addr)
			}
			for _, line := range []string{good, bad} {
				at := max(int(cut), courierCut+len("Nov 22 10:00:00 mx pop3d: "))
				if at >= len(line) {
					continue
				}
				parse := format.Parser()
				if l, ok := parse(line[:at]); ok && l.Addr != actual {
					t.Errorf("%s: %q, cut short, grants %v", s.format, line[:at], l.Addr)
				}
				if s.format != "courier" {
					continue // the others let syslog do as it likes, and it does not cut in two
				}
				rest := "Nov 22 10:00:00 mx pop3d: " + line[at:]
				if l, ok := parse(rest); ok {
					t.Errorf("%s: %q, a rest, grants %v", s.format, rest, l.Addr)
				}
			}
		}
		line := "Nov 22 10:00:00 mx popd: user=" + user + " from 203.0.113.8"
		if l, ok := pattern.Parse(line); ok && l.Addr != actual {
			t.Errorf("%q grants %v", line, l.Addr)
		}
	})
}
