package replay

import (
	"bytes"
	"testing"

	"github.com/google/go-cmp/cmp"

	"milterd/header"
	"milterd/integration/testkit"
	"milterd/policy"
)

// twoMessages are one to two recipients and one to one.
const twoMessages = `id: two
connect: {addr: 203.0.113.8, resolve: OK}
messages:
  - mail: {from: a@good.example}
    rcpt:
      - {to: x@other.example, mailer: esmtp}
      - {to: x@example.test, mailer: local}
  - mail: {from: b@good.example}
    rcpt: [{to: y@example.test, mailer: local}]
`

func verdict(stage policy.Stage, arg string, action policy.Action) policy.Verdict {
	v := policy.Verdict{Stage: stage, Arg: arg, Action: action}
	if action == policy.ActionReject {
		v.Reply = policy.Reply{Code: 550, Enhanced: "5.7.1", Text: "no"}
		v.Check, v.Rule, v.Reason = "client", "access:1: Connect:x REJECT", "because"
	}
	return v
}

// outcomeOf makes an outcome of verdicts that each say their message and step.
func outcomeOf(results ...Result) Outcome { return Outcome{Results: results} }

func TestChangesAreFound(t *testing.T) {
	mail := func(message int, action policy.Action) Result {
		return Result{Message: message, Step: 0, Verdict: verdict(policy.StageMail, "a", action)}
	}
	rcpt := func(message, step int, action policy.Action) Result {
		return Result{Message: message, Step: step, Verdict: verdict(policy.StageRcpt, "r", action)}
	}
	eom := func(message, step int, edits ...header.Edit) Result {
		v := verdict(policy.StageEOM, "", policy.ActionAccept)
		v.Edits = edits
		return Result{Message: message, Step: step, Verdict: v}
	}
	const accept, reject = policy.ActionAccept, policy.ActionReject
	other := mail(1, reject)
	other.Verdict.Check, other.Verdict.Rule, other.Verdict.Reason = "sender", "", ""
	edit := header.Edit{Name: "Received", Index: 1, Value: "x"}
	for _, c := range []struct {
		name     string
		old, new Outcome
		want     []string
	}{
		{"nothing", outcomeOf(mail(1, accept), rcpt(1, 1, accept), eom(1, 2)), outcomeOf(mail(1, accept), rcpt(1, 1, accept), eom(1, 2)), nil},
		{"one verdict", outcomeOf(mail(1, accept), rcpt(1, 1, accept), rcpt(1, 2, accept)), outcomeOf(mail(1, accept), rcpt(1, 1, accept), rcpt(1, 2, reject)),
			[]string{"1 rcpt accept reject"}},
		{"the same reply from another check is no change", outcomeOf(mail(1, reject)), outcomeOf(other), nil},
		{"what is no longer reached", outcomeOf(mail(1, accept), rcpt(1, 1, accept), eom(1, 2), mail(2, accept)), outcomeOf(mail(1, reject), mail(2, accept)),
			[]string{"1 mail accept reject", "1 rcpt accept -", "1 eom accept -"}},
		{"what is reached now", outcomeOf(mail(1, reject), mail(2, accept)), outcomeOf(mail(1, accept), rcpt(1, 1, reject), mail(2, accept), rcpt(2, 1, accept)),
			[]string{"1 mail reject accept", "1 rcpt - reject", "2 rcpt - accept"}},
		{"the header alone", outcomeOf(eom(1, 1)), outcomeOf(eom(1, 1, edit)), []string{"1 eom accept accept"}},
		{"the same edits", outcomeOf(eom(1, 1, edit)), outcomeOf(eom(1, 1, edit)), nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			var got []string
			for _, change := range Compare(c.old, c.new) {
				text := string('0'+rune(change.Message)) + " " + string(change.Stage)
				for _, v := range []*policy.Verdict{change.Old, change.New} {
					if v == nil {
						text += " -"
					} else {
						text += " " + string(v.Action)
					}
				}
				got = append(got, text)
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestChangesAreReported(t *testing.T) {
	s := read(t, twoMessages)[0]
	p := fixture(t)
	old := Run(p, s, nil)
	// The new policy takes nothing from a@good.example, and relays.
	s.Messages[0].Mail.From = "spam@good.example"
	p.Checks.Relay.Mode = policy.ModeOff
	changes := Compare(old, Run(p, s, nil))
	var text, json bytes.Buffer
	if err := WriteChanges(&text, s, changes, ""); err != nil {
		t.Fatal(err)
	}
	if err := WriteChangesJSON(&json, s, changes); err != nil {
		t.Fatal(err)
	}
	testkit.Golden(t, "testdata/changes.txt", text.String())
	testkit.Golden(t, "testdata/changes.jsonl", json.String())
}
