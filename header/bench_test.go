package header

import (
	"fmt"
	"runtime"
	"strings"
	"testing"
)

// hostile returns values of about n octets that are made to be expensive.
func hostile(n int) map[string]string {
	values := make(map[string]string)
	for _, s := range []string{"(", ")", "((a)", `"`, `\`, `"\`, `(\`, "<", "<;", ";", "a ", "from ", "by ", "from x by ", "(x) ", "a@", "a.", "a:", "1-", "1.", "/1", "::", "\n\t", "; Mon, 5 Feb 2024 10:00:00 +0100", "tls-", "(tls) ", "h=received:", ";h=received"} {
		values[s] = "from x " + strings.Repeat(s, n/len(s))
		values["after a comment "+s] = "from x (" + strings.Repeat(s, n/len(s)) + ") by y"
	}
	return values
}

// TestHostileValuesCostInProportion: eight times the length takes no more than
// eight times the memory, and some. All that is done is done to tokens or bytes
// that are written, and each is allocated.
func TestHostileValuesCostInProportion(t *testing.T) {
	const small, factor = 1 << 14, 8
	rules := rulesOf(t, "client, version, with, version X-Mailer")
	bytes := func(value string) uint64 {
		fields := []Field{{"Received", value}, {"X-Mailer", value}, {"DKIM-Signature", value}}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		Plan(fields, rules, "")
		runtime.ReadMemStats(&after)
		return after.TotalAlloc - before.TotalAlloc
	}
	large := hostile(small * factor)
	for name, value := range hostile(small) {
		if a, b := bytes(value), bytes(large[name]); b > 2*factor*a+1<<16 {
			t.Errorf("%q: %d octets take %d bytes, %d take %d", name, len(value), a, len(large[name]), b)
		}
	}
}

// BenchmarkPlan is the header of a usual message: six hops and twenty other
// fields.
func BenchmarkPlan(b *testing.B) {
	c := client{"host.client.example", "laptop.lan", "203.0.113.8", "shin", "shin"}
	var fields []Field
	for _, i := range []int{0, 3, 4, 5, 7, 8} {
		fields = append(fields, Field{"Received", c.field(styles[i])})
	}
	for i := range 18 {
		fields = append(fields, Field{fmt.Sprintf("X-Field-%d", i), "some text"})
	}
	fields = append(fields, Field{"User-Agent", "Mozilla Thunderbird 115.3"}, Field{"DKIM-Signature", "v=1; a=rsa-sha256; d=example.test; s=sel; h=From:To:Subject:Date:Message-ID; bh=x; b=y"})
	rules := rulesOf(b, "client, version, version User-Agent, version X-Mailer, remove X-Originating-IP")
	scrubbed := Apply(fields, first(Plan(fields, rules, "")))
	for name, fields := range map[string][]Field{"to scrub": fields, "scrubbed": scrubbed} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				Plan(fields, rules, "")
			}
		})
	}
}

// BenchmarkHostile is the cost of a megabyte that is made to be expensive.
func BenchmarkHostile(b *testing.B) {
	rules := rulesOf(b, "client, version, with, version X-Mailer")
	for name, value := range hostile(1 << 20) {
		b.Run(fmt.Sprintf("%q", name), func(b *testing.B) {
			for b.Loop() {
				Plan([]Field{{"Received", value}, {"X-Mailer", value}, {"DKIM-Signature", value}}, rules, "")
			}
		})
	}
}
