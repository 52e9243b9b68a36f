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
