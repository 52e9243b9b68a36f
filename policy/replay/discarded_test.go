package replay

import (
	"strings"
	"testing"
)

func TestTheClientOfADiscardedMessageIsToldThatItIsTaken(t *testing.T) {
	const discarded = `id: d
connect: {addr: 203.0.113.8, resolve: OK}
messages:
  - mail: {from: lost@good.example}
    rcpt: [{to: x@example.test, mailer: local}, {to: y@example.test, mailer: local}]
  - mail: {from: a@good.example}
    rcpt: [{to: x@example.test, mailer: local}]
expect:
  - {stage: mail, arg: lost@good.example, reply: "250"}
`
	for _, test := range []struct {
		name, expect string
		missing      int
	}{
		{"what a log of the client's side shows is as expected", `
  - {stage: rcpt, arg: x@example.test, reply: "250"}
  - {stage: rcpt, arg: y@example.test, reply: "250"}
  - {stage: eom, reply: "250"}
  - {stage: mail, arg: a@good.example, reply: "250"}
  - {stage: rcpt, arg: x@example.test, reply: "250"}
  - {stage: eom, reply: "250"}
`, 0},
		{"a refusal of a later recipient is missed", `
  - {stage: rcpt, arg: x@example.test, reply: "250"}
  - {stage: rcpt, arg: y@example.test, reply: "550 5.7.1 Access denied"}
`, 1},
		{"an action that is asked for is missed", `
  - {stage: rcpt, arg: x@example.test, reply: "250"}
  - {stage: rcpt, arg: y@example.test, reply: "250", action: accept}
`, 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := read(t, discarded+strings.TrimPrefix(test.expect, "\n"))[0]
			o := Run(fixture(t), s, nil)
			if len(o.Missing) != test.missing || o.Differences() != test.missing {
				t.Errorf("%d differences, %d missing, want %d of both: %v", o.Differences(), len(o.Missing), test.missing, o.Missing)
			}
		})
	}
}
