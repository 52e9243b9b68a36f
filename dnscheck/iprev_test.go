package dnscheck_test

import (
	"context"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"milterd/dnscheck"
)

// clients are the hosts of the iprev tests.
var clients = func() []string {
	lines := []string{
		"5.113.0.203.in-addr.arpa. PTR mx.good.example.",
		"mx.good.example. A 203.0.113.5",
		"mx.good.example. AAAA SERVFAIL",
		"6.113.0.203.in-addr.arpa. PTR forged.example.",
		"forged.example. A 203.0.113.99",
		"7.113.0.203.in-addr.arpa. NXDOMAIN",
		"8.113.0.203.in-addr.arpa. SERVFAIL",
		"9.113.0.203.in-addr.arpa. TIMEOUT",
		"10.113.0.203.in-addr.arpa. PTR wrong.example.",
		"10.113.0.203.in-addr.arpa. PTR right.example.",
		"wrong.example. A 203.0.113.99",
		"right.example. A 203.0.113.98",
		"right.example. A 203.0.113.10",
		"11.113.0.203.in-addr.arpa. PTR right11.example.",
		"11.113.0.203.in-addr.arpa. PTR dead.example.",
		"right11.example. A 203.0.113.11",
		"dead.example. TIMEOUT",
		"12.113.0.203.in-addr.arpa. PTR wrong.example.",
		"12.113.0.203.in-addr.arpa. PTR dead.example.",
		"13.113.0.203.in-addr.arpa. PTR nowhere.example.",
		"13.113.0.203.in-addr.arpa. PTR v6only.example.",
		"nowhere.example. NXDOMAIN",
		"v6only.example. AAAA 2001:db8::d",
		"v6only.example. A NODATA",
		"14.113.0.203.in-addr.arpa. PTR localhost.",
		"14.113.0.203.in-addr.arpa. PTR 203.0.113.14.",
		`14.113.0.203.in-addr.arpa. PTR a\032b.example.`,
		`14.113.0.203.in-addr.arpa. PTR *.example.`,
		"15.113.0.203.in-addr.arpa. PTR many-00.example.",
		"16.113.0.203.in-addr.arpa. CNAME 16.sub.example.",
		"16.sub.example. PTR mail16.example.",
		"mail16.example. CNAME real16.example.",
		"real16.example. A 203.0.113.16",
		"17.113.0.203.in-addr.arpa. NODATA",
		"8.b.d.0.1.0.0.2.ip6.arpa. NODATA",
		"5.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa. PTR mx6.good.example.",
		"mx6.good.example. AAAA 2001:db8::5",
		"mx6.good.example. A SERVFAIL",
		"6.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa. NXDOMAIN",
	}
	for i := range 15 {
		name := fmt.Sprintf("many-%02d.example.", i)
		lines = append(lines, "15.113.0.203.in-addr.arpa. PTR "+name)
		lines = append(lines, name+" A "+map[bool]string{true: "203.0.113.15", false: "203.0.113.99"}[i >= 10])
	}
	return lines
}()

var iprevs = []struct{ name, addr, want string }{
	{"one name that leads back", "203.0.113.5", "iprev pass: mx.good.example confirmed"},
	{"an IPv6 address", "2001:db8::5", "iprev pass: mx6.good.example confirmed"},
	{"a mapped IPv4 address is an IPv4 address", "::ffff:203.0.113.5", "iprev pass: mx.good.example confirmed"},
	{"one name that leads elsewhere", "203.0.113.6", "iprev fail: forged.example other address"},
	{"no name", "203.0.113.7", "iprev permerror"},
	{"no PTR record", "203.0.113.17", "iprev permerror"},
	{"no name of an IPv6 address", "2001:db8::6", "iprev permerror"},
	{"the PTR look-up fails", "203.0.113.8", "iprev temperror: PTR: server failure"},
	{"the PTR look-up has no answer", "203.0.113.9", "iprev temperror: PTR: no answer in time"},
	{"the second name leads back", "203.0.113.10", "iprev pass: right.example confirmed, wrong.example other address"},
	{"one name leads back and another has no answer", "203.0.113.11", "iprev pass: dead.example no answer, right11.example confirmed"},
	{"no name leads back and one has no answer", "203.0.113.12", "iprev temperror: dead.example no answer, wrong.example other address"},
	{"names without an address of the family", "203.0.113.13", "iprev fail: nowhere.example no address, v6only.example no address"},
	{"names that no host can have", "203.0.113.14", `iprev fail: *.example. not a host name, 203.0.113.14. not a host name, a\ b.example. not a host name, localhost. not a host name`},
	{"aliases on both ways", "203.0.113.16", "iprev pass: mail16.example confirmed"},
	{"more names than are looked at", "203.0.113.15", "iprev fail: many-00.example other address, many-01.example other address, " +
		"many-02.example other address, many-03.example other address, many-04.example other address, many-05.example other address, " +
		"many-06.example other address, many-07.example other address, many-08.example other address, many-09.example other address, 5 more not looked at"},
}

func TestIPRev(t *testing.T) {
	s := serve(t, clients...)
	live := dial(t, s, dnscheck.Config{TryTimeout: silence, Attempts: 1})
	frozen := freeze(t, clients...)
	for _, test := range iprevs {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			recorder := dnscheck.NewRecorder(live)
			addr := netip.MustParseAddr(test.addr)
			if got := dnscheck.CheckIPRev(withPatience(t), recorder, addr).String(); got != test.want {
				t.Errorf("live:\ngot  %s\nwant %s", got, test.want)
			}
			if got := dnscheck.CheckIPRev(context.Background(), frozen, addr).String(); got != test.want {
				t.Errorf("frozen:\ngot  %s\nwant %s", got, test.want)
			}
			if got := dnscheck.CheckIPRev(context.Background(), freeze(t, recorder.Lines()...), addr).String(); got != test.want {
				t.Errorf("replayed:\ngot  %s\nwant %s", got, test.want)
			}
		})
	}
}

func TestIPRevOfNoAddress(t *testing.T) {
	if got := dnscheck.CheckIPRev(context.Background(), freeze(t), netip.Addr{}).Status; got != dnscheck.IPRevPermError {
		t.Errorf("got %v, want permerror", got)
	}
}

// The names of a client are asked for at the same time: with five of them and a
// delay on each the check takes about as long as with one.
func TestIPRevAsksForAllNamesAtOnce(t *testing.T) {
	const delay = "DELAY=200ms"
	lines := []string{"5.113.0.203.in-addr.arpa. PTR one.example.", "one.example. A 203.0.113.5", "one.example. " + delay}
	for i := range 5 {
		name := fmt.Sprintf("n%d.example.", i)
		lines = append(lines, "6.113.0.203.in-addr.arpa. PTR "+name, name+" A 203.0.113.6", name+" "+delay)
	}
	c := dial(t, serve(t, lines...), dnscheck.Config{})
	took := func(addr string) time.Duration {
		begin := time.Now()
		if got := dnscheck.CheckIPRev(withPatience(t), c, netip.MustParseAddr(addr)); got.Status != dnscheck.IPRevPass {
			t.Fatal(got)
		}
		return time.Since(begin)
	}
	one, five := took("203.0.113.5"), took("203.0.113.6")
	if five > 3*one {
		t.Errorf("five names took %v, one took %v", five, one)
	}
}

func TestGenericNames(t *testing.T) {
	builtin, err := dnscheck.NewGeneric(true, nil)
	if err != nil {
		t.Fatal(err)
	}
	own, err := dnscheck.NewGeneric(false, []string{`^h\d+\.isp\.example$`})
	if err != nil {
		t.Fatal(err)
	}
	v4, v6 := "203.0.113.8", "2001:db8::1234:5678:9abc:def0"
	for _, test := range []struct {
		name  string
		rules *dnscheck.Generic
		addr  string
		names []string
		want  string
	}{
		{"the address with hyphens", builtin, v4, []string{"203-0-113-8.isp.example"}, "address"},
		{"the address backwards", builtin, v4, []string{"8.113.0.203.rev.isp.example"}, "address"},
		{"the address padded with zeros", builtin, v4, []string{"c203000113008.isp.example"}, "address"},
		{"the address in hexadecimal", builtin, v4, []string{"host-cb007108.isp.example"}, "address"},
		{"the tail of an IPv6 address", builtin, v6, []string{"1234-5678-9abc-def0.isp.example"}, "address"},
		{"a long hexadecimal label", builtin, v4, []string{"5ad3f001.isp.example"}, "hexadecimal"},
		{"several numbers", builtin, v4, []string{"a1-2-3.isp.example"}, "numbers"},
		{"several numbers in two labels", builtin, v4, []string{"p7.c12-4.isp.example"}, "numbers"},
		{"a numbered access line", builtin, v4, []string{"line7.adsl.isp.example"}, "access"},
		{"upper case and a final dot", builtin, v4, []string{"P7.DSL.isp.example."}, "access"},
		{"a server", builtin, v4, []string{"mx.good.example"}, ""},
		{"a numbered server", builtin, v4, []string{"mx2.good.example"}, ""},
		{"a word inside another is none", builtin, v4, []string{"mail1.carpooling.isp.example"}, ""},
		{"a hexadecimal word without a digit is a word", builtin, v4, []string{"deadbeef.isp.example"}, ""},
		{"one name of two is chosen", builtin, v4, []string{"203-0-113-8.isp.example", "mx.good.example"}, ""},
		{"both names are generic", builtin, v4, []string{"203-0-113-8.isp.example", "p7.dsl.isp.example"}, "address"},
		{"no name", builtin, v4, nil, ""},
		{"a pattern of the administrator's", own, v4, []string{"h12.isp.example"}, `^h\d+\.isp\.example$`},
		{"without the built-in rules", own, v4, []string{"203-0-113-8.isp.example"}, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			matches, generic := test.rules.Check(netip.MustParseAddr(test.addr), test.names)
			got := ""
			if generic {
				got = matches[0].Rule
			}
			if got != test.want || generic != (len(matches) > 0) {
				t.Errorf("got %q (%v), want %q", got, matches, test.want)
			}
		})
	}
}

func TestGenericRefusesBadPatterns(t *testing.T) {
	for _, text := range []string{"", "(", string(make([]byte, 2000))} {
		if _, err := dnscheck.NewGeneric(false, []string{text}); err == nil {
			t.Errorf("pattern %.20q was taken", text)
		}
	}
	if _, err := dnscheck.NewGeneric(false, make([]string, 1000)); err == nil {
		t.Error("1000 patterns were taken")
	}
}
