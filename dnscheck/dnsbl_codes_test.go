package dnscheck_test

import (
	"net/netip"
	"strings"
	"testing"

	"milterd/dnscheck"
)

func TestCodes(t *testing.T) {
	for _, test := range []struct{ code, in, out string }{
		{"127.0.0.2", "127.0.0.2", "127.0.0.3 127.0.1.2 127.1.0.2 128.0.0.2"},
		{"127.0.0.[4-7]", "127.0.0.4 127.0.0.5 127.0.0.7", "127.0.0.3 127.0.0.8 127.0.1.5"},
		{"127.0.[2-20].[1-3]", "127.0.2.1 127.0.20.3", "127.0.1.1 127.0.21.1 127.0.2.0 127.0.2.4"},
		{"127.0.0.2/31", "127.0.0.2 127.0.0.3", "127.0.0.1 127.0.0.4"},
		{"127.0.0.0/24", "127.0.0.2 127.0.0.200", "127.0.1.2"},
		{"127.0.0.8/32", "127.0.0.8", "127.0.0.9"},
		{"127.0.0.0/8", "127.200.3.4", "126.0.0.2 128.0.0.2"},
		{"127.0.2.0/23", "127.0.2.9 127.0.3.255", "127.0.1.9 127.0.4.0"},
		{"&4", "127.0.0.4 127.0.0.6 127.0.0.14", "127.0.0.2 127.0.0.8 127.0.1.4 10.0.0.4"},
		{"&6", "127.0.0.2 127.0.0.4 127.0.0.6", "127.0.0.8"},
	} {
		t.Run(test.code, func(t *testing.T) {
			code, err := dnscheck.ParseCode(test.code)
			if err != nil {
				t.Fatal(err)
			}
			if got := code.String(); got != test.code {
				t.Errorf("written as %s", got)
			}
			for _, answer := range strings.Fields(test.in) {
				if !code.Holds(netip.MustParseAddr(answer)) {
					t.Errorf("%s is not held", answer)
				}
			}
			for _, answer := range append(strings.Fields(test.out), "::1", "::ffff:127.0.0.2", "::2") {
				if code.Holds(netip.MustParseAddr(answer)) {
					t.Errorf("%s is held", answer)
				}
			}
		})
	}
	if (dnscheck.Code{}).Holds(netip.MustParseAddr("0.0.0.0")) {
		t.Error("the zero code holds an answer")
	}
}

func TestBadCodes(t *testing.T) {
	for _, test := range []struct{ code, want string }{
		{"", `list code "": expected four octets, such as 127.0.0.2 or 127.0.0.[4-7]`},
		{"127.0.0", `list code "127.0.0": expected four octets, such as 127.0.0.2 or 127.0.0.[4-7]`},
		{"127.0.0.02", `list code "127.0.0.02": "02": expected a number from 0 to 255`},
		{"127.0.0.256", `list code "127.0.0.256": "256": expected a number from 0 to 255`},
		{"127.0.0.+2", `list code "127.0.0.+2": "+2": expected a number from 0 to 255`},
		{"127.0.0.[4]", `list code "127.0.0.[4]": "[4]": expected a range such as [4-7]`},
		{"127.0.0.[4-7", `list code "127.0.0.[4-7": "[4-7": expected a range such as [4-7]`},
		{"127.0.0.[7-4]", `list code "127.0.0.[7-4]": "[7-4]": the range is empty`},
		{"127.0.0.[a-4]", `list code "127.0.0.[a-4]": "a": expected a number from 0 to 255`},
		{"127.0.0.[4-b]", `list code "127.0.0.[4-b]": "b": expected a number from 0 to 255`},
		{"127.0.0.[4-7]/31", `list code "127.0.0.[4-7]/31": expected either a range or a prefix length`},
		{"127.0.0.3/31", `list code "127.0.0.3/31": expected the first address of the network`},
		{"127.0.0.0/33", `list code "127.0.0.0/33": expected a prefix length from 8 to 32`},
		{"127.0.0.0/7", `list code "127.0.0.0/7": expected a prefix length from 8 to 32`},
		{"127.0.0.0/", `list code "127.0.0.0/": expected a prefix length from 8 to 32`},
		{"10.0.0.2", `list code "10.0.0.2": expected an answer in 127.0.0.0/8: no other one counts`},
		{"[126-127].0.0.2", `list code "[126-127].0.0.2": expected an answer in 127.0.0.0/8: no other one counts`},
		{"127.0.0.1", `list code "127.0.0.1": lists report errors with this answer: it never counts as a listing`},
		{"127.0.0.255", `list code "127.0.0.255": lists report errors with this answer: it never counts as a listing`},
		{"127.255.255.[252-255]", `list code "127.255.255.[252-255]": lists report errors with this answer: it never counts as a listing`},
		{"&0", `list code "&0": expected & and a number from 1 to 255`},
		{"&256", `list code "&256": expected & and a number from 1 to 255`},
		{"&", `list code "&": expected & and a number from 1 to 255`},
	} {
		_, err := dnscheck.ParseCode(test.code)
		if err == nil {
			t.Errorf("%q was taken", test.code)
			continue
		}
		if got := err.Error(); got != test.want {
			t.Errorf("got  %s\nwant %s", got, test.want)
		}
	}
}

func FuzzParseCode(f *testing.F) {
	for _, seed := range []string{"127.0.0.2", "127.0.0.[4-7]", "127.0.0.2/31", "&4", "127.[0-255].0.0", "127.0.0.0/8"} {
		f.Add(seed, []byte{127, 0, 0, 4})
	}
	f.Fuzz(func(t *testing.T, text string, answer []byte) {
		code, err := dnscheck.ParseCode(text)
		if err != nil {
			if code.Holds(netip.AddrFrom4([4]byte{127, 0, 0, 2})) {
				t.Errorf("%q is wrong, and what came of it holds an answer", text)
			}
			return
		}
		if addr, ok := netip.AddrFromSlice(answer); ok && code.Holds(addr) && (!addr.Is4() || addr.As4()[0] != 127) {
			t.Errorf("%q holds %s", text, addr)
		}
		again, err := dnscheck.ParseCode(code.String())
		if err != nil || again != code {
			t.Errorf("%q does not survive being written: %v %v", text, again, err)
		}
	})
}
