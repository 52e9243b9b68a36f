package policy

import (
	"strings"
	"testing"

	"milterd/policy/access"
)

// TestAddressTricksAreNotRelayed tries what spammers try on a host that takes
// mail for example.test and relayed.example.
func TestAddressTricksAreNotRelayed(t *testing.T) {
	p := fixture(t, table)
	stranger := client("203.0.113.8", "mail.good.example")
	for _, to := range []string{
		"x%other.example@example.test", "x%other.example@mx.example.test", "x%other.example@relayed.example",
		"other.example!x@example.test", "other.example!x@relayed.example", "other.example!x",
		"@example.test:x@other.example", "@relayed.example,@example.test:x@other.example",
		`"x@other.example"@example.test`, `"x@other.example"@relayed.example`, `"x%other.example"@example.test`,
		`"other.example!x"@relayed.example`, "x%other.example", "x@other.example@example.test",
		"x@[198.51.100.7]", "x@[IPv6:2001:db8::1]", "x%[198.51.100.7]@[203.0.113.25]",
		"x@OTHER.example.", "x@other.example..", "x%other.example.@EXAMPLE.TEST.",
		"x%other.example%example.test@example.test", "x(@example.test)@other.example", "x@other.example(@example.test)",
		"x@other.example(", "x@example.test@other.example", `x\@example.test@other.example`, "x@other.example,y@example.test",
		"x:@other.example", "x@example.test:25@other.example", "@", "@other.example", "x@", "%", "!", "x%", "!x", "",
		`a"x@other.example"%relayed.example`, `a"x@other.example"@relayed.example`, `a:"x%other.example"@relayed.example`,
		`"x%other.example"a@relayed.example`, `"x @other.example"@relayed.example`, `"<x@other.example>"@relayed.example`,
		`"other.example!x"+d@relayed.example`, `a"other.example!x"@sub.relayed.example`, `x\@other.example@relayed.example`,
		`x\%other.example@relayed.example`, `"x\@other.example"a@relayed.example`, `a"x@other.example"%relayed.example@example.test`,
		`a."x@other.example"@relayed.example`, `"a(b)@other.example"@relayed.example`,
		`"to:relayed.example:other.example:"@relayed.example`, `a"received:"other.example":".a@relayed.example`, `"host::x"@relayed.example`,
		`@localhost,other.example\.mx.example.test%relayed.example.:shin+@example.test`, `x@other.example:25`, "host::x@relayed.example",
		`@other.example.other.example,@other.example(b):"x"x".x(xxx@"other.example""%example.test(x)@relayed.example.`,
		`other.example!1\|ab@[203.0.113.25].,x`, `x+postmaster%[198.51.100.7]@[203.0.113.25],"example.test"!ab"received:[198.51.100.7]:"`,
		"x%other.example@[203.0.113.25],b", "x%other.example@example.test,b!a", `@"a:other.example:".b."to:relayed.example"@other.example\.localhost,mx.example.test!x%"example.test"@[203.0.113.25](b)`,
		"other.example!x%example.test", "x%example.test!other.example", `"x"%other.example@example.test`, "a b@relayed.example", "a. b@relayed.example", "x@other.example. relayed.example", "x@other.(c)relayed.example", "a(b)c@relayed.example",
		`x@"other.example".relayed.example`, "x@other+relayed.example", "x@other/relayed.example", "x@[other.example]relayed.example", "x@[a b]", "x@a]", "@:x@relayed.example",
		`@"relayed.example":x@relayed.example`, "@relayed.example,x@relayed.example", "x@\xe9.relayed.example", "a<b c<x@relayed.example>", "<x@relayed.example>y", "x,y@relayed.example",
		"x@notexample.test", "x@example.test.other.example", "x@relayed.example.other.example",
	} {
		for _, mailer := range []string{"esmtp", "relay", ""} {
			if to == "" {
				continue
			}
			if v := decide(p, stranger, Auth{}, "a@good.example", to, mailer); v.Action == ActionAccept {
				t.Errorf("%q by %q is accepted: %+v", to, mailer, v.Trace)
			}
		}
	}
	for _, to := range []string{
		"x@example.test", "x@EXAMPLE.TEST.", "x%example.test@mx.example.test", "mx.example.test!x@example.test",
		"@example.test:x@relayed.example", `"x y"@example.test`, `"x y"@relayed.example`, `a"b"@relayed.example`, `a"x@other.example"@example.test`, "x+detail@relayed.example", `"x, y"@relayed.example`, "x..y.@relayed.example", "/g=x/s=y/@relayed.example", "SRS0=a=b=other.example=x@relayed.example",
		"x'&*{}~|#$?^`@relayed.example", `"host:x"@example.test`, "x@é.relayed.example", "é@relayed.example", "=?utf-8?q?x=2Cy?=@relayed.example", "@a.example,@[192.0.2.1]:x@relayed.example", "x@[203.0.113.25]", "x@localhost", "x",
	} {
		if v := decide(p, stranger, Auth{}, "a@good.example", to, "esmtp"); v.Action != ActionAccept {
			t.Errorf("%q is refused: %s", to, v)
		}
	}
}

// TestAQuotedOperatorIsForTheEntitled: a client that may relay anywhere may write to
// any local part, and the entries of its domain count for it.
func TestAQuotedOperatorIsForTheEntitled(t *testing.T) {
	p := fixture(t, table+"To:closed.example REJECT\nTo:open.example RELAY\n")
	const to = `a"x@other.example"`
	if v := decide(p, client("192.0.2.1", "FAIL"), Auth{}, "a@good.example", to+"@relayed.example", "esmtp"); v.Action != ActionAccept {
		t.Error(v)
	}
	if v := decide(p, client("192.0.2.1", "FAIL"), Auth{}, "a@good.example", to+"@closed.example", "esmtp"); v.Check != "recipient" {
		t.Error(v)
	}
	if v := decide(p, client("203.0.113.8", "mail.good.example"), Auth{}, "a@good.example", to+"@open.example", "esmtp"); v.Check != "relay" {
		t.Error(v)
	}
}

// TestDisguisedAddressesAreLookedUp writes addresses in ways that no standard
// allows and that sendmail takes: none must slip past its entry.
func TestDisguisedAddressesAreLookedUp(t *testing.T) {
	p := fixture(t, table)
	good := client("203.0.113.8", "mail.good.example")
	for _, from := range []string{
		"spam()@good.example", "spam(x)@good.example", "(x)spam@good.example", "spam@good.example(x)", "spam@(c)good.example",
		"spam@good.example;", `"s"pam@good.example`, `"spam"(c)@good.example`, "<spam@good.example>", "x<spam@good.example>", "spam(a(b)c)@good.example",
		`spam(\))@good.example`, `"spam"@good.example`, "spam @ good.example", "SPAM@GOOD.EXAMPLE.", "@a.example:spam@good.example",
	} {
		if v := decide(p, good, Auth{}, from, "x@example.test", "local"); v.Check != "sender" || v.Reply.String() != "550 5.7.1 Access denied" {
			t.Errorf("from %q: %s", from, v)
		}
	}
	for _, to := range []string{
		"gone(x)@example.test", "gone@(c)example.test", "gone@example.test(c)", "<gone@example.test>", "gone@example.test;",
		`"g"one@example.test`, "gone%example.test@mx.example.test",
	} {
		if v := decide(p, good, Auth{}, "a@good.example", to, "local"); v.Check != "recipient" || v.Reply.Enhanced != "5.2.1" {
			t.Errorf("to %q: %s", to, v)
		}
	}
	for _, c := range []struct{ from, to, want string }{
		{"spam@good.example)", "x@example.test", "553 5.1.7 Sender address syntax is not supported"},
		{"a@good.example", "gone(@example.test", "553 5.1.3 Recipient address syntax is not supported"},
	} {
		if v := decide(p, good, Auth{}, c.from, c.to, "local"); v.Reply.String() != c.want {
			t.Errorf("%s to %s: %s, want %s", c.from, c.to, v, c.want)
		}
	}
	s := p.NewSession(good, nil)
	s.Mail(Auth{}, Mail{From: "spam)@good.example", Addr: "spam@good.example"})
	if v := s.Rcpt(Recipient{To: "x@example.test", Mailer: "local"}); v.Reply.String() != "550 5.7.1 Access denied" {
		t.Errorf("the MTA's reading of the sender: %s", v)
	}
}

func TestClassesKnowNoUnicodeAndNoEscapes(t *testing.T) {
	p := fixture(t, table)
	p.Relay = NewClass("bank.example")
	for _, to := range []string{"x@ban\u212a.example", `x@other.example\.bank.example`, "x@localho\u017ft", `x@"a".bank.example`} {
		if v := decide(p, client("203.0.113.8", "mail.good.example"), Auth{}, "a@good.example", to, "esmtp"); v.Action == ActionAccept {
			t.Errorf("%q: %s", to, v)
		}
	}
	if v := decide(p, client("203.0.113.8", `a\.bank.example`), Auth{}, "a@good.example", "x@other.example", "esmtp"); v.Action == ActionAccept {
		t.Errorf("client name with a backslash: %s", v)
	}
}

// FuzzRecipient holds the promise of the relay check: a stranger reaches nothing
// but our own and our relay domains, however an address is written.
func FuzzRecipient(f *testing.F) {
	for _, seed := range []string{"x@example.test", "a%b@c", `"a@b"@c`, "@a,@b:c@d", "a!b!c", "[", "a@[", `"`, `\`, "a@b@c", "<>", "x@relayed.example"} {
		f.Add(seed)
	}
	p := fixture(f, "Connect:192.0.2 RELAY\n")
	f.Fuzz(func(t *testing.T, to string) {
		if quick, ok := p.plain(to); ok {
			tokens, err := read(to)
			if err != nil {
				t.Fatalf("%q: %v", to, err)
			}
			if long, err := p.canonicalTokens(tokens, 0); err != nil || long.String() != quick.String() || long.domain != quick.domain {
				t.Errorf("%q: the quick way reads %q, the long way %q, %v", to, quick, long, err)
			}
		}
		v := decide(p, client("203.0.113.8", "mail.good.example"), Auth{}, "a@good.example", to, "esmtp")
		if to == "" || v.Action != ActionAccept {
			return
		}
		a, err := p.recipientAddress(&access.Search{Table: p.Access, Features: &p.Features}, to)
		if err != nil {
			t.Fatalf("%q is accepted but cannot be read: %v", to, err)
		}
		_, relayed := p.Relay.Suffix(a.domain)
		if a.domain != "" && !p.Local.Has(a.domain) && !relayed {
			t.Errorf("%q is accepted for %q", to, a.domain)
		}
		if local, err := dequote(a.local); err != nil || hostOperator(local) || quotedOperator(local) && !p.Local.Has(a.domain) && a.domain != "" {
			t.Errorf("%q is accepted with a further host in %q", to, a.local)
		}
		if strings.ContainsAny(v.String(), "\r\n") {
			t.Errorf("%q breaks the log line %q", to, v.String())
		}
	})
}

// TestLocalhostInOurOwnDomain has what ruleset 3 takes for this host: localhost . $m,
// and where there is no $m, localhost with a dot behind it.
func TestLocalhostInOurOwnDomain(t *testing.T) {
	for _, c := range []struct{ domain, address, want string }{
		{"example.test", "a@localhost", "mx.example.test"},
		{"example.test", "a@localhost.example.test", "mx.example.test"},
		{"example.test", "a@localhost.", "localhost"},
		{"example.test", "a@localhost.other.example", "localhost.other.example"},
		{"", "a@localhost", "mx.example.test"},
		{"", "a@localhost.", "mx.example.test"},
		{"", "a@LocalHost.", "mx.example.test"},
		{"", "a@localhost.example.test", "localhost.example.test"},
		{"", "a@mail.", "mail"},
	} {
		p := &Policy{Hostname: "mx.example.test", Domain: c.domain}
		got, err := p.canonical(c.address)
		if err != nil || got.domain != c.want {
			t.Errorf("$m %q: %s is at %q (%v), expected %q", c.domain, c.address, got.domain, err, c.want)
		}
	}
}

// TestAPlusSignWithinQuotesBeginsNoDetail has what sendmail looks up of an address for
// Spam: and From:, where it takes no quotes off.
func TestAPlusSignWithinQuotesBeginsNoDetail(t *testing.T) {
	table, _, err := access.Parse("access", strings.NewReader("bob@good.example OK\nbob@ RELAY\n"), access.Features{})
	if err != nil {
		t.Fatal(err)
	}
	for address, found := range map[string]bool{
		`bob+news@good.example`: true, `"bob+news"@good.example`: false, `"bob"@good.example`: true, `"bob"+news@good.example`: true,
		`"bob+news%x"@good.example`: false, `"bob+a"+b@good.example`: false, `"+bob"@good.example`: false,
	} {
		a, err := (&Policy{}).canonical(address)
		if err != nil {
			t.Fatal(err)
		}
		for _, item := range []access.Item{a.full(), a.user()} {
			search := access.Search{Table: table, Features: &access.Features{}}
			if got := search.List(access.From, item).Found(); got != found {
				t.Errorf("%s, look-up %c of %s: found %t, expected %t", address, item.Kind, item.Key, got, found)
			}
		}
	}
}

// TestQuotedCommentsAndBracketsHideNoHost: sendmail takes the quotes off, then the comment,
// and sends the rest on; or it does not, if what is quoted does not match.
func TestQuotedCommentsAndBracketsHideNoHost(t *testing.T) {
	p := &Policy{Local: NewClass("example.test")}
	for _, to := range []string{
		`"198.51.100.80(1)!postmaster@victim.example"@example.test`, `"x\>a@victim.example(x)"@example.test`,
		`"a<x@victim.example>"@example.test`, `"x(y)%victim.example"`,
	} {
		if a, err := p.canonical(to); err == nil && (a.domain == "" || p.Local.Has(a.domain)) {
			t.Errorf("%s is taken for an address of ours, %+v", to, a)
		}
	}
	if a, err := p.canonical(`"first (last)"@example.test`); err != nil || a.domain != "example.test" {
		t.Errorf("without an operator it is a user: %+v, %v", a, err)
	}
}
