package configs

import (
	"bytes"
	"strings"
	"testing"
)

func TestALongListOfProblemsIsCutShort(t *testing.T) {
	var p problems
	for i := range 150 {
		p.add("milterd.yaml", i+1, "wrong")
	}
	lines := strings.Split(p.err().Error(), "\n")
	if len(lines) != maxTold+1 || lines[maxTold] != "and 50 more problems" {
		t.Errorf("%d lines, the last is %q", len(lines), lines[len(lines)-1])
	}
}

// TestALargeBrokenFileIsNotSearchedLineByLine: each attempt parses the file anew.
func TestALargeBrokenFileIsNotSearchedLineByLine(t *testing.T) {
	broken := append([]byte("x: [\n"), bytes.Repeat([]byte(strings.Repeat("a, ", 70)+"\n"), 900)...)
	if n := brokenLine(broken); n != 0 {
		t.Errorf("searched to line %d", n)
	}
	if n := brokenLine([]byte("a: 1\nb: [\n")); n != 2 {
		t.Errorf("a short file: line %d, want 2", n)
	}
}

func TestAClassThatRelaysForAWholeTopLevelDomainIsSuspect(t *testing.T) {
	for name, want := range map[string]bool{
		"com": true, ".example": true, ".": true, "IPv6": true,
		"example.com": false, ".example.com": false, "203.0.113": false, "10": false, "IPv6:2001:db8": false,
	} {
		if got := tooBroad(name); got != want {
			t.Errorf("%q: %v, want %v", name, got, want)
		}
	}
}
