package record

import (
	"bytes"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"milterd/policy"
	"milterd/policy/access"
	"milterd/policy/replay"
)

var testKey = []byte("a key for tests, of some length")

// masked writes every token as T, so that only the form of a text counts.
func masked(s string) string {
	return regexp.MustCompile(`r[a-z2-7]{12}x*`).ReplaceAllString(s, "T")
}

func TestAnAddressKeepsItsFormAndItsHosts(t *testing.T) {
	for _, c := range []struct{ name, address, want string }{
		{"a local part", "shin@example.test", "T@example.test"},
		{"dots, plus and the like are part of it", "shin.x+tag/y=z@example.test", "T@example.test"},
		{"no domain", "shin", "T"},
		{"the null sender", "", ""},
		{"postmaster", "Postmaster@example.test", "Postmaster@example.test"},
		{"postmaster without a domain", "postmaster", "postmaster"},
		{"abuse", "abuse@[203.0.113.25]", "abuse@[203.0.113.25]"},
		{"not quite postmaster", "postmaster+shin@example.test", "T@example.test"},
		{"an address literal", "shin@[IPv6:2001:db8::8]", "T@[IPv6:2001:db8::8]"},
		{"a host behind percent", "shin%inner.example@example.test", "T%inner.example@example.test"},
		{"two of them", "shin%a%b.example@c", "T%a%b.example@c"},
		{"a bang path", "host.example!relay!shin", "host.example!relay!T"},
		{"a bang path at a domain", "host!shin@example.test", "host!T@example.test"},
		{"a route", "@a.example,@b.example:shin@c.example", "@a.example,@b.example:T@c.example"},
		{"a quoted local part", `"shin"@example.test`, `"T"@example.test`},
		{"a quoted operator", `"shin@other.example"@example.test`, `"T@other.example"@example.test`},
		{"quoted blanks", `"shin  who"@example.test`, `"T  T"@example.test`},
		{"a quoted quote", `"shin\"who"@example.test`, `"\T"@example.test`},
		{"an empty quoted string", `""@example.test`, `""@example.test`},
		{"a comment", "shin(Shin Who)@example.test", "T(T)@example.test"},
		{"a comment behind", "shin@example.test (Shin (Who))", "T@example.test (T)"},
		{"words behind", "shin@example.test Shin", "T@example.test T"},
		{"angle brackets", "Shin <shin@example.test>", "T <T@example.test>"},
		{"an escaped operator", `shin\@who@example.test`, `\T@example.test`},
		{"a lone backslash", `shin\`, `T\`},
		{"an open quote", `"shin@example.test`, `"T@example.test`},
		{"an open comment", "(shin", "(T"},
		{"a control character", "shin\x01who@example.test", "T\x01T@example.test"},
		{"octets that are not UTF-8", "sh\xe9n@example.test", "T@example.test"},
		{"a domain in another script", "shin@bücher.example", "T@bücher.example"},
		{"a name out of a certificate", "/emailAddress=shin@x.example/CN=Shin+20Who", "/T@x.example/T"},
		{"a slash behind the domain", "a@b.example/shin", "T@b.example/T"},
		{"an equals sign behind the domain", "a@b.example=shin", "T@b.example=T"},
		{"a plus sign behind the domain", "a@b.example+shin", "T@b.example+T"},
		{"a backslash behind the domain", `a@b.example\ shin`, `T@b.example\T`},
		{"a picture behind the domain", "a@b.example☃shin", "T@b.exampleT"},
		{"a person in front of percent and a host", "a%b+shin%c@d.example", "T%b+T%c@d.example"},
		{"a person in a path of hosts", "a/shin!b", "a/T!T"},
		{"a person behind many at signs", "@@@@shin@example.test", "@@@@T@example.test"},
		{"a person between two at signs", "a@shin.who@example.test", "T@T@example.test"},
		{"in brackets", "@[shin]@[IPv6:2001:db8::8]", "@[T]@[IPv6:2001:db8::8]"},
		{"in brackets with a colon", "@[IPv6:shin]@x.example", "@[T:T]@x.example"},
		{"a person behind an at sign and before a host", "a@shin%x.example", "T@T%x.example"},
		{"a person behind an at sign in a path", "a@shin!x.example", "T@T!T"},
		{"a person before an open bracket", "a@shin<b@x.example>", "T@T<T@x.example>"},
		{"between two at signs in quotes", `"a@shin@b"@x.example`, `"T@T@b"@x.example`},
	} {
		v := newRedactor(testKey).message()
		if got := masked(v.address(c.address)); got != c.want || !v.fits {
			t.Errorf("%s: %q becomes %q, want %q", c.name, c.address, got, c.want)
		}
	}
}

// Where a domain is followed by what may be a person, and that by what may be a
// domain, the message is left out.
func TestAnAddressThatCannotKeepItsFormIsLeftOut(t *testing.T) {
	for _, address := range []string{"a@b/shin.example.test", "a@b=shin.example.test", "a@b\xff", "a%b+shin.who@x.example", "shin.who<a@b>", "shin+x <a>", "+[shin=x]"} {
		v := newRedactor(testKey).message()
		if got := v.address(address); v.fits || strings.Contains(got, "shin") {
			t.Errorf("%q becomes %q, fits: %v", address, got, v.fits)
		}
	}
}

func TestIdentitiesOfAuthAreHidden(t *testing.T) {
	for _, c := range []struct{ mechanism, identity, want string }{
		{"PLAIN", "", ""}, {"EXTERNAL", "", ""}, {"PLAIN", "<>", "<>"},
		{"PLAIN", "shin", "T"}, {"PLAIN", "shin@x.example", "T@x.example"}, {"PLAIN", "<shin@x.example>", "<T@x.example>"},
		{"PLAIN", `"shin who"@x.example`, `"T T"@x.example`},
		{"external", "shin@x.example", "T"}, {"EXTERNAL", "CN=Shin Who,O=X", "T"},
		{"PLAIN", "/C=DE/CN=Shin+20Who/emailAddress=shin@x.example", "T"}, {"PLAIN", "/emailAddress=shin@x.example/CN=Shin+20Who", "T"},
		{"PLAIN", "@shin", "T"}, {"PLAIN", "shin@", "T"}, {"PLAIN", "a@b@shin", "T"}, {"PLAIN", "a%shin@x.example", "T"},
		{"PLAIN", "x.example!shin", "T"}, {"PLAIN", "Shin Who", "T"}, {"GSSAPI", "shin/admin@X.EXAMPLE", "T@X.EXAMPLE"},
		{"GSSAPI", "smtp@x.example/shin.who", "T"}, {"PLAIN", `"a@shin"@x.example`, "T"}, {"PLAIN", "\"shin", "T"}, {"PLAIN", "<shin", "<T"},
	} {
		v := newRedactor(testKey).message()
		got := v.auth(policy.Auth{Type: c.mechanism, Authen: c.identity, Author: c.identity})
		if masked(got.Authen) != c.want || masked(got.Author) != c.want || !v.fits {
			t.Errorf("%s %q becomes %q and %q, want %q", c.mechanism, c.identity, got.Authen, got.Author, c.want)
		}
	}
}

func TestTokensStandForTheSameText(t *testing.T) {
	a, other := newRedactor(testKey), newRedactor([]byte("another key, of some length"))
	if x, y := a.message().address("shin@x.example"), a.message().address("SHIN@y.example"); x[:13] != y[:13] {
		t.Errorf("one local part became %q and %q", x, y)
	}
	if x, y := a.token("shin"), a.token("shim"); x == y {
		t.Errorf("two local parts became %q", x)
	}
	if x, y := a.token("shin"), other.token("shin"); x == y {
		t.Errorf("with two keys a local part became %q", x)
	}
}

func TestArgumentsThatNamePeopleAreHidden(t *testing.T) {
	for _, c := range []struct{ arg, want string }{
		{"ORCPT=rfc822;shin+40example.test", "ORCPT=rfc822;T@example.test"},
		{`ORCPT=rfc822;"shin+20who"+40example.test`, `ORCPT=rfc822;"T+20T"@example.test`},
		{"orcpt=UTF-8;shin@example.test", "orcpt=UTF-8;T@example.test"},
		{"ORCPT=shin@example.test", "ORCPT=T"}, {"ORCPT=shin;a@example.test", "ORCPT=T"}, {"ORCPT=x400;/S=Shin", "ORCPT=T"},
		{"ORCPT=rfc822;+40shin", "ORCPT=rfc822;T"}, {"ORCPT=rfc822;a@b+20shin", "ORCPT=rfc822;T"}, {"ORCPT=rfc822;", "ORCPT=rfc822;"},
		{"AUTH=<>", "AUTH=<>"}, {"AUTH=shin+2Bx@example.test", "AUTH=T@example.test"}, {"AUTH=@shin", "AUTH=T"}, {"auth=+40shin", "auth=T"},
		{"ENVID=QQ314159", "ENVID=T"}, {"XPERSON=shin", "XPERSON=T"}, {"shin", "T"}, {"X=", "X="}, {"SIZE", "SIZE"},
		{"SIZE=shin", "SIZE=T"}, {"size=1 shin", "size=T"}, {"BODY=shin", "BODY=T"}, {"SMTPUTF8=shin", "SMTPUTF8=T"}, {"RET=shin", "RET=T"},
		{"NOTIFY=shin", "NOTIFY=T"}, {"NOTIFY=NEVER,shin", "NOTIFY=T"}, {"BY=shin", "BY=T"}, {"MT-PRIORITY=shin", "MT-PRIORITY=T"},
		{"HOLDFOR=shin", "HOLDFOR=T"}, {"HOLDUNTIL=shin", "HOLDUNTIL=T"}, {"RRVS=shin", "RRVS=T"}, {"REQUIRETLS=shin", "REQUIRETLS=T"},
	} {
		got := newRedactor(testKey).message().args([]string{c.arg})
		if masked(got[0]) != c.want {
			t.Errorf("%q becomes %q, want %q", c.arg, got[0], c.want)
		}
	}
	plain := []string{
		"SIZE=1000", "BODY=8BITMIME", "body=binarymime", "SMTPUTF8", "RET=HDRS", "NOTIFY=NEVER", "notify=success,Failure", "BY=-120;RT", "BY=120;n",
		"REQUIRETLS", "MT-PRIORITY=-3", "HOLDFOR=3600", "HOLDUNTIL=2026-11-22T17:00:00Z", "RRVS=2026-11-22T17:00:00+01:00;C",
	}
	if diff := cmp.Diff(plain, newRedactor(testKey).message().args(plain)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestCertificatesAreNotForKnowingPeople(t *testing.T) {
	for _, c := range []struct {
		name string
		tls  policy.TLS
		want replay.TLS
	}{
		{"no certificate", policy.TLS{Version: "TLSv1.3", Verify: "NO"}, replay.TLS{Version: "TLSv1.3", Verify: "NO"}},
		{"a verified one", policy.TLS{Verify: "OK", CertSubject: "/CN=shin", CertIssuer: "/CN=ca"}, replay.TLS{Verify: "OK", CertSubject: "T", CertIssuer: "/CN=ca"}},
		{"one that is not verified", policy.TLS{Verify: "FAIL", CertSubject: "/CN=shin", CertIssuer: "/CN=ca"}, replay.TLS{Verify: "FAIL", CertSubject: "T", CertIssuer: "T"}},
		{"a self-signed one", policy.TLS{Verify: "OK", CertSubject: "/CN=shin", CertIssuer: "/CN=shin"}, replay.TLS{Verify: "OK", CertSubject: "T", CertIssuer: "T"}},
	} {
		got := newRedactor(testKey).message().tls(c.tls)
		got.CertSubject, got.CertIssuer = masked(got.CertSubject), masked(got.CertIssuer)
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.name, diff)
		}
	}
}

func TestRepliesDoNotTellWhatIsHidden(t *testing.T) {
	for _, c := range []struct{ name, address, reply, want string }{
		{"nothing in it", "shin@x.example", "Relaying denied", "Relaying denied"},
		{"the address", "shin@x.example", "<shin@x.example> denied", "<T@x.example> denied"},
		{"the local part alone", "shin@x.example", "shin is gone", ""},
		{"the local part in other letters", "shin@x.example", "No Shin.", ""},
		{"a word that has it in it", "deni@x.example", "Relaying denied", "Relaying denied"},
		{"a word that is one", "denied@x.example", "Relaying denied", ""},
		{"another address that ends like it", "a@x.example", "ba@x.example", "ba@x.example"},
		{"a control character", "\x1ba@x.example", "<?a@x.example>", "<?T@x.example>"},
		{"octets that are not UTF-8", "", "gone \xe9", ""},
	} {
		v := newRedactor(testKey).message()
		v.address(c.address)
		x := v.expect(policy.StageRcpt, "", verdict{action: policy.ActionReject, reply: policy.Reply{Text: c.reply}})
		if got := masked(x.Reply); got != c.want || x.Action != "reject" {
			t.Errorf("%s: %q, %s, want %q", c.name, got, x.Action, c.want)
		}
	}
}

func TestHostsOfMailersAreHostsOnly(t *testing.T) {
	for _, c := range []struct{ host, want string }{
		{"", ""}, {"other.example.", "other.example."}, {"[203.0.113.5]", "[203.0.113.5]"},
		{"tag", "T"}, {"+shin", "T"}, {"/home/shin/.procmailrc", "T"}, {"shin.who", "T"}, {"who.tag", "T"},
	} {
		v := newRedactor(testKey).message()
		v.address("shin.who.tag@example.test")
		if got := masked(v.host(c.host)); got != c.want {
			t.Errorf("%q becomes %q, want %q", c.host, got, c.want)
		}
	}
}

// drawAddress makes what a client may say in place of an address.
func drawAddress(rt *rapid.T, name string) string {
	piece := rapid.SampledFrom([]string{
		"shin", "a", "b.c", "@", "@", "@example.test", "@other.example", "%", "!", "x.example", "relayed.example", ",", ":", ";", "<", ">", "[", "]", "203.0.113.5",
		"\"", "(", ")", "\\", " ", "\t", "\x01", "ü", ".", "..", "+", "/", "=", "postmaster", "localhost", strings.Repeat("long", 100),
	})
	return strings.Join(rapid.SliceOfN(piece, 0, 9).Draw(rt, name), "")
}

// impersonal gives a policy a table without rules about single people.
func impersonal(t testing.TB, p *policy.Policy) *policy.Policy {
	t.Helper()
	parsed, _, err := access.Parse("access", strings.NewReader("To:relayed.example RELAY\nFrom:other.example REJECT\nTo:x.example DISCARD\n"), p.Features)
	if err != nil {
		t.Fatal(err)
	}
	p.Access = parsed
	return p
}

// TestRedactionDecidesNothing: where no rule is about a single person, a policy judges
// redacted addresses as it does the real ones.
func TestRedactionDecidesNothing(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		p := impersonal(t, drawPolicy(rt, t))
		r := newRecorder(withDefaults(t, Config{Dir: "/nowhere", Redact: true, Key: testKey}))
		conn, e := begin(r, p, drawClient(rt), nil)
		e.Helo(rapid.SampledFrom([]string{"client.example", drawAddress(rt, "helo")}).Draw(rt, "which helo"), policy.TLS{})
		for range 3 {
			from := drawAddress(rt, "from")
			if v := e.Mail(policy.Auth{}, policy.Mail{From: from, Addr: from}); !goes(v) {
				continue
			}
			taken, lost := false, false
			for range 2 {
				to := drawAddress(rt, "to")
				v := e.Rcpt(policy.Recipient{To: to, Addr: to, Mailer: "esmtp"})
				if lost = v.Action == policy.ActionDiscard; lost {
					break
				}
				taken = taken || goes(v)
			}
			if taken && !lost {
				e.EndOfMessage(nil)
			}
		}
		conn.Close()
		recording := written(t, r)
		if found := differences(p, parse(t, recording), nil); len(found) > 0 {
			rt.Fatalf("%s\n%q", recording, found)
		}
	})
}

// TestNothingPrivateIsInARedactedRecording looks for every name that was used.
func TestNothingPrivateIsInARedactedRecording(t *testing.T) {
	people := []string{"shin", "hanako", "first.last", "taro", "keiko", "jiro", "envelope77", "sub-ject", "issuing", "detail", "saburo", "naoko", "subjectline", "orcpt.person", "authparam", "helo.person", "mid.person"}
	p := fixture(t, access.Features{DelayChecks: true, BlocklistRecipients: true})
	p.Checks.Relay.Deny = reply(t, "550 5.7.1 {helo}: {sender} may not write to {recipient}")
	dir := t.TempDir()
	r := open(t, Config{Dir: dir, Redact: true, Key: testKey, AllHeaders: true, Headers: []string{"Subject"}, Compress: None})
	conn, e := begin(r, p, client("203.0.113.8"), nil)
	e.Helo("Helo.Person@example.test", policy.TLS{Version: "TLSv1.3", Verify: "FAIL", CertSubject: "/CN=sub-ject", CertIssuer: "/CN=issuing"})
	for _, auth := range []policy.Auth{{}, {Type: "LOGIN", Authen: "taro@mx.example.test", Author: "<keiko@example.test>"}, {Type: "LOGIN", Authen: "jiro"}} {
		for _, from := range []string{"shin@good.example", "HANAKO@good.example", "shin", "\"first.last\"@good.example", "@@mid.person@good.example"} {
			e.Mail(auth, policy.Mail{From: from, Args: []string{"ENVID=envelope77", "AUTH=authparam+40example.test"}, Mailer: "esmtp", Host: "good.example", Addr: from})
			e.Rcpt(policy.Recipient{To: "naoko@example.test", Args: []string{"ORCPT=rfc822;orcpt.person@example.test"}, Mailer: "local", Host: "detail", Addr: "naoko+detail"})
			e.Rcpt(policy.Recipient{To: "saburo@other.example", Mailer: "esmtp"})
			e.Rcpt(policy.Recipient{To: "saburo%other.example@example.test", Mailer: "esmtp"})
			e.EndOfMessage([]policy.HeaderField{{Name: "Subject", Value: "subjectline"}, {Name: "From", Value: "Shin <shin@good.example>"}})
		}
	}
	conn.Close()
	finish(t, r)

	recording := content(t, dir)
	for _, who := range people {
		if bytes.Contains(bytes.ToLower(recording), []byte(who)) {
			t.Errorf("%s is in the recording", who)
		}
	}
	read := parse(t, recording)
	if len(read) != 3 {
		t.Errorf("%d sessions", len(read))
	}
	if found := differences(p, read, nil); len(found) > 0 {
		t.Errorf("differences: %q", found)
	}
	replies := 0
	for _, x := range read[0].Expect {
		if strings.Contains(x.Reply, "may not write to") || strings.Contains(x.Reply, "Relaying denied") {
			replies++
		}
	}
	if replies == 0 {
		t.Error("no reply is expected, so that none was compared")
	}
}

// FuzzRecord: whatever a client says, a recording of it can be read and replays
// without a difference, and does not tell its local part when it is redacted.
func FuzzRecord(f *testing.F) {
	for _, from := range senders {
		f.Add(from, "client.example", "shin@example.test", true)
		f.Add("a@good.example", from, from, false)
	}
	f.Add("\xff@x", "\xff", "\xff", true)
	p := impersonal(f, fixture(f, access.Features{DelayChecks: true}))
	f.Fuzz(func(t *testing.T, address, helo, identity string, redact bool) {
		r := newRecorder(withDefaults(t, Config{Dir: "/nowhere", Redact: redact, Key: testKey, AllHeaders: true}))
		conn, e := begin(r, p, client("203.0.113.8"), nil)
		e.Helo(helo, policy.TLS{})
		for _, from := range []string{address, "zzprivatezz@" + identity} {
			if goes(e.Mail(policy.Auth{Type: "LOGIN", Authen: identity}, policy.Mail{From: from, Addr: address})) {
				if v := e.Rcpt(policy.Recipient{To: from, Mailer: "local"}); goes(v) {
					e.EndOfMessage([]policy.HeaderField{{Name: "Subject", Value: address}})
				}
			}
		}
		conn.Close()
		recording := written(t, r)
		if redact && bytes.Contains(recording, []byte("zzprivatezz")) && !strings.Contains(address+helo+identity, "zzprivatezz") {
			t.Errorf("a local part is in the recording: %s", recording)
		}
		read := parse(t, recording)
		if !redact && valid(address, helo, identity) && len(read) == 0 {
			t.Error("nothing was recorded")
		}
		if found := differences(p, read, nil); len(found) > 0 {
			t.Errorf("%q", found)
		}
	})
}

// TestTextsOfTheTableAreNotInARedactedRecording has an access table that writes about
// people in every entry that can.
func TestTextsOfTheTableAreNotInARedactedRecording(t *testing.T) {
	p := fixture(t, access.Features{DelayChecks: true, BlocklistRecipients: true})
	parsed, _, err := access.Parse("access", strings.NewReader(`From:held.example QUARANTINE:ask Midori about it
From:lost.example ERROR:5.7.1:550 Naoko has sold her domain
From:slow.example ERROR:4.7.1:450 wait for Saburo
From:odd.example 550 call Takeshi
To:kept.test QUARANTINE:Yumiko reads this
To:gone.test ERROR:5.1.1:550 now at hiroshi@other.example
To:busy.test 450 Kenta is away
Connect:198.51.100.7 ERROR:5.7.1:550 Ayumi runs this host
`), p.Features)
	if err != nil {
		t.Fatal(err)
	}
	p.Access = parsed
	people := []string{"Midori", "Naoko", "Saburo", "Takeshi", "Yumiko", "hiroshi", "Kenta", "Ayumi"}
	for _, redact := range []bool{false, true} {
		r := newRecorder(withDefaults(t, Config{Dir: "/nowhere", Redact: redact, Key: testKey}))
		for _, addr := range []string{"203.0.113.8", "198.51.100.7"} {
			conn, e := begin(r, p, client(addr), nil)
			for _, from := range []string{"a@held.example", "a@lost.example", "a@slow.example", "a@odd.example", "a@good.example"} {
				e.Mail(policy.Auth{}, policy.Mail{From: from})
				for _, to := range []string{"x@example.test", "x@kept.test", "x@gone.test", "x@busy.test"} {
					e.Rcpt(policy.Recipient{To: to, Mailer: "local"})
				}
				e.EndOfMessage(nil)
			}
			conn.Close()
		}
		recording := written(t, r)
		for _, who := range people {
			if got := bytes.Contains(recording, []byte(who)); got == redact {
				t.Errorf("redacted %v: %s is in the recording: %v", redact, who, got)
			}
		}
		actions := bytes.Count(recording, []byte(`"action":"quarantine"`)) + bytes.Count(recording, []byte(`"action":"reject"`))
		if found := differences(p, parse(t, recording), nil); len(found) > 0 || actions < 10 {
			t.Errorf("redacted %v: %d refusals and quarantines, differences: %q", redact, actions, found)
		}
	}
}
