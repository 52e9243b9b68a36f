package socketmap

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"milterd/integration/testkit"
	"milterd/milter/door"
	"milterd/policy"
)

// The fields of a question, in their order; the package comment says what they are.
const (
	fieldVersion = iota
	fieldQueueID
	fieldAddr
	fieldResolve
	fieldDaemonPort
	fieldDaemonName
	fieldAuthType
	fieldAuthen
	fieldTLSVersion
	fieldVerify
	fieldMailer
	fieldHost
	fieldName
	fieldPTR
	fieldIssuer
	fieldSubject
	fieldHelo
	fieldSender
	fieldRecipient
	fieldDomain
	fieldEnd
	fieldCount
)

// ask makes the key of a question: what is not given is that of a stranger who writes to
// somebody else's domain.
func ask(changes map[int]string) string {
	f := make([]string, fieldCount)
	f[fieldVersion], f[fieldEnd] = questionVersion, questionEnd
	f[fieldQueueID], f[fieldAddr], f[fieldResolve], f[fieldName] = "6AS0hesl006324", "203.0.113.5", "OK", "mx.odd.example"
	f[fieldDaemonPort], f[fieldDaemonName], f[fieldMailer] = "25", "MTA", "esmtp"
	f[fieldHelo], f[fieldSender], f[fieldRecipient] = "mx.odd.example", "a@odd.example", "<x@other.example>"
	for field, value := range changes {
		f[field] = value
	}
	if f[fieldVersion] != questionVersion {
		f = slices.Delete(f, fieldDomain, fieldDomain+1)
	}
	return strings.Join(f, separator)
}

const questionTable = `Connect:192.0.2	RELAY
Connect:192.0.2.66	REJECT
CertIssuer:/O=ours	RELAY
To:relayed.example	RELAY
To:gone@our.example	ERROR:5.1.1:550 "Gone" (for good), 100% \o/
From:bad@odd.example	REJECT
From:drop@odd.example	DISCARD
From:held@odd.example	QUARANTINE:held for a look
From:roaming@our.example	RELAY
`

// asked is a policy of a site with own, relayed and blocked addresses.
func asked(t testing.TB) *policy.Policy {
	p := scrubbing(t, policy.Scrub{Authenticated: true, Relayed: true, Granted: true})
	p.Access = table(t, questionTable)
	p.Features.BlocklistRecipients, p.Features.DelayChecks, p.Features.RelayMailFrom = true, true, true
	p.Checks.RDNS = policy.RDNSCheck{}
	denied := policy.Reply{Code: 550, Enhanced: "5.7.1", Text: "Relaying denied"}
	p.Checks.Relay.Deny, p.Checks.Relay.DenyAuth = denied, denied
	p.Checks.Relay.GrantTemp = policy.Reply{Code: 451, Enhanced: "4.7.1", Text: "Not known for now"}
	p.Checks.Sender.Reject = policy.Reply{Code: 550, Enhanced: "5.7.1", Text: "Access denied"}
	p.Checks.Client.Reject = p.Checks.Sender.Reject
	p.Checks.Port.AuthRequired = policy.Reply{Code: 530, Enhanced: "5.7.0", Text: "Authentication required"}
	return p
}

func TestTheAnswerAboutARecipient(t *testing.T) {
	grants := &grantTable{states: map[string]policy.GrantState{"198.51.100.8": policy.GrantHeld, "198.51.100.9": policy.GrantTemporary}}
	var log testkit.Log
	r := NewRcpt(always(asked(t), grants), log.Logger())
	const denied = `SHOW REFUSE 5.7.1 "550 Relaying denied"`
	for _, tt := range []struct {
		name    string
		changes map[int]string
		want    string
	}{
		{"a stranger to another's domain", nil, denied},
		{"a stranger to ours", map[int]string{fieldMailer: "local", fieldRecipient: "<x@our.example>"}, "SHOW NONE"},
		{"a stranger to a domain that is relayed", map[int]string{fieldRecipient: "<x@relayed.example>"}, "SHOW RELAY"},
		{"a client whose network may relay", map[int]string{fieldAddr: "192.0.2.7"}, "HIDE RELAY"},
		{"a client whose address is refused", map[int]string{fieldAddr: "192.0.2.66"}, denied},
		{"a user", map[int]string{fieldAuthType: "PLAIN", fieldAuthen: "shin"}, "HIDE TRUSTED"},
		{"a user to ours", map[int]string{fieldAuthType: "PLAIN", fieldMailer: "local", fieldRecipient: "<x@our.example>"}, "HIDE TRUSTED"},
		{"a user, in the older form of the question", map[int]string{fieldVersion: questionVersion1, fieldAuthType: "PLAIN"}, "HIDE RELAY"},
		{"a mechanism that is not trusted", map[int]string{fieldAuthType: "NTLM"}, denied},
		{"no AUTH where it is required", map[int]string{fieldDaemonPort: "587"}, `SHOW REFUSE 5.7.0 "530 Authentication required"`},
		{"a client that holds a grant", map[int]string{fieldAddr: "198.51.100.8"}, "HIDE TRUSTED"},
		{"a client that may hold one", map[int]string{fieldAddr: "198.51.100.9"}, `SHOW REFUSE 4.7.1 "451 Not known for now"`},
		{"relayed for its sender", map[int]string{fieldSender: "roaming@our.example"}, "HIDE RELAY"},
		{"a certificate", map[int]string{fieldTLSVersion: "TLSv1.3", fieldVerify: "OK", fieldIssuer: "/O=ours"}, "HIDE TRUSTED"},
		{"a certificate that is not verified", map[int]string{fieldTLSVersion: "TLSv1.3", fieldVerify: "FAIL", fieldIssuer: "/O=ours"}, denied},
		{"a certificate without TLS", map[int]string{fieldVerify: "OK", fieldIssuer: "/O=ours"}, denied},
		{"a sender that is refused", map[int]string{fieldSender: "bad@odd.example", fieldRecipient: "<x@relayed.example>"}, `SHOW REFUSE 5.7.1 "550 Access denied"`},
		{"a sender whose mail is thrown away", map[int]string{fieldSender: "drop@odd.example", fieldRecipient: "<x@relayed.example>"}, "SHOW DISCARD"},
		{"a sender whose mail is held", map[int]string{fieldSender: "held@odd.example", fieldRecipient: "<x@relayed.example>"}, `SHOW QUARANTINE "held for a look"`},
		{"a held sender relays nothing", map[int]string{fieldSender: "held@odd.example"}, denied},
		{"a text that sendmail could misread", map[int]string{fieldMailer: "local", fieldRecipient: "<gone@our.example>"}, `SHOW REFUSE 5.1.1 "550 Gone (for good), 100%% o/"`},
		{"a local submission", map[int]string{fieldAddr: "0", fieldResolve: ""}, "HIDE RELAY"},
		{"a quoted operator", map[int]string{fieldRecipient: `<"x@other.example"@relayed.example>`}, denied},
		{"a way through us to a domain that is relayed", map[int]string{fieldRecipient: "<x%y.relayed.example@our.example>", fieldDomain: "y.relayed.example"}, "SHOW RELAY"},
		{"a way through us to an alias of another's domain", map[int]string{fieldRecipient: "<x%y.relayed.example@our.example>", fieldDomain: "other.example"}, denied},
		{"a way through us that sendmail does not see", map[int]string{fieldRecipient: `<"x@relayed.example"@our.example>`, fieldDomain: "our.example"}, denied},
		{"an address within quotes", map[int]string{fieldRecipient: `<"x@relayed.example">`, fieldDomain: "."}, denied},
		{"a host of a domain that is relayed, in the older form", map[int]string{fieldVersion: questionVersion2, fieldRecipient: "<x%y.relayed.example@our.example>"}, "SHOW RELAY"},
		{"the null sender", map[int]string{fieldSender: "", fieldRecipient: "<x@relayed.example>"}, "SHOW RELAY"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff(Answer{OK, tt.want}, r.Lookup(t.Context(), ask(tt.changes))); diff != "" {
				t.Errorf("answer (-want +got):\n%s", diff)
			}
		})
	}
	if want := "level=INFO msg=reject door=map stage=rcpt queue=6AS0hesl006324 client=203.0.113.5 name=mx.odd.example daemon=MTA daemon_port=25 check=relay "; !log.Has(want) {
		t.Errorf("the log has no %s:\n%s", want, log.String())
	}
}

// TestEveryRefusalIsLogged: also that of a question that cannot be read, and of an answer
// that cannot be given.
func TestEveryRefusalIsLogged(t *testing.T) {
	unknown := scrubbing(t, policy.Scrub{Granted: true})
	unknown.Checks.RDNS = policy.RDNSCheck{}
	grants := &grantTable{states: map[string]policy.GrantState{"198.51.100.9": policy.GrantTemporary}}
	for _, tt := range []struct{ name, key, want string }{
		{"cut off", strings.TrimSuffix(ask(nil), "END"), `msg=tempfail door=map stage=rcpt queue=6AS0hesl006324 client=203.0.113.5 reason="the question was cut off"`},
		{"no question", "x", `msg=tempfail door=map stage=rcpt reason="the question is not one that this version knows"`},
		{"whether to hide the client", ask(map[int]string{fieldAddr: "198.51.100.9", fieldMailer: "local", fieldRecipient: "<x@our.example>"}),
			`to=x@our.example reason="whether the client holds a relay grant cannot be asked for now"`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var log testkit.Log
			var noted []door.Line
			r := NewRcpt(always(unknown, grants), log.Logger())
			r.Noted = func(l *door.Line) { noted = append(noted, *l) }
			if got := r.Lookup(t.Context(), tt.key); got.Status != Temp {
				t.Errorf("answer %v, expected TEMP", got)
			}
			if !log.Has(tt.want) || len(noted) != 1 || noted[0].Action != policy.ActionTempfail {
				t.Errorf("the log has no %s, or %v is noted:\n%s", tt.want, noted, log.String())
			}
		})
	}
}

// TestTheTableNamesTheMessageThatItRefuses: what sendmail asks of the table behind a
// question belongs to that question's recipient.
func TestTheTableNamesTheMessageThatItRefuses(t *testing.T) {
	var log testkit.Log
	p := asked(t)
	p.Shadow = true
	current := always(p, nil)
	ts := serve(t, Config{Maps: map[string]Map{"milterd": NewRcpt(current, log.Logger()).Lookup, "access": NewAccess(current, log.Logger()).Lookup}})
	c := dial(t, ts.addr)
	for _, to := range []string{"x@other.example", "y@other.example"} {
		c.ask("milterd "+ask(map[int]string{fieldAddr: "192.0.2.66", fieldRecipient: "<" + to + ">"}), "OK SHOW NONE")
		c.ask("access connect:192.0.2.66", "OK REJECT")
	}
	c.ask("access from:bad@odd.example", "OK REJECT")
	for _, want := range []string{
		`msg=reject door=map stage=rcpt queue=6AS0hesl006324 client=192.0.2.66 name=mx.odd.example daemon=MTA daemon_port=25 helo=mx.odd.example from=a@odd.example to=x@other.example rule="access:2: connect:192.0.2.66 REJECT"`,
		`to=y@other.example rule="access:2: connect:192.0.2.66 REJECT"`,
		// Another sender than the question's.
		`msg=reject door=map from=bad@odd.example rule="access:6: from:bad@odd.example REJECT"`,
	} {
		if !log.Has(want) {
			t.Errorf("the log has no %s:\n%s", want, log.String())
		}
	}
}

// TestTheClientOfAQuestionIsSeen once on a connection.
func TestTheClientOfAQuestionIsSeen(t *testing.T) {
	seen := make(chan netip.Addr, 9)
	ts := serve(t, Config{Maps: map[string]Map{"milterd": echo}, Seen: func(client netip.Addr) { seen <- client }})
	c := dial(t, ts.addr)
	for range 2 {
		c.send(netstring("milterd " + ask(nil)))
		if _, err := c.read(); err != nil {
			t.Fatal(err)
		}
	}
	if got := <-seen; got != netip.MustParseAddr("203.0.113.5") || len(seen) > 0 {
		t.Errorf("seen: %v, and %d more", got, len(seen))
	}
}

// TestShadowModeRefusesNothing: nor does it let anybody relay whom an enforced check
// would not.
func TestShadowModeRefusesNothing(t *testing.T) {
	p := asked(t)
	p.Shadow = true
	r := NewRcpt(always(p, nil), nil)
	for to, want := range map[string]string{"<x@other.example>": "SHOW NONE", "<x@relayed.example>": "SHOW RELAY", "<gone@our.example>": "SHOW NONE"} {
		if got := r.Lookup(t.Context(), ask(map[int]string{fieldRecipient: to, fieldSender: "held@odd.example"})); got != (Answer{OK, want}) {
			t.Errorf("%s: %v, expected %s", to, got, want)
		}
	}
}

// TestAHeldMessageIsNotRelayedInShadow: a quarantine ends sendmail's check_rcpt, so it
// may not be given for a recipient that nothing lets pass.
func TestAHeldMessageIsNotRelayedInShadow(t *testing.T) {
	p := asked(t)
	p.Checks.Relay.Mode = policy.ModeShadow
	r := NewRcpt(always(p, nil), nil)
	if got := r.Lookup(t.Context(), ask(map[int]string{fieldSender: "held@odd.example"})); got != (Answer{OK, "SHOW NONE"}) {
		t.Errorf("answer %v, expected SHOW NONE", got)
	}
}

func TestQuestionsThatAreNotRead(t *testing.T) {
	r := NewRcpt(always(asked(t), nil), nil)
	whole := ask(map[int]string{fieldAddr: "192.0.2.7"})
	for name, key := range map[string]string{
		"nothing":                  "",
		"another version":          "4" + whole[1:],
		"cut off":                  whole[:len(whole)-1],
		"cut off before the end":   strings.TrimSuffix(whole, separator+questionEnd),
		"only the ends":            questionVersion + separator + questionEnd,
		"no address":               ask(map[int]string{fieldAddr: ""}),
		"no address that is one":   ask(map[int]string{fieldAddr: "192.0.2"}),
		"a separator in the HELO":  ask(map[int]string{fieldAddr: "192.0.2.7", fieldHelo: "a" + separator + "b"}),
		"an end in the sender":     ask(map[int]string{fieldAddr: "192.0.2.7", fieldSender: "a" + separator + "<x@other.example>" + separator + questionEnd}),
		"a NUL":                    ask(map[int]string{fieldAddr: "192.0.2.7", fieldRecipient: "<x\x00y@other.example>"}),
		"a line break":             ask(map[int]string{fieldAddr: "192.0.2.7", fieldRecipient: "<x\r\ny@other.example>"}),
		"a port that is no number": ask(map[int]string{fieldAddr: "192.0.2.7", fieldDaemonPort: "smtp"}),
		"an unknown resolve":       ask(map[int]string{fieldAddr: "192.0.2.7", fieldResolve: "MAYBE"}),
		"too long":                 ask(map[int]string{fieldAddr: "192.0.2.7", fieldHelo: strings.Repeat("h", maxQuestion)}),
	} {
		if got := r.Lookup(t.Context(), key); got.Status != Temp {
			t.Errorf("%s: %v, expected TEMP", name, got)
		}
	}
	if got := r.Lookup(t.Context(), whole); got != (Answer{OK, "HIDE RELAY"}) {
		t.Errorf("the whole question: %v, expected HIDE RELAY", got)
	}
	if got := NewRcpt(func() door.Snapshot { return door.Snapshot{} }, nil).Lookup(t.Context(), whole); got.Status != Temp {
		t.Errorf("without a policy: %v, expected TEMP", got)
	}
}

// hostile are the fields that a client has a hand in.
var hostile = []int{fieldAuthen, fieldName, fieldPTR, fieldIssuer, fieldSubject, fieldHelo, fieldSender, fieldRecipient, fieldDomain, fieldHost}

// TestNoFieldStandsForAnother: whatever a client puts into its fields, they are read as
// those fields and no others, or the question is not read at all.
func TestNoFieldStandsForAnother(t *testing.T) {
	piece := rapid.SampledFrom([]string{separator, "\x00", "\n", "END", "1", "192.0.2.7", "PLAIN", "OK", `"`, `\`, "(", ")", "<", ">", "$|", "$&f", "%1", "\xff", "é", "a@b.example", " ", "RELAY", "<TMPF>", "@localhost"})
	rapid.Check(t, func(t *rapid.T) {
		changes := make(map[int]string)
		for _, field := range hostile {
			changes[field] = strings.Join(rapid.SliceOfN(piece, 0, 3).Draw(t, "field"), "")
		}
		changes[fieldTLSVersion], changes[fieldVerify] = "TLSv1.3", "OK"
		q, err := parseQuestion(ask(changes))
		if err != nil {
			return
		}
		want := question{
			version: questionVersion, queueID: "6AS0hesl006324", helo: changes[fieldHelo],
			client: policy.Connection{Addr: q.client.Addr, Name: changes[fieldName], PTR: changes[fieldPTR], Resolve: policy.ResolveOK, DaemonName: "MTA", DaemonPort: 25},
			tls:    policy.TLS{Version: "TLSv1.3", Verify: "OK", CertIssuer: changes[fieldIssuer], CertSubject: changes[fieldSubject]},
			auth:   policy.Auth{Authen: changes[fieldAuthen]}, mail: policy.Mail{From: bare(changes[fieldSender])},
			recipient: policy.Recipient{To: bare(changes[fieldRecipient]), Mailer: "esmtp", Host: changes[fieldHost], Domain: changes[fieldDomain]},
		}
		if want.recipient.Domain == "" {
			// The rules say nothing if the recipient ends with it.
			parts := strings.Split(want.recipient.To, "@")
			if want.recipient.Domain = parts[len(parts)-1]; want.recipient.Domain == "" {
				want.recipient.Domain = "."
			}
			if want.recipient.Domain == "localhost" {
				want.recipient.To += "."
			}
		}
		if q.client.Addr.String() != "203.0.113.5" {
			t.Fatalf("the client is %s", q.client.Addr)
		}
		if diff := cmp.Diff(want, q, cmp.AllowUnexported(question{}), cmp.Comparer(func(a, b policy.Connection) bool { return a == b })); diff != "" {
			t.Fatalf("question (-want +got):\n%s", diff)
		}
	})
}

// FuzzQuestion: no key panics, and every answer is one that can be given and that the
// rules of milterd.m4 understand.
func FuzzQuestion(f *testing.F) {
	f.Add(ask(nil))
	f.Add(ask(map[int]string{fieldRecipient: `<"a b"@relayed.example>`, fieldSender: "held@odd.example"}))
	f.Add(ask(map[int]string{fieldAddr: "0", fieldEnd: "EN"}))
	r := NewRcpt(always(asked(f), nil), nil)
	f.Fuzz(func(t *testing.T, key string) {
		a := r.Lookup(t.Context(), key)
		if problem := a.problem(); problem != "" {
			t.Fatalf("%q: %v: %s", key, a, problem)
		}
		if a.Status == Temp {
			return
		}
		_, words, ok := strings.Cut(a.Value, " ")
		verdict, _, _ := strings.Cut(words, " ")
		if !ok || a.Status != OK || !strings.Contains(" RELAY NONE REFUSE DISCARD QUARANTINE ", " "+verdict+" ") {
			t.Fatalf("%q: %v", key, a)
		}
	})
}
