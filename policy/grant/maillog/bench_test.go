package maillog

import (
	"strings"
	"testing"
)

func BenchmarkParse(b *testing.B) {
	lines := map[string]string{
		"login":   servers[0].login("shin", ""),
		"failure": servers[0].failed("shin", ""),
		"other":   "2026-11-22T10:00:00.123456+01:00 mx sm-mta[4711]: 1AM0x5: from=<a@good.example>, size=1000, class=0, nrcpts=1, relay=h [203.0.113.8]",
	}
	for name, line := range lines {
		b.Run(name, func(b *testing.B) {
			parse := named(b, "dovecot").Parser()
			b.SetBytes(int64(len(line)))
			b.ReportAllocs()
			for b.Loop() {
				parse(line)
			}
		})
	}
}

func BenchmarkSplit(b *testing.B) {
	text := []byte(strings.Repeat(servers[0].failed("shin", "")+"\n", 300))
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	var s splitter
	for b.Loop() {
		s.add(text, func([]byte) {})
	}
}
