package maillog

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestPattern(t *testing.T) {
	const teapop = `\w{3} [ \d]\d [\d:]{8} \S+ teapop\[\d+\]: Successful login for (?P<user>.*) from (?P<addr>[0-9a-f.:]+)`
	tests := []struct {
		name, pattern, line string
		want                Login
	}{
		{"name and address", teapop, "Nov 22 10:00:00 mx teapop[1]: Successful login for shin from 203.0.113.8", login("shin", "203.0.113.8")},
		{"an address alone", `login (?<addr>\S+)`, "login ::ffff:203.0.113.8", login("", "203.0.113.8")},
		{"the whole line and not a part of it", `login (?P<addr>[0-9.]+)`, "no login 203.0.113.8", Login{}},
		{"nor its beginning", `login (?P<addr>[0-9.]+)`, "login 203.0.113.8 failed", Login{}},
		{"alternatives are whole lines as well", `a (?P<addr>[0-9.]+)|b`, "x a 203.0.113.8", Login{}},
		{"no address in it", `login (?P<addr>.*)`, "login nowhere", Login{}},
		{"an address from an alternative that did not match", `login (?P<addr>[0-9.]+)|logout`, "logout", Login{}},
		{"a line with two readings", `.*from (?P<addr>[0-9.]+)( .*)?`, "login of a from 192.0.2.66 from 203.0.113.8", Login{}},
		{"two readings with the same address", teapop, "Nov 22 10:00:00 mx teapop[1]: Successful login for a from b from 203.0.113.8", login("a from b", "203.0.113.8")},
		{"a control character", `login (?P<user>.*) (?P<addr>\S+)`, "login a\x1b 203.0.113.8", Login{}},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			f, err := Pattern(tc.pattern)
			if err != nil {
				t.Fatal(err)
			}
			got, ok := f.Parse(tc.line)
			if diff := cmp.Diff(tc.want, got, compareAddrs); diff != "" && ok {
				t.Errorf("Parse (-want +got):\n%s", diff)
			}
			if ok != (tc.want != Login{}) {
				t.Errorf("Parse says %v", ok)
			}
		})
	}
}

func TestPatternsThatCannotWork(t *testing.T) {
	tests := []struct{ name, pattern, want string }{
		{"no group", `login \S+`, `login pattern "login \\S+" has no group addr, expected (?P<addr>…) around the client's address`},
		{"a group without a name", `login (\S+)`, `login pattern "login (\\S+)" has no group addr, expected (?P<addr>…) around the client's address`},
		{"not a regular expression", `(?P<addr>`, "login pattern: error parsing regexp: missing closing ): `^(?:(?P<addr>)$`"},
		{"not in RE2", `(?P<addr>a)\1`, "login pattern: error parsing regexp: invalid escape sequence: `\\1`"},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			_, err := Pattern(tc.pattern)
			if err == nil || err.Error() != tc.want {
				t.Errorf("got  %v\nwant %s", err, tc.want)
			}
		})
	}
}
