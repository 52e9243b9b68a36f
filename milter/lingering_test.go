package milter

import (
	"strings"
	"testing"

	"milterd/policy"
)

// TestNoMessageGoesToARefusedRecipient: sendmail keeps a recipient with a comma on its list.
func TestNoMessageGoesToARefusedRecipient(t *testing.T) {
	const put = "y451 4.1.3 A refused recipient has a comma in its address. Please send to the others without it"
	ts := serve(t, Config{})
	ts.script.verdict = func(stage policy.Stage, arg string) policy.Verdict {
		if stage == policy.StageRcpt && arg != "shin@our.example" {
			return reject(550, "5.7.1", "Relaying denied")
		}
		return policy.Verdict{Action: policy.ActionAccept}
	}
	for to, end := range map[string]string{
		"x%other.example@[203.0.113.25],b": put, "@a.example,@b.example:x@other.example": put, `x",y@other.example`: put, `x\",y@other.example`: put, "x(,y@other.example": put,
		"x@other.example": "a", `"x,y"@other.example`: "a", "x(a,b)@other.example": "a", `x\,y@other.example`: put,
	} {
		p := negotiated(t, ts.addr)
		p.begin()
		p.send(frame('R', "<shin@our.example>\x00"), frame('R', "<"+to+">\x00"), frame('R', "<shin@our.example>\x00"), frame('E'))
		p.expect("c")
		p.expect("y550 5.7.1 Relaying denied")
		p.expect("c")
		p.expect(end)
		p.send(frame('M', "<>\x00"), frame('R', "<shin@our.example>\x00"), frame('E'))
		p.expect("c")
		p.expect("c")
		p.expect("a")
	}
}

// TestNoAcceptedRecipientIsLost: sendmail has each mailbox on its list once, and a refusal
// of any name of it takes it off.
func TestNoAcceptedRecipientIsLost(t *testing.T) {
	const put = "y451 4.5.3 A refused recipient is an accepted one by another name. Please send to the others without it"
	ts := serve(t, Config{})
	ts.script.verdict = func(stage policy.Stage, arg string) policy.Verdict {
		if stage == policy.StageRcpt && strings.HasPrefix(arg, "no") {
			return reject(550, "5.7.1", "Mailbox disabled")
		}
		return policy.Verdict{Action: policy.ActionAccept}
	}
	type rcpt struct{ to, mailer, host, addr string }
	yes, no := rcpt{"yes@our.example", "local", "", "shin"}, rcpt{"no@our.example", "local", "", "shin"}
	for _, c := range []struct {
		name  string
		rcpts []rcpt
		end   string
	}{
		{"another name is refused", []rcpt{yes, no}, put},
		{"between others", []rcpt{{"a@our.example", "local", "", "a"}, yes, {"b@our.example", "local", "", "b"}, no, {"c@our.example", "local", "", "c"}}, put},
		{"another name was refused before", []rcpt{no, yes}, "a"},
		{"another mailbox", []rcpt{yes, {"no@our.example", "local", "", "mari"}}, "a"},
		{"another host", []rcpt{{"yes@our.example", "esmtp", "a.example", "shin"}, {"no@our.example", "esmtp", "b.example", "shin"}}, "a"},
		{"another mailer", []rcpt{yes, {"no@our.example", "esmtp", "", "shin"}}, "a"},
		{"one that the MTA refuses itself", []rcpt{{"yes@our.example", "error", "5.1.1", "shin"}, {"no@our.example", "error", "5.1.1", "shin"}}, "a"},
		{"what Postfix has not expanded yet", []rcpt{{"yes@our.example", "error", "5.1.1 User unknown in virtual alias table", "yes@our.example"}, {"no@our.example", "error", "5.1.1 User unknown in virtual alias table", "no@our.example"}}, "a"},
		{"an MTA that tells no mailboxes", []rcpt{{to: "yes@our.example"}, {to: "no@our.example"}}, "a"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := negotiated(t, ts.addr)
			p.begin()
			for _, r := range c.rcpts {
				if r.mailer != "" {
					p.send(frame('D', "R{rcpt_mailer}\x00", r.mailer, "\x00{rcpt_host}\x00", r.host, "\x00{rcpt_addr}\x00", r.addr, "\x00"))
				}
				p.send(frame('R', "<"+r.to+">\x00"))
				want := "c"
				if strings.HasPrefix(r.to, "no") && r.host != "5.1.1" {
					want = "y550 5.7.1 Mailbox disabled"
				}
				p.expect(want)
			}
			p.send(frame('E'))
			p.expect(c.end)
			p.send(frame('M', "<>\x00"), frame('R', "<yes@our.example>\x00"), frame('E'))
			p.expect("c")
			p.expect("c")
			p.expect("a")
		})
	}
}
