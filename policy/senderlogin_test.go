package policy

import (
	"strings"
	"testing"
)

// rules reads rules for every login.
func rules(t *testing.T, texts ...string) []SenderRule {
	t.Helper()
	var all []SenderRule
	for _, text := range texts {
		r, err := ParseSenderRule(text)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, r)
	}
	return all
}

// loginRules reads rules of one login, a line each.
func loginRules(t *testing.T, texts ...string) []SenderRule {
	t.Helper()
	var all []SenderRule
	for i, text := range texts {
		r, err := ParseLoginRule(text, i+1)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, r)
	}
	return all
}

// sendsAs says what becomes of one recipient of a client's mail.
func sendsAs(p *Policy, c Connection, auth Auth, from string, a Answers) Verdict {
	s := p.NewSession(c, a)
	defer s.Close()
	s.Helo("client.example", TLS{})
	if v := s.Mail(auth, Mail{From: from}); v.Action != ActionAccept {
		return v
	}
	return s.Rcpt(Recipient{To: "x@example.test", Mailer: "local"})
}

// short is a verdict as tests expect it.
func short(v Verdict) string {
	return strings.TrimSpace(string(v.Action) + " " + v.Reply.String())
}

func loggedIn(login string) Auth { return Auth{Type: "PLAIN", Authen: login} }

func TestALoginSendsAsItsOwnAddresses(t *testing.T) {
	p := fixture(t, table)
	p.Hostname, p.Realms = "mx.example.test", Domains{Local: true, Relay: true, Names: NewClass("good.example")}
	const ok, no = "accept", "reject 553 5.7.1 not yours"
	for _, c := range []struct {
		name, login, from string
		allow             []string
		want              string
	}{
		{"the login is the address", "shin@good.example", "shin@good.example", []string{"{login}"}, ok},
		{"case does not count in addresses", "Shin@Good.example", "sHIN@good.EXAMPLE", []string{"{login}"}, ok},
		{"another address of the same domain", "shin@good.example", "ceo@good.example", []string{"{login}"}, no},
		{"another domain", "shin@good.example", "shin@other.example", []string{"{login}"}, no},
		{"a detail is the same person", "shin@good.example", "shin+list@good.example", []string{"{login}"}, ok},
		{"a quoted plus sign begins no detail", "shin@good.example", `"shin+list"@good.example`, []string{"{login}"}, no},
		{"a login with a detail is not the one without", "shin+2Blist@good.example", "shin@good.example", []string{"{login}"}, no},
		{"sendmail writes a plus sign as +2B", "shin+2Blist@good.example", "shin+list@good.example", []string{"{login}"}, ok},
		{"a login without a realm is of this host", "shin", "shin@mx.example.test", []string{"{login}"}, ok},
		{"a sender without a domain is of this host", "shin", "shin", []string{"{login}"}, ok},
		{"localhost is this host", "shin", "shin@localhost", []string{"{login}"}, ok},
		{"a login at a domain", "shin", "shin@good.example", []string{"{login}@good.example"}, ok},
		{"somebody else at that domain", "shin", "ceo@good.example", []string{"{login}@good.example"}, no},
		{"the realm that SASL adds", "shin@mx.example.test", "shin@good.example", []string{"{login}@good.example"}, ok},
		{"the realm is the domain", "shin@Good.example", "shin@good.example", []string{"{login}@good.example"}, ok},
		{"another realm is another person", "shin@other.example", "shin@good.example", []string{"{login}@good.example"}, no},
		{"an @ more", "shin@good.example@mx.example.test", "shin@good.example", []string{"{login}@good.example"}, no},
		{"an address within a login", "a@good.example@x", "a@good.example", []string{"{login}", "{login}@good.example"}, no},
		{"an empty name before the realm", "@mx.example.test", "shin@good.example", []string{"{login}@good.example"}, no},
		{"all of a domain", "shin", "anybody@good.example", []string{"@good.example"}, ok},
		{"not what is below it", "shin", "anybody@sub.good.example", []string{"@good.example"}, no},
		{"not what ends so", "shin", "anybody@nogood.example", []string{"@good.example"}, no},
		{"one address for all", "shin", "info@good.example", []string{"info@good.example"}, ok},
		{"one of several rules", "shin", "info@good.example", []string{"{login}", "info@good.example"}, ok},
		{"a source route hides nothing", "shin", "@relay.example:ceo@good.example", []string{"{login}@good.example"}, no},
		{"a host of ours is taken off", "shin", "ceo%good.example@example.test", []string{"{login}@good.example", "@example.test"}, no},
		{"an operator hides nothing", "shin", "shin@good.example@other.example", []string{"{login}@good.example"}, no},
		{"what cannot be read is not the login's", "shin", "a@b@", []string{"@b"}, no},
		{"a login that is not known", "", "info@good.example", []string{"info@good.example"}, no},
		{"a login of control characters", "+00+0D+0A", "shin@good.example", []string{"{login}", "{login}@good.example"}, no},
		{"a long login", strings.Repeat("x", 10_000), "shin@good.example", []string{"{login}", "{login}@good.example"}, no},
		{"an untrusted mechanism is a login, too", "shin", "ceo@good.example", []string{"{login}@good.example"}, no},
	} {
		t.Run(c.name, func(t *testing.T) {
			p.Checks.SenderLogin = SenderLoginCheck{Mode: ModeEnforce, Allow: rules(t, c.allow...), Reply: reply(t, "553 5.7.1 not yours")}
			auth := loggedIn(c.login)
			if strings.Contains(c.name, "untrusted") {
				auth.Type = "OTP"
			}
			if got := short(sendsAs(p, client("203.0.113.8", "mail.good.example"), auth, c.from, nil)); got != c.want {
				t.Errorf("%s as %s: %s, expected %s", c.login, c.from, got, c.want)
			}
		})
	}
}

func TestTheNullSenderOfALogin(t *testing.T) {
	p := fixture(t, table)
	for _, taken := range []bool{true, false} {
		p.Checks.SenderLogin = SenderLoginCheck{Mode: ModeEnforce, Allow: rules(t, "{login}"), NullSender: taken, Reply: reply(t, "553 5.7.1 not yours")}
		v := sendsAs(p, client("203.0.113.8", "mail.good.example"), plain, "", nil)
		if taken != (v.Action == ActionAccept) || !taken && v.Rule != "checks.sender_login.null_sender" {
			t.Errorf("null_sender: %t: %v", taken, v)
		}
	}
}

func TestAddressesOfSingleLogins(t *testing.T) {
	p := fixture(t, table)
	p.Hostname = "mx.example.test"
	p.Checks.SenderLogin = SenderLoginCheck{Mode: ModeEnforce, File: "senders", Reply: reply(t, "553 5.7.1 not yours"), Logins: map[string][]SenderRule{
		"shin":             loginRules(t, "shin@good.example", "@lists.example"),
		"bo@other.example": loginRules(t, "*"),
		"a+b":              loginRules(t, "ab@good.example"),
		"/CN=Shin Oka":     loginRules(t, "oka@good.example"),
	}}
	for _, c := range []struct{ login, from, want string }{
		{"shin", "shin@good.example", "senders:1: shin may send as shin@good.example"},
		{"shin@mx.example.test", "x@lists.example", "senders:2: shin may send as @lists.example"},
		{"shin@MX.example.test", "shin+x@good.example", "senders:1: shin may send as shin@good.example"},
		{"Shin", "shin@good.example", ""},
		{"shin@other.example", "shin@good.example", ""},
		{"shin@", "shin@good.example", ""},
		{"shin", "ceo@good.example", ""},
		{"bo@other.example", "anybody@anywhere.example", "senders:1: bo@other.example may send as *"},
		{"bo", "anybody@anywhere.example", ""},
		{"a+2Bb", "ab@good.example", "senders:1: a+b may send as ab@good.example"},
		{"/CN=Shin+20Oka", "oka@good.example", "senders:1: /CN=Shin Oka may send as oka@good.example"},
		{"", "ab@good.example", ""},
	} {
		v := sendsAs(p, client("203.0.113.8", "mail.good.example"), loggedIn(c.login), c.from, nil)
		got := ""
		for _, step := range v.Trace {
			if step.Check == "sender_login" && step.Result == "pass" {
				got = step.Reason
			}
		}
		if got != c.want || (v.Action == ActionAccept) != (c.want != "") {
			t.Errorf("%s as %s: %q, %s, expected %q", c.login, c.from, got, short(v), c.want)
		}
	}
}

func TestSenderLoginIsForLoginsOnly(t *testing.T) {
	p := fixture(t, table)
	p.Checks.SenderLogin = SenderLoginCheck{Mode: ModeEnforce, Allow: rules(t, "{login}"), Reply: reply(t, "553 5.7.1 not yours")}
	if v := sendsAs(p, client("203.0.113.8", "mail.good.example"), Auth{}, "a@good.example", nil); v.Action != ActionAccept {
		t.Errorf("a stranger: %v", v)
	}
	p.Checks.SenderLogin.Mode = ModeShadow
	v := sendsAs(p, client("203.0.113.8", "mail.good.example"), plain, "ceo@good.example", nil)
	if v.Action != ActionAccept || len(v.Shadow) != 1 || v.Shadow[0].Check != "sender_login" {
		t.Errorf("in shadow mode: %v", v)
	}
}

func TestBadSenderRules(t *testing.T) {
	for _, text := range []string{"", "@", "a", "a@", "a@b@c", "*", "{login", "{login}@", "{login}@a@b", "x{login}@a.example", "{user}@a.example",
		"a b@c.example", "a@b..c", "a@.b", "a@b.", `"a"@b.example`, "a@[203.0.113.5]", "a@b=c", "<a@b.example>", strings.Repeat("a", MaxAddress) + "@b.example"} {
		if r, err := ParseSenderRule(text); err == nil {
			t.Errorf("%q is taken as %v", text, r)
		}
	}
	if _, err := ParseLoginRule("{login}@a.example", 1); err == nil {
		t.Error("a rule of one login with a place for logins is taken")
	}
}

func FuzzFromXtext(f *testing.F) {
	for _, seed := range []string{"", "shin", "a+2Bb", "+", "+2", "+zz", "+00+FF", "++2B"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if got := FromXtext(s); len(got) > len(s) || !strings.Contains(s, "+") && got != s {
			t.Errorf("%q becomes %q", s, got)
		}
	})
}
