package policy

import (
	"strings"
	"testing"
)

// BenchmarkMessage is one message to one recipient through every check.
func BenchmarkMessage(b *testing.B) {
	p := fixture(b, table)
	conn := client("203.0.113.8", "mail.good.example")
	b.ReportAllocs()
	for b.Loop() {
		decide(p, conn, Auth{}, "a@good.example", "x@example.test", "local")
	}
}

// BenchmarkSenderRights is one message of a login, and of a stranger, with the checks on
// who may send as whom and without.
func BenchmarkSenderRights(b *testing.B) {
	with := fixture(b, table)
	with.Checks.SenderLogin = SenderLoginCheck{Mode: ModeEnforce, Allow: loginsOwn(b), NullSender: true}
	with.Checks.OwnSender = OwnSenderCheck{Mode: ModeEnforce, Domains: Domains{Local: true}}
	conn := client("203.0.113.8", "mail.good.example")
	for _, p := range []struct {
		name string
		*Policy
	}{{"without", fixture(b, table)}, {"with", with}} {
		for name, auth := range map[string]Auth{"login": {Type: "PLAIN", Authen: "a@good.example"}, "stranger": {}} {
			b.Run(name+" "+p.name, func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					decide(p.Policy, conn, auth, "a@good.example", "x@example.test", "local")
				}
			})
		}
	}
}

func loginsOwn(b *testing.B) []SenderRule {
	r, err := ParseSenderRule("{login}")
	if err != nil {
		b.Fatal(err)
	}
	return []SenderRule{r}
}

// BenchmarkLongAddress: the cost of a hostile address is bounded.
func BenchmarkLongAddress(b *testing.B) {
	p := fixture(b, table)
	conn := client("203.0.113.8", strings.Repeat("a.", 1<<19)+"example")
	for _, to := range []string{strings.Repeat("a.", 1<<19) + "@x", strings.Repeat("x%", 511) + "@example.test"} {
		b.Run("", func(b *testing.B) {
			for b.Loop() {
				decide(p, conn, Auth{}, to, to, "esmtp")
			}
		})
	}
}
