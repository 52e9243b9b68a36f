package configs

import (
	"os"
	"regexp"
	"strings"
	"testing"
)

// TestTheUnitMayUseThePathsOfTheReference: what milterd.yaml writes to by default, and
// the paths that its comments suggest, must be among those that the unit's sandbox
// leaves open.
func TestTheUnitMayUseThePathsOfTheReference(t *testing.T) {
	unit, err := os.ReadFile("packaging/milterd.service")
	if err != nil {
		t.Fatal(err)
	}
	settings := make(map[string]string)
	for line := range strings.Lines(string(unit)) {
		if key, value, ok := strings.Cut(strings.TrimSpace(line), "="); ok && key[0] != '#' {
			settings[key] = value
		}
	}
	if settings["ProtectSystem"] != "strict" {
		t.Fatalf("ProtectSystem=%s, so nothing is proven here", settings["ProtectSystem"])
	}
	reference, err := os.ReadFile("milterd.yaml")
	if err != nil {
		t.Fatal(err)
	}
	open := map[string]string{"/run/": settings["RuntimeDirectory"], "/var/lib/": settings["StateDirectory"]}
	found := make(map[string]bool)
	for _, m := range regexp.MustCompile(`(/run/|/var/lib/)([a-z]+)/[a-z.]+`).FindAllStringSubmatch(string(reference), -1) {
		found[m[1]] = true
		if open[m[1]] != m[2] {
			t.Errorf("%s is not below %s%s, which the unit leaves open", m[0], m[1], open[m[1]])
		}
	}
	if len(found) != len(open) {
		t.Errorf("milterd.yaml names paths below %v only", found)
	}
}
