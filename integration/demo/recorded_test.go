package main

import (
	"strings"
	"testing"
)

func TestTheRecordedDemonstrationShowsEveryClient(t *testing.T) {
	var out strings.Builder
	ok, err := recorded(&out)
	if err != nil || !ok {
		t.Fatalf("ok %v, error %v:\n%s", ok, err, out.String())
	}
	for _, name := range clients {
		if !strings.Contains(out.String(), ". "+name+" ─") {
			t.Errorf("no heading of %s", name)
		}
	}
	for _, want := range []string{
		"All 14 clients got the answer they should.",
		"  milterd: rcpt <shin@example.test>: tempfail 450 4.7.25 Access denied. IP name lookup failed\n",
		"accepted, held in quarantine",
		"left to sendmail",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in:\n%s", want, out.String())
		}
	}
	for line := range strings.Lines(out.String()) {
		if len([]rune(line)) > 101 {
			t.Errorf("a line is too wide: %s", line)
		}
	}
}
