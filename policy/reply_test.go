package policy

import (
	"strings"
	"testing"
)

func TestReplies(t *testing.T) {
	for text, want := range map[string]string{
		"550 5.7.1 Access denied":                        "",
		"450 4.7.25 Cannot resolve {addr}":               "",
		"250 2.0.0 Ok":                                   "code from 400 to 599",
		"550 Access denied":                              "expected an enhanced code",
		"550 4.7.1 Access denied":                        "not of the class",
		"550 5.7.1":                                      "expected a text",
		"550 5.7.1 two\r\nlines":                         "on one line",
		"5500 5.7.1 x":                                   "code from 400",
		"550 5.7.1 " + strings.Repeat("x", 520):          "510 at most",
		"550 5.7777.1 Access denied":                     "expected an enhanced code",
		"550 5.7.1 {address} is not a placeholder":       "not a placeholder",
		"550 5.7.1 {addr is not closed":                  "{ without }",
		"550 5.7.1 {sender} {recipient} {helo} {ptr} ok": "",
	} {
		_, err := ParseReply(text)
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%.40q: %v, want %q", text, err, want)
		}
	}
}

func TestClassesMatchWholeTokens(t *testing.T) {
	c := NewClass("Example.com", "203.0.113", "IPv6:2001:db8")
	for name, want := range map[string]bool{"example.com": true, "host.EXAMPLE.com": true, "badexample.com": false, "com": false, "example.com.x": false} {
		if _, ok := c.Suffix(name); ok != want {
			t.Errorf("Suffix(%q) = %v", name, ok)
		}
	}
	for addr, want := range map[string]bool{"203.0.113.8": true, "203.0.1138": false, "203.0.11": false, "IPv6:2001:db8:0:0:0:0:0:1": true, "IPv6:2001:db80:0:0:0:0:0:1": false} {
		if _, ok := c.Prefix(addr); ok != want {
			t.Errorf("Prefix(%q) = %v", addr, ok)
		}
	}
}
