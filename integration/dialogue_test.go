package integration_test

import (
	"path/filepath"
	"strings"
	"testing"

	"milterd/integration/harness"
)

// scenes are the set-ups that dialogues and sessions are written for: the files
// right in dialogues and sessions belong to the standard one, the others have a
// directory of their own.
var scenes = []struct{ name, dir string }{
	{"standard", ""},
	{"strict", "strict"},
	{"early", "early"},
	{"shadow", "shadow"},
	{"lists", "lists"},
	{"doors", "doors"},
	{"senders", "senders"},
	{"limits", "limits"},
}

func TestDialogues(t *testing.T) {
	for _, scene := range scenes {
		t.Run(scene.name, func(t *testing.T) {
			dialogues, options := readScene(t, scene.name, scene.dir)
			env := start(t, options)
			play(t, env, dialogues)
			countLines(t, env)
		})
	}
}

// countLines looks at the lines about messages that were taken without a refusal: there is
// one about each.
func countLines(t *testing.T, env *harness.Env) {
	t.Helper()
	messages, octets := 0, 0
	for _, line := range env.Milterd.Log.FindAll(0, "level=INFO msg=accept queue=") {
		_, rest, _ := strings.Cut(line, " queue=")
		id, rest, _ := strings.Cut(rest, " ")
		all := env.Milterd.Log.FindAll(0, "level=INFO msg=", " queue="+id+" ")
		// What the map door has refused the filter door does not count.
		if strings.Contains(rest, " refused=") || strings.Contains(strings.Join(all, "\n"), " door=map ") {
			continue
		}
		if messages, octets = messages+1, octets+len(line)+1; len(all) != 1 {
			t.Errorf("message %s has %d lines: %q", id, len(all), all)
		}
	}
	if messages > 0 {
		t.Logf("%d messages taken without a refusal, a line of %d octets each", messages, octets/messages)
	}
}

// readScene reads the dialogues of a scene and what they need.
func readScene(t *testing.T, name, dir string) ([]*harness.Dialogue, harness.Options) {
	t.Helper()
	dialogues, err := harness.ReadDialogues(filepath.Join("dialogues", dir))
	if err != nil {
		t.Fatal(err)
	}
	options, err := harness.ReadScene(filepath.Join("scenes", name))
	if err != nil {
		t.Fatal(err)
	}
	clients := make(map[string]string)
	for _, d := range dialogues {
		if other, taken := clients[d.Client()]; taken {
			t.Fatalf("%s and %s both are %s, expected a client of its own for each", d.File, other, d.Client())
		}
		clients[d.Client()] = d.File
	}
	options.AddDNS(dialogues...)
	return dialogues, options
}

// play speaks dialogues side by side and waits for all of them.
func play(t *testing.T, env *harness.Env, dialogues []*harness.Dialogue) {
	t.Helper()
	t.Run("dialogue", func(t *testing.T) {
		for _, d := range dialogues {
			t.Run(d.Name, func(t *testing.T) {
				t.Parallel()
				if err := env.Play(d, nil); err != nil {
					t.Error(err)
				}
			})
		}
	})
}

// TestBothDoorsTellTheSameOfSenders plays the dialogues about senders with a sendmail
// whose own rules ask milterd, too: then the map door is the one that answers.
func TestBothDoorsTellTheSameOfSenders(t *testing.T) {
	dialogues, options := readScene(t, "senders", "senders")
	_, doors := readScene(t, "doors", "doors")
	options.Include, options.Access = doors.Include, ""
	env := start(t, options)
	play(t, env, dialogues)
	if log := env.Milterd.Log.String(); !strings.Contains(log, "door=map") || !strings.Contains(log, "check=sender_login") || !strings.Contains(log, "check=own_sender") {
		t.Errorf("the map door has not refused senders:\n%s", log)
	}
}
