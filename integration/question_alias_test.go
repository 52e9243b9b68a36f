package integration_test

import (
	"strings"
	"testing"

	"milterd/integration/harness"
)

// TestAnAliasIsJudgedByWhatItStandsFor: sendmail sends mail for an alias in the DNS to the
// domain that it leads to. Whoever has a name below a domain that we relay for could
// otherwise have us relay to anybody's.
func TestAnAliasIsJudgedByWhatItStandsFor(t *testing.T) {
	for name, lines := range map[string]string{"one question": "define(`MILTERD_NO_ACCESS')dnl\n" + include, "with the table": include} {
		t.Run(name, func(t *testing.T) {
			env := start(t, harness.Options{
				Include: lines + "\n", LocalHostNames: "example.test\n", RelayDomains: "partner.example\n",
				Access: "To:relayed.example\tRELAY\n", Config: "sendmail: {cf: " + stockCF + "}\n" + enforced,
			})
			if err := env.DNS.SetLines([]string{
				"www.partner.example. CNAME mail.victim.example.", "cdn.relayed.example. CNAME mail.victim.example.",
				"mail.victim.example. A 198.51.100.99", "mx.partner.example. A 198.51.100.98", "mx.relayed.example. A 198.51.100.97",
			}); err != nil {
				t.Fatal(err)
			}
			for to, want := range map[string]string{
				"x@www.partner.example":                    "550 5.7.1",
				"x@cdn.relayed.example":                    "550 5.7.1",
				"x%www.partner.example@example.test":       "550 5.7.1",
				"x%www.partner.example@mx.partner.example": "550 5.7.1",
				`"x@www.partner.example"`:                  "550 5.7.1",
				`"x@www.partner.example"@example.test`:     "55",
				"x@mx.partner.example":                     "250 ",
				"x@mx.relayed.example":                     "250 ",
				"x%mx.partner.example@example.test":        "250 ",
				"root@example.test":                        "250 ",
			} {
				if reply := conversation(t, stranger, port25, "MAIL FROM:<>", "RCPT TO:<"+to+">"); !strings.HasPrefix(reply, want) {
					t.Errorf("%s: %s, expected %s", to, reply, want)
				}
			}
		})
	}
}
