package policy

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func TestVerdictsWithoutTheirTraceAreOtherwiseTheSame(t *testing.T) {
	p := fixture(t, table)
	p.Received = Scrub{Mode: ModeEnforce, Authenticated: true, Relayed: true}
	decide := func(untraced bool, c Connection, auth Auth, from, to string) []Verdict {
		s := p.NewSession(c, nil)
		if untraced {
			s.LeaveOutTraces()
		}
		s.Helo("client.example", TLS{})
		verdicts := []Verdict{s.Mail(auth, Mail{From: from})}
		for _, to := range []string{to, "x@example.test"} {
			verdicts = append(verdicts, s.Rcpt(Recipient{To: to, Mailer: "esmtp"}))
		}
		return append(verdicts, s.EndOfMessage([]HeaderField{{Name: "Subject", Value: "hi"}}))
	}
	traces := 0
	for _, addr := range []string{"203.0.113.66", "192.0.2.1", "203.0.113.81", "203.0.113.90", "2001:db8::1"} {
		for _, auth := range []Auth{{}, {Type: "PLAIN", Authen: "shin"}} {
			for _, from := range []string{"", "a@good.example", "spam@good.example", "odd@good.example", "@"} {
				for _, to := range []string{"far@example.net", "gone@example.test", "held@example.test", "friend@example.test", "a%b@c"} {
					c := client(addr, "mail.good.example")
					traced, untraced := decide(false, c, auth, from, to), decide(true, c, auth, from, to)
					if diff := cmp.Diff(traced, untraced, cmpopts.IgnoreFields(Verdict{}, "Trace")); diff != "" {
						t.Errorf("%s %v <%s> <%s> (-with trace +without):\n%s", addr, auth, from, to, diff)
					}
					for i := range traced {
						traces += len(traced[i].Trace)
						if untraced[i].Trace != nil {
							t.Errorf("%s <%s> <%s>: a trace", addr, from, to)
						}
					}
				}
			}
		}
	}
	if traces == 0 {
		t.Error("there were no traces to leave out")
	}
}
