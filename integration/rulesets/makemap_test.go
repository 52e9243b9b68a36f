package rulesets

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"milterd/policy/access"
)

// TestLinesAreTakenAsByMakemap puts lines of all kinds to makemap and to the reader
// of the table: what the one takes, the other does, with the same value, unless it
// could never match.
func TestLinesAreTakenAsByMakemap(t *testing.T) {
	requireSendmail(t)
	_, generators := newGenerators(t)
	for i, g := range generators {
		lines := g.lines()
		file := filepath.Join(t.TempDir(), "map")
		c := exec.Command("makemap", "hash", file)
		c.Stdin = strings.NewReader(lines)
		// It says with exit status 65 that it has left lines out.
		if out, err := c.CombinedOutput(); err != nil && c.ProcessState.ExitCode() != 65 {
			t.Fatalf("makemap: %v\n%s", err, out)
		}
		dump, err := exec.Command("makemap", "-u", "hash", file).Output()
		if err != nil {
			t.Fatalf("makemap -u: %v", err)
		}
		table, problems, err := access.Parse("access", strings.NewReader(lines), access.Features{})
		if err != nil {
			t.Fatal(err)
		}
		entries := 0
		for line := range strings.Lines(string(dump)) {
			key, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "\t")
			got, _, ok := table.Lookup(key)
			if neverMatches(key) {
				continue
			}
			entries++
			if !ok || got != strings.TrimSpace(value) {
				t.Errorf("table %d: makemap has %q with %q, milterd %q (%t)", i, key, value, got, ok)
			}
		}
		if table.Len() != entries {
			t.Errorf("table %d: %d entries, makemap has %d of them\n%.2000q\n%.2000v", i, table.Len(), entries, lines, problems)
		}
	}
}

// neverMatches reports whether milterd leaves an entry out that makemap takes.
func neverMatches(key string) bool {
	network := strings.Contains(key, "/") && !strings.Contains(key, "/cn")
	return strings.HasPrefix(key, "\xef\xbb\xbf") || network
}

// lines are lines of a table as they should not be, among some that are right.
func (g generator) lines() string {
	var b strings.Builder
	if g.chance(20) {
		b.WriteString("\xef\xbb\xbf")
	}
	for i := range 5 + g.IntN(40) {
		key := fmt.Sprintf("%s.%d", g.key(), i)
		value := g.value()
		switch g.IntN(16) {
		case 0:
			key = " " + key
		case 1:
			value = ""
		case 2:
			value = "550 " + strings.Repeat("x", 1022-len(key)-len("\t550 ")+g.IntN(3)-1)
		case 3:
			value += pick(g, " ", "\t", "\r", " # a comment", "\v")
		case 4:
			key, value = pick(g, "", " ", "\t ", "#"+key, "# "+key), ""
		case 5:
			key = fmt.Sprintf("%s.%d", strings.ToUpper(g.key()), g.IntN(3))
		case 6:
			key = pick(g, "Connect:198.51.100.7/24", "203.0.113.0/255.255.255.0", "::ffff:192.0.2.0/120", "From:192.0.2.0/33")
		case 7:
			key = `"` + key + `"`
		}
		b.WriteString(key + pick(g, "\t", " ", "\t\t ", "\v") + value + "\n")
	}
	return b.String()
}
