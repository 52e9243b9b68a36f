package policy

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// counter answers as a counter without time does: each limit has room for its burst.
type counter struct {
	NoAnswers
	used    map[string]int
	blocked string
	grant   GrantState
	// asked are the questions: "NAME KEY N".
	asked []string
}

func (c *counter) Grant() GrantState { return c.grant }

func (c *counter) Count(login string, queries []LimitQuery) bool {
	if login != "" && login == c.blocked {
		return true
	}
	if c.used == nil {
		c.used = make(map[string]int)
	}
	enforced := false
	for i := range queries {
		q := &queries[i]
		key := q.Limit.Name + " " + q.Key
		c.asked = append(c.asked, fmt.Sprint(key, " ", q.N))
		q.Answer = LimitAnswer{Rate: q.Rates[0], Used: c.used[key]}
		if c.used[key]+max(q.N, 1) > q.Rates[0].Burst {
			q.Answer.Wait = 1800
			enforced = enforced || q.Enforced
		}
	}
	for _, q := range queries {
		if !enforced && q.Answer.Wait == 0 {
			c.used[q.Limit.Name+" "+q.Key] += q.N
		}
	}
	return false
}

func rate(t testing.TB, s string) []Rate {
	t.Helper()
	r, err := ParseRate(s)
	if err != nil {
		t.Fatal(err)
	}
	return []Rate{r}
}

// limitFixture is a policy with limits.
func limitFixture(t testing.TB, limits ...Limit) *Policy {
	t.Helper()
	p := fixture(t, table)
	for i := range limits {
		l := &limits[i]
		l.Reply = reply(t, "451 4.7.1 over {limit}, wait {wait}")
		if l.Mode == "" {
			l.Mode = ModeEnforce
		}
	}
	p.Limits = Limits{Rules: limits, Blocks: true, Blocked: reply(t, "451 4.7.1 blocked")}
	return p
}

func TestWhatALimitCounts(t *testing.T) {
	login := Limit{Name: "l", By: ByLogin, Count: CountRecipients, Rates: rate(t, "2/1h")}
	by := func(change func(*Limit)) Limit { l := login; change(&l); return l }
	const to, other = "x@other.example", "y@other.example"
	for _, c := range []struct {
		name  string
		limit Limit
		auth  Auth
		addr  string
		// messages are recipients with blanks between them.
		messages []string
		// want has a letter for each recipient: taken, over or refused otherwise.
		want string
	}{
		{"each recipient", login, plain, "203.0.113.8", []string{to + " " + other + " " + to}, "tto"},
		{"over several messages", login, plain, "203.0.113.8", []string{to, to, to}, "tto"},
		{"messages once, however many recipients", by(func(l *Limit) { l.Count = CountMessages }), plain, "203.0.113.8", []string{to + " " + other + " " + to, to, to}, "tttto"},
		{"a message that has begun is not cut", by(func(l *Limit) { l.Count, l.Rates = CountMessages, rate(t, "1/1h") }), plain, "203.0.113.8", []string{to + " " + other + " " + to, to}, "ttto"},
		{"not without a login", login, Auth{}, "203.0.113.8", []string{"x@example.test", "x@example.test", "x@example.test"}, "ttt"},
		{"ANONYMOUS is no login", login, Auth{Type: "anonymous", Authen: "x"}, "203.0.113.8", []string{"x@example.test", "x@example.test", "x@example.test"}, "ttt"},
		{"what another check refuses does not count", login, plain, "203.0.113.8", []string{"gone@example.test gone@example.test", to, to, to}, "rrtto"},
		{"nor what sendmail refuses", login, plain, "203.0.113.8", []string{"error!nobody@example.test error!nobody@example.test", to, to, to}, "tttto"},
		{"what Postfix has not expanded yet is taken", login, plain, "203.0.113.8", []string{"alias!x@example.test alias!x@example.test", "x@example.test"}, "tto"},
		{"and may be refused", by(func(l *Limit) { l.Count = CountRefused }), plain, "203.0.113.8", []string{"alias!x@example.test alias!x@example.test", to, to, "alias!gone@example.test"}, "ttttr"},
		{"refused ones apart", by(func(l *Limit) { l.Count = CountRefused }), plain, "203.0.113.8", []string{to, "gone@example.test", "error!nobody@example.test", to, to}, "trtoo"},
		{"by client", by(func(l *Limit) { l.By = ByClient }), Auth{}, "203.0.113.8", []string{"x@example.test", "x@example.test", "x@example.test"}, "tto"},
		{"by client, who has no address", by(func(l *Limit) { l.By = ByClient }), Auth{}, "", []string{to, to, to}, "ttt"},
		{"by sender", by(func(l *Limit) { l.By = BySender }), Auth{}, "203.0.113.8", []string{"x@example.test", "x@example.test", "x@example.test"}, "tto"},
		{"an exception", by(func(l *Limit) { l.Exceptions = map[string][]Rate{"shin@example.test": rate(t, "1/1h")} }), plain, "203.0.113.8", []string{to, to}, "to"},
		{"an exception without a rate", by(func(l *Limit) { l.Exceptions = map[string][]Rate{"shin@example.test": nil} }), plain, "203.0.113.8", []string{to, to, to}, "ttt"},
		{"a login with a plus sign, as it is typed", by(func(l *Limit) { l.Exceptions = map[string][]Rate{"shin+box": rate(t, "1/1h")} }), Auth{Type: "PLAIN", Authen: "Shin+2Bbox"}, "203.0.113.8", []string{to, to}, "to"},
		{"and not as sendmail writes it", by(func(l *Limit) { l.Exceptions = map[string][]Rate{"shin+2bbox": nil} }), Auth{Type: "PLAIN", Authen: "shin+2Bbox"}, "203.0.113.8", []string{to, to, to}, "tto"},
		{"shadow", by(func(l *Limit) { l.Mode = ModeShadow }), plain, "203.0.113.8", []string{to, to, to}, "tts"},
		{"off", by(func(l *Limit) { l.Mode = ModeOff }), plain, "203.0.113.8", []string{to, to, to}, "ttt"},
	} {
		t.Run(c.name, func(t *testing.T) {
			answers := new(counter)
			s := limitFixture(t, c.limit).NewSession(client(c.addr, "mail.good.example"), answers)
			got := ""
			for _, message := range c.messages {
				s.Mail(c.auth, Mail{From: "a@good.example"})
				for _, to := range strings.Fields(message) {
					r := Recipient{To: to, Mailer: "esmtp"}
					if inner, ok := strings.CutPrefix(to, "error!"); ok {
						r = Recipient{To: inner, Mailer: "error", Host: "5.1.1", Addr: "550 5.1.1 User unknown"}
					}
					if inner, ok := strings.CutPrefix(to, "alias!"); ok {
						r = Recipient{To: inner, Mailer: "error", Host: "5.1.1 User unknown in virtual alias table", Addr: inner}
					}
					got += outcome(s.Rcpt(r))
				}
				s.EndOfMessage(nil)
			}
			if got != c.want {
				t.Errorf("got %s, want %s; asked %q", got, c.want, answers.asked)
			}
			if login := (Auth{Authen: c.auth.Authen}).Login(); strings.Contains(login, "+") && !strings.HasPrefix(answers.asked[0], "l shin+box ") {
				t.Errorf("asked %q", answers.asked)
			}
		})
	}
}

// outcome is a verdict in a letter.
func outcome(v Verdict) string {
	switch {
	case v.Check == "limits":
		return "o"
	case len(v.Shadow) > 0:
		return "s"
	case v.Action == ActionAccept:
		return "t"
	}
	return "r"
}

func TestWhomALimitIsFor(t *testing.T) {
	for _, c := range []struct {
		name string
		whom LimitWhom
		addr string
		auth Auth
		want bool
	}{
		{"all", LimitWhom{}, "203.0.113.8", Auth{}, true},
		{"authenticated", LimitWhom{Authenticated: true}, "203.0.113.8", plain, true},
		{"authenticated with a mechanism that is not trusted", LimitWhom{Authenticated: true}, "203.0.113.8", Auth{Type: "NTLM", Authen: "x"}, true},
		{"authenticated, who is not", LimitWhom{Authenticated: true}, "203.0.113.8", Auth{}, false},
		{"strangers", LimitWhom{Strangers: true}, "203.0.113.8", Auth{}, true},
		{"a login is no stranger", LimitWhom{Strangers: true}, "203.0.113.8", plain, false},
		{"a relay network is no stranger", LimitWhom{Strangers: true}, "192.0.2.7", Auth{}, false},
		{"relay", LimitWhom{Relay: true}, "192.0.2.7", Auth{}, true},
		{"this host relays", LimitWhom{Relay: true}, "127.0.0.1", Auth{}, true},
		{"a grant is not among relay", LimitWhom{Relay: true}, "203.0.113.9", Auth{}, false},
		{"granted", LimitWhom{Granted: true}, "203.0.113.9", Auth{}, true},
		{"granted, who is not", LimitWhom{Granted: true}, "203.0.113.8", Auth{}, false},
		{"a grant is no stranger", LimitWhom{Strangers: true}, "203.0.113.9", Auth{}, false},
		{"a network", LimitWhom{Networks: []netip.Prefix{netip.MustParsePrefix("203.0.113.0/28")}}, "203.0.113.8", Auth{}, true},
		{"another network", LimitWhom{Networks: []netip.Prefix{netip.MustParsePrefix("203.0.113.0/29")}}, "203.0.113.8", Auth{}, false},
		{"a login, in another case", LimitWhom{Logins: []string{"shin@example.test"}}, "203.0.113.8", Auth{Type: "PLAIN", Authen: "Shin@Example.Test"}, true},
		{"another login", LimitWhom{Logins: []string{"who@example.test"}}, "203.0.113.8", plain, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := limitFixture(t, Limit{Name: "l", By: BySender, Count: CountRecipients, Rates: rate(t, "1/1h"), Whom: c.whom})
			p.Relay = NewClass("192.0.2")
			answers := new(counter)
			if c.addr == "203.0.113.9" {
				answers.grant = GrantHeld
			}
			s := p.NewSession(client(c.addr, "mail.good.example"), answers)
			s.Mail(c.auth, Mail{From: "a@good.example"})
			s.Rcpt(Recipient{To: "x@example.test", Mailer: "local"})
			if got := len(answers.asked) > 0; got != c.want {
				t.Errorf("asked %q, want %t", answers.asked, c.want)
			}
		})
	}
}

func TestKeysOfLimits(t *testing.T) {
	hostile := "a:{b}\r\n\x00" + strings.Repeat("x", 10_000)
	for _, c := range []struct {
		name       string
		by         LimitBy
		addr       string
		from, auth string
		want       string
	}{
		{"a login, whose case does not count", ByLogin, "203.0.113.8", "a@b.example", "Shin", "l shin 1"},
		{"a hostile login", ByLogin, "203.0.113.8", "a@b.example", hostile, "l " + hostile + " 1"},
		{"an IPv4 address", ByClient, "203.0.113.8", "a@b.example", "x", "l 203.0.113.8 1"},
		{"a mapped one", ByClient, "::ffff:203.0.113.8", "a@b.example", "x", "l 203.0.113.8 1"},
		{"an IPv6 network", ByClient, "2001:db8:1:2:3::4", "a@b.example", "x", "l 2001:db8:1:2::/64 1"},
		{"a sender, whose case does not count", BySender, "203.0.113.8", "A@B.Example", "x", "l a@b.example 1"},
		{"a quoted sender is the same", BySender, "203.0.113.8", `"a"@b.example`, "x", "l a@b.example 1"},
		{"so is one that the MTA alone can read", BySender, "203.0.113.8", `a@"b.example"`, "x", "l a@b.example 1"},
		{"a stranger who names the same sender", BySender, "203.0.113.8", "a@b.example", "", "l a@b.example (from strangers) 1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			answers := new(counter)
			s := limitFixture(t, Limit{Name: "l", By: c.by, Count: CountRecipients, Rates: rate(t, "1/1h")}).NewSession(client(c.addr, "mail.good.example"), answers)
			auth := Auth{Type: "PLAIN", Authen: c.auth}
			if c.auth == "" {
				auth = Auth{}
			}
			s.Mail(auth, Mail{From: c.from, Addr: "a@b.example"})
			s.Rcpt(Recipient{To: "x@example.test", Mailer: "local"})
			if diff := cmp.Diff([]string{c.want}, answers.asked); diff != "" {
				t.Errorf("asked (-want +got):\n%s", diff)
			}
		})
	}
}

// TestALimitBySenderCountsTheAddress: a login that sends as another uses up the other's room,
// unless sender_login refuses it.
func TestALimitBySenderCountsTheAddress(t *testing.T) {
	for _, c := range []struct {
		name string
		mode Mode
		want Action // for the owner, after the other has sent
	}{
		{"no check", ModeOff, ActionTempfail},
		{"one that refuses nothing", ModeShadow, ActionTempfail},
		{"one that is enforced", ModeEnforce, ActionAccept},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := limitFixture(t, Limit{Name: "l", By: BySender, Count: CountRecipients, Rates: rate(t, "1/1h")})
			p.Checks.SenderLogin = SenderLoginCheck{Mode: c.mode, Allow: rules(t, "{login}"), Reply: reply(t, "553 5.7.1 not yours")}
			answers := new(counter)
			send := func(login string) Verdict {
				s := p.NewSession(client("203.0.113.8", "mail.good.example"), answers)
				s.Mail(Auth{Type: "PLAIN", Authen: login}, Mail{From: "boss@example.test"})
				return s.Rcpt(Recipient{To: "x@other.example", Mailer: "esmtp"})
			}
			send("intern@example.test")
			if got := send("boss@example.test"); got.Action != c.want {
				t.Errorf("the owner of the address: %v, expected %v", got, c.want)
			}
		})
	}
}

func TestWhatAVerdictSaysOfLimits(t *testing.T) {
	limits := []Limit{
		{Name: "hour", By: ByLogin, Count: CountRecipients, Rates: rate(t, "1/1h")},
		{Name: "day", By: ByLogin, Count: CountMessages, Rates: rate(t, "5/1d"), Mode: ModeShadow},
	}
	s := limitFixture(t, limits...).NewSession(client("203.0.113.8", "mail.good.example"), new(counter))
	s.Mail(plain, Mail{From: "a@good.example"})
	first := s.Rcpt(Recipient{To: "x@other.example", Mailer: "esmtp"})
	if last := first.Trace[len(first.Trace)-1]; last.String() != "limits pass: hour 0 of 1, day 0 of 5" {
		t.Errorf("trace: %s", last)
	}
	second := s.Rcpt(Recipient{To: "y@other.example", Mailer: "esmtp"})
	want := "rcpt <y@other.example>: tempfail 451 4.7.1 over 1/1h, wait 30 minutes (limits, limits.rules.hour): this login has used all of 1/1h recipients; room again in 30 minutes"
	if second.String() != want {
		t.Errorf("got  %s\nwant %s", second, want)
	}
}

func TestABlockedLoginIsPutOffInEveryMode(t *testing.T) {
	for name, change := range map[string]func(*Policy){
		"enforce":          func(*Policy) {},
		"shadow":           func(p *Policy) { p.Shadow = true },
		"off for the port": func(p *Policy) { p.Ports = map[string]Port{"MTA": {Checks: map[string]Mode{"limits": ModeOff}}} },
	} {
		p := limitFixture(t)
		change(p)
		s := p.NewSession(client("203.0.113.8", "mail.good.example"), &counter{blocked: "shin@example.test"})
		s.Mail(plain, Mail{From: "a@good.example"})
		v := s.Rcpt(Recipient{To: "x@other.example", Mailer: "esmtp"})
		last := v.Trace[len(v.Trace)-1]
		if v.Action != ActionTempfail || v.Check != "limits" || v.Rule != "limits.blocked" || v.Reply.Text != "blocked" || last.Check != "limits" || last.Result != "tempfail" {
			t.Errorf("%s: got %s, last step %+v", name, v, last)
		}
	}
}

func TestRatesAreReadAsTheyAreWritten(t *testing.T) {
	for text, want := range map[string]string{
		"100/1h": "100/1h", "1000/1d": "1000/24h", "1/90s": "1/90s", "5/120s": "5/2m", "100/1h/20": "100/1h/20", "100/1h/100": "100/1h", "1000000/31d": "1000000/744h",
	} {
		if got := rate(t, text)[0].String(); got != want {
			t.Errorf("%s: %s, want %s", text, got, want)
		}
	}
	for _, text := range []string{"", "100", "100/", "/1h", "0/1h", "-1/1h", "1000001/1h", "+1/1h", "01/1h", "1/01h", "1/0s", "1/32d", "1/1h/0", "1/1h/2/3", "1 /1h", "1/1H", "1/h", "1/99999999999999999999d"} {
		if r, err := ParseRate(text); err == nil {
			t.Errorf("%q is taken as %v", text, r)
		}
	}
}

func TestWaitsInWords(t *testing.T) {
	for seconds, want := range map[int]string{1: "1 second", 120: "120 seconds", 121: "3 minutes", 1800: "30 minutes", 7200: "120 minutes", 7201: "3 hours"} {
		if got := waitText(seconds); got != want {
			t.Errorf("%d: %s, want %s", seconds, got, want)
		}
	}
}
