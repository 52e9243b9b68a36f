package integration_test

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"milterd/integration/harness"
	"milterd/policy/replay"
)

// TestWhatTheMapDoorDecidedReplays records sessions that end at the map door, with the
// filter door and without it, with the table and without it. They replay the same, and a
// RELAY that is added and a REJECT that is removed change their own sessions and no others.
func TestWhatTheMapDoorDecidedReplays(t *testing.T) {
	noFilter, noAccess := set("MILTERD_NO_FILTER", ""), set("MILTERD_NO_ACCESS", "")
	for _, c := range []struct{ name, lines string }{
		{"both doors", ""},
		{"both doors and one question", noFeatures + noAccess},
		{"the map door alone", noFilter},
		{"one question alone", noFeatures + noAccess + noFilter},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, options := readScene(t, "doors", "doors")
			dir, config := t.TempDir(), options.Config
			options.Include = c.lines + options.Include
			options.Config += fmt.Sprintf("\nrecord: {dir: %q, redact: false}\n", dir)
			env := start(t, options)
			traffic := []struct{ from, to, want, change string }{
				{"192.0.2.20", "x@other.example", "550 5.7.1", ""},
				{"192.0.2.25", "x@other.example", "550 5.7.1", "reject -> accept"},
				{"192.0.2.16", "shin@example.test", "550 5.7.1", "reject -> accept"},
				{"192.0.2.20", "shin@example.test", "250", ""},
				{"198.51.100.33", "x@other.example", "250", ""},
			}
			var want []string
			for _, s := range traffic {
				if reply := rcpt(t, s.from, s.to); !strings.HasPrefix(reply, s.want) {
					t.Errorf("%s to %s: %s, expected %s", s.from, s.to, reply, s.want)
				}
				if s.change != "" {
					want = append(want, s.from+": rcpt: "+s.change)
				}
			}
			slices.Sort(want)
			if err := env.Close(); err != nil {
				t.Fatal(err)
			}
			sessions := make(map[string]*replay.Session)
			for _, s := range readRecording(t, dir) {
				sessions[s.ID] = s
			}
			if len(sessions) != len(traffic) {
				t.Errorf("%d sessions, expected %d", len(sessions), len(traffic))
			}
			if out, complaints, status := elsewhere(t, "-config", harness.ConfigFile, dir); status != 0 || complaints != "" {
				t.Errorf("milterd -check: exit status %d\n%s%s", status, out, complaints)
			}
			other := filepath.Join(t.TempDir(), "milterd.yaml")
			writeFile(t, other, config)
			table := strings.Replace(options.Files["access"], "Connect:192.0.2.16\t\tREJECT\n", "", 1)
			if table == options.Files["access"] {
				t.Fatal("the access table of the scene has no such line")
			}
			writeFile(t, filepath.Join(filepath.Dir(other), "access"), table+"Connect:192.0.2.25\tRELAY\n")
			if got := changesBy(t, other, dir, sessions); !cmp.Equal(got, want) {
				t.Errorf("what changes (-want +got):\n%s", cmp.Diff(want, got))
			}
		})
	}
}

// changesBy are the recipients that another configuration decides about in another way,
// sorted.
func changesBy(t *testing.T, other, dir string, sessions map[string]*replay.Session) (changed []string) {
	t.Helper()
	for _, x := range changedBy(t, other, dir) {
		// With a recipient that is taken now, the message comes to its end.
		if x.Stage != "eom" {
			changed = append(changed, fmt.Sprintf("%s: %s: %s -> %s", sessions[x.Session].Connect.Addr, x.Stage, x.Old.Action, x.New))
		}
	}
	slices.Sort(changed)
	return changed
}
