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

// An administrator's change of the standard scene: unconfirmed names are refused, so is a
// sender, and a client may no longer relay.
const (
	forgedRefused = "checks: {rdns: {forged: {action: reject}}}\n"
	senderRefused = "From:shin@example.test\tREJECT\n"
	relayRemoved  = "Connect:203.0.113.33\t\t\tRELAY\n"
)

// changedByAgainst are all dialogues of the standard scene with what the change does to
// them.
var changedByAgainst = []string{
	"forged: eom: accept -> not reached",
	"forged: rcpt: accept -> tempfail rdns",
	"ipv6-relay-network: eom: accept -> not reached",
	"ipv6-relay-network: rcpt: accept -> reject sender",
	"relay-network: eom: accept -> not reached",
	"relay-network: rcpt: accept -> reject relay",
}

// against compares the recorded traffic with the changed configuration.
func (s *recordedScene) against(t *testing.T) {
	dir := t.TempDir()
	access := s.options.Files["access"]
	if !strings.Contains(access, relayRemoved) {
		t.Fatalf("the access table of the scene has no line %q", relayRemoved)
	}
	other := filepath.Join(dir, "milterd.yaml")
	for name, text := range map[string]string{
		other:                        s.options.Config + forgedRefused,
		filepath.Join(dir, "access"): strings.Replace(access, relayRemoved, "", 1) + senderRefused,
	} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	listed, complaints, status := elsewhere(t, "-config", harness.ConfigFile, "-against", other, "-json", s.dir)
	if status != 1 || complaints != "" {
		t.Errorf("milterd -check -against: exit status %d, want 1\n%s", status, complaints)
	}
	names := make(map[string]string)
	for _, session := range s.sessions {
		names[session.ID] = s.dialogueOf(session)
	}
	var changed []string
	sessions := make(map[string]bool)
	decoder := json.NewDecoder(strings.NewReader(listed))
	for decoder.More() {
		var c struct {
			Session, Stage string
			Old, New       *struct{ Action, Check string }
		}
		if err := decoder.Decode(&c); err != nil {
			t.Fatal(err)
		}
		is := "not reached"
		if c.New != nil {
			is = strings.TrimSpace(c.New.Action + " " + c.New.Check)
		}
		sessions[c.Session] = true
		changed = append(changed, fmt.Sprintf("%s: %s: %s -> %s", names[c.Session], c.Stage, c.Old.Action, is))
	}
	slices.Sort(changed)
	if diff := cmp.Diff(changedByAgainst, changed); diff != "" {
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
