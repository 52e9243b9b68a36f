package integration_test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"gopkg.in/yaml.v3"

	"milterd/integration/harness"
	"milterd/integration/testkit"
	"milterd/policy/replay"
)

// tapped is added to a configuration so that milterd listens behind a recorder.
const tapped = "\nlisten: {milter: 'local:" + harness.TappedSocket + "'}\n"

// TestSessionsAreWhatSendmailReports plays every dialogue through a recorder
// and compares what sendmail reports and milterd answers with the recorded
// sessions. With -update it writes them.
func TestSessionsAreWhatSendmailReports(t *testing.T) {
	for _, scene := range scenes {
		t.Run(scene.name, func(t *testing.T) {
			dialogues, options := readScene(t, scene.name, scene.dir)
			r := &recorder{sessions: make(map[string][]*replay.Session)}
			options.Config += tapped
			options.Tap = r.listen
			env := start(t, options)
			play(t, env, dialogues)
			// The recorder has seen the end of every connection after that.
			if err := env.Close(); err != nil {
				t.Fatal(err)
			}
			for _, d := range dialogues {
				file := filepath.Join("sessions", scene.dir, d.Name+".yaml")
				if *testkit.Update {
					writeSessions(t, file, d, r.of(d))
				}
				if diff := cmp.Diff(readSessions(t, file), r.of(d), comparable...); diff != "" {
					t.Errorf("%s (-recorded before +reported now):\n%s", file, diff)
				}
			}
		})
	}
}

// comparable leaves out where a session was read from, and what depends on the
// TLS libraries.
var comparable = cmp.Options{
	cmpopts.EquateEmpty(),
	cmpopts.IgnoreFields(replay.Session{}, "File", "Line"),
	cmpopts.IgnoreFields(replay.TLS{}, "Version", "Cipher", "Bits"),
}

// readSessions reads a file of sessions; none where there is no file.
func readSessions(t *testing.T, file string) []*replay.Session {
	t.Helper()
	var sessions []*replay.Session
	err := replay.ReadFile(file, func(s *replay.Session) { sessions = append(sessions, s) })
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	return sessions
}

// TestSessionsTellTheVerdictsOfDialogues compares what the two say, word by
// word, without a server.
func TestSessionsTellTheVerdictsOfDialogues(t *testing.T) {
	for _, scene := range scenes {
		dialogues, _ := readScene(t, scene.name, scene.dir)
		var names []string
		for _, d := range dialogues {
			names = append(names, d.Name)
			t.Run(scene.name+"/"+d.Name, func(t *testing.T) {
				var refusals []string
				var held, gone bool
				for _, s := range readSessions(t, filepath.Join("sessions", scene.dir, d.Name+".yaml")) {
					for _, x := range s.Expect {
						if x.Reply != "" && x.Reply != "250" {
							refusals = append(refusals, x.Reply)
						}
						held = held || x.Action == "quarantine"
						gone = gone || x.Action == "discard"
					}
				}
				if diff := cmp.Diff(d.Refusals(), refusals, cmpopts.EquateEmpty()); diff != "" {
					t.Errorf("replies of milterd (-dialogue +session):\n%s", diff)
				}
				if held != d.Held() || gone != d.Gone() {
					t.Errorf("session: quarantine %t, discard %t; dialogue: %t, %t", held, gone, d.Held(), d.Gone())
				}
			})
		}
		files, err := filepath.Glob(filepath.Join("sessions", scene.dir, "*.yaml"))
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			if name := strings.TrimSuffix(filepath.Base(file), ".yaml"); !slices.Contains(names, name) {
				t.Errorf("%s has no dialogue", file)
			}
		}
	}
}

// writeSessions writes a file of sessions for people to read.
func writeSessions(t *testing.T, file string, d *harness.Dialogue, sessions []*replay.Session) {
	t.Helper()
	if len(sessions) == 0 {
		return
	}
	var b strings.Builder
	for i, s := range sessions {
		if i > 0 {
			b.WriteString("---\n")
		}
		if err := writeSession(&b, d.Title, s); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(b.String()), 0o644); err != nil {
		t.Fatal(err)
	}
}

// writeSession writes one session under a comment, without what is empty.
func writeSession(b *strings.Builder, title string, s *replay.Session) error {
	var node yaml.Node
	if err := node.Encode(s); err != nil {
		return err
	}
	prune(&node)
	for i := 0; i+1 < len(node.Content); i += 2 {
		switch key, value := node.Content[i].Value, node.Content[i+1]; key {
		case "tls", "auth":
			value.Style = yaml.FlowStyle
		case "expect":
			onOneLine(value)
		case "messages":
			for _, message := range value.Content {
				for j := 0; j+1 < len(message.Content); j += 2 {
					onOneLine(message.Content[j+1])
				}
			}
		}
	}
	node.HeadComment = wrap(title, 78)
	e := yaml.NewEncoder(b)
	e.SetIndent(2)
	return errors.Join(e.Encode(&node), e.Close())
}

// onOneLine puts a mapping, or each mapping of a list, on one line.
func onOneLine(n *yaml.Node) {
	if n.Kind == yaml.MappingNode {
		n.Style = yaml.FlowStyle
		return
	}
	for _, item := range n.Content {
		item.Style = yaml.FlowStyle
	}
}

// prune takes out keys without a value, but for the sender, whom a bounce does
// not have.
func prune(n *yaml.Node) {
	if n.Kind != yaml.MappingNode {
		for _, item := range n.Content {
			prune(item)
		}
		return
	}
	var kept []*yaml.Node
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		prune(value)
		empty := value.Kind == yaml.ScalarNode && (value.Value == "" || value.Value == "0" || value.Tag == "!!null") ||
			value.Kind != yaml.ScalarNode && len(value.Content) == 0
		if !empty || key.Value == "from" {
			kept = append(kept, key, value)
		}
	}
	n.Content = kept
}

// wrap breaks a text into lines of a width.
func wrap(text string, width int) string {
	var b strings.Builder
	column := 0
	for i, word := range strings.Fields(text) {
		switch {
		case i == 0:
		case column+1+len(word) > width:
			b.WriteByte('\n')
			column = 0
		default:
			b.WriteByte(' ')
			column++
		}
		b.WriteString(word)
		column += len(word)
	}
	return b.String()
}

// TestSessionsWithCheck replays the recorded sessions as an administrator
// would, with the configuration of their scene.
func TestSessionsWithCheck(t *testing.T) {
	binary := world.Binary
	if binary == "" {
		binary = filepath.Join(t.TempDir(), "milterd")
		if err := harness.Build(binary); err != nil {
			t.Fatal(err)
		}
	}
	for _, scene := range scenes {
		t.Run(scene.name, func(t *testing.T) {
			files, err := filepath.Glob(filepath.Join("sessions", scene.dir, "*.yaml"))
			if err != nil || len(files) == 0 {
				t.Fatalf("no sessions: %v", err)
			}
			args := append([]string{"-config", filepath.Join("scenes", scene.name, "milterd.yaml"), "-check"}, files...)
			out, err := exec.Command(binary, args...).CombinedOutput()
			if err != nil {
				t.Errorf("milterd %s: %v\n%s", strings.Join(args, " "), err, out)
			}
			// A session that goes unread would differ in nothing.
			for _, file := range files {
				for _, s := range readSessions(t, file) {
					if !strings.Contains(string(out), s.ID+" ") {
						t.Errorf("%s: %s is not in the report", file, s.ID)
					}
				}
			}
		})
	}
}
