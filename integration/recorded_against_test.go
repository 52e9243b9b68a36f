package integration_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"milterd/integration/harness"
)

// change is what an administrator changes in a scene: the configuration, and lines of the
// access table.
type change struct {
	config         string
	removed, added string
	// want are all dialogues, or others of the traffic, with what the change does to them.
	want []string
}

// changes are those of the scenes. In the scene doors what sendmail refuses by its question
// is all that the filter door never hears of.
var changes = map[string]change{
	"standard": {
		config:  "checks: {rdns: {forged: {action: reject}}}\n",
		removed: "Connect:203.0.113.33\t\t\tRELAY\n",
		added:   "From:shin@example.test\tREJECT\n",
		want: []string{
			"forged: eom: accept -> not reached",
			"forged: rcpt: accept -> tempfail rdns",
			"ipv6-relay-network: eom: accept -> not reached",
			"ipv6-relay-network: rcpt: accept -> reject sender",
			"relay-network: eom: accept -> not reached",
			"relay-network: rcpt: accept -> reject relay",
		},
	},
	"doors": {
		removed: "From:bad@good.example\t\tREJECT\n",
		added:   "Connect:192.0.2.25\tRELAY\n",
		want: []string{
			"rejected-sender: eom: not reached -> accept",
			"rejected-sender: rcpt: reject -> accept",
			"relay-refused: rcpt: reject -> accept",
		},
	},
}

// givenVerdict is one side of a change; nil is not reached.
type givenVerdict struct{ Action, Check string }

func (v *givenVerdict) String() string {
	if v == nil {
		return "not reached"
	}
	return strings.TrimSpace(v.Action + " " + v.Check)
}

// changedVerdict is a verdict that another configuration gives in another way.
type changedVerdict struct {
	Session, Stage string
	Old, New       *givenVerdict
}

// changedBy are what -check -against tells of recordings.
func changedBy(t *testing.T, other, dir string) (changed []changedVerdict) {
	t.Helper()
	listed, complaints, status := elsewhere(t, "-config", harness.ConfigFile, "-against", other, "-json", dir)
	if status != 1 || complaints != "" {
		t.Errorf("milterd -check -against: exit status %d, want 1\n%s", status, complaints)
	}
	for decoder := json.NewDecoder(strings.NewReader(listed)); decoder.More(); {
		var x changedVerdict
		if err := decoder.Decode(&x); err != nil {
			t.Fatal(err)
		}
		changed = append(changed, x)
	}
	return changed
}

// against compares the recorded traffic with the changed configuration.
func (s *recordedScene) against(t *testing.T, c change) {
	dir := t.TempDir()
	access := s.options.Files["access"]
	if !strings.Contains(access, c.removed) {
		t.Fatalf("the access table of the scene has no line %q", c.removed)
	}
	other := filepath.Join(dir, "milterd.yaml")
	for name, text := range map[string]string{
		other:                        s.options.Config + c.config,
		filepath.Join(dir, "access"): strings.Replace(access, c.removed, "", 1) + c.added,
	} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	names := make(map[string]string)
	for _, session := range s.sessions {
		names[session.ID] = s.dialogueOf(session)
	}
	var changed []string
	sessions := make(map[string]bool)
	for _, x := range changedBy(t, other, s.dir) {
		sessions[x.Session] = true
		was := "not reached"
		if x.Old != nil {
			was = x.Old.Action
		}
		changed = append(changed, fmt.Sprintf("%s: %s: %s -> %s", names[x.Session], x.Stage, was, x.New))
	}
	slices.Sort(changed)
	if diff := cmp.Diff(c.want, changed); diff != "" {
		t.Errorf("what changes (-want +got):\n%s", diff)
	}
	text, complaints, status := elsewhere(t, "-config", harness.ConfigFile, "-against", other, s.dir)
	if sum := fmt.Sprintf("%d changes in %d sessions\n", len(changed), len(sessions)); status != 1 || complaints != "" || !strings.HasSuffix(text, sum) {
		t.Errorf("milterd -check -against: exit status %d, want 1, and at the end %q\n%s%s", status, sum, complaints, text)
	}
	same, complaints, status := elsewhere(t, "-config", harness.ConfigFile, "-against", harness.ConfigFile, s.dir)
	if status != 0 || complaints != "" || !strings.HasSuffix(same, ": nothing changes\n") {
		t.Errorf("milterd -check -against itself: exit status %d, want 0\n%s%s", status, complaints, same)
	}
	t.Logf("%d changes in %d of %d sessions", len(changed), len(sessions), len(s.sessions))
}
