package dnscheck

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"
)

// slowly reads a record with the full zone parser; nil where it cannot.
func slowly(line string) dns.RR {
	parser := dns.NewZoneParser(strings.NewReader(line), ".", "")
	parser.SetDefaultTTL(zoneTTL)
	rr, _ := parser.Next()
	if parser.Err() != nil {
		return nil
	}
	return rr
}

// agree compares the two ways of reading a line, if it is plain.
func agree(t *testing.T, line string) (plain bool) {
	t.Helper()
	rr, plain := plainRecord(line)
	if !plain {
		return false
	}
	full := slowly(line)
	if full == nil {
		t.Errorf("%q: the zone parser refuses it", line)
		return true
	}
	full.Header().Name = dns.CanonicalName(full.Header().Name)
	got, want := strings.ToLower(rr.String()), strings.ToLower(full.String())
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%q (-zone parser +here):\n%s", line, diff)
	}
	return true
}

func TestPlainRecordsAreReadAsByTheZoneParser(t *testing.T) {
	for line, want := range map[string]bool{
		"mx.good.example. 300 IN A 203.0.113.5":                        true,
		"mx.good.example A 203.0.113.5":                                true,
		"MX.Good.Example.\tIN\tAAAA\t2001:db8::5":                      true,
		"mx.good.example. AAAA ::ffff:203.0.113.5":                     true,
		"5.113.0.203.in-addr.arpa. 0 IN PTR mx.good.example.":          true,
		"_x.good.example. 2147483647 PTR mx.good.example":              true,
		"good.example. 300 MX 10 mx.good.example.":                     true,
		"good.example. 300 MX 70000 mx.good.example.":                  false,
		"good.example. IN 300 A 203.0.113.5":                           false,
		"good.example. 1h A 203.0.113.5":                               false,
		"good.example. A 203.0.113.5 ; comment":                        false,
		"good.example. A 203.0.113.05":                                 false,
		"good.example. AAAA 203.0.113.5":                               false,
		"good.example. AAAA fe80::1%eth0":                              false,
		"good.example. A":                                              false,
		"good.example. TXT \"hi\"":                                     false,
		"good..example. A 203.0.113.5":                                 false,
		"goo\\d.example. A 203.0.113.5":                                false,
		"in A 203.0.113.5":                                             false,
		"good.example. CH A 203.0.113.5":                               false,
		"good.example. PTR .":                                          false,
		strings.Repeat("a", 64) + ".example. A 203.0.113.5":            false,
		strings.Repeat("a.", 127) + "example. A 203.0.113.5":           false,
		"good.example. A 203.0.113.5\nother.example. A 203.0.113.6":    false,
		"good.example. 4294967296 A 203.0.113.5":                       false,
		strings.Repeat("a", 63) + ".example. MX 65535 mx.good.example": true,
	} {
		if got := agree(t, line); got != want {
			t.Errorf("%q: plain %t, want %t", line, got, want)
		}
	}
}

// FuzzPlain: what is read as plain is what the zone parser reads.
func FuzzPlain(f *testing.F) {
	for _, line := range []string{"a.b. 1 IN A 192.0.2.1", "a.b AAAA ::1", "a.b. PTR c.d.", "a.b. MX 1 c.d"} {
		f.Add(line)
	}
	f.Fuzz(func(t *testing.T, line string) {
		if line == strings.TrimSpace(line) {
			agree(t, line)
		}
	})
}
