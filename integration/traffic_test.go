package integration_test

import (
	"encoding/json"
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"milterd/integration/harness"
	"milterd/policy/replay"
	"milterd/policy/replay/traffic"
)

// transcript writes down the envelope of each connection of a dialogue as its client
// sees it: each MAIL, RCPT and end of data with its reply.
type transcript struct {
	// connections are texts, by the client's address.
	connections map[string][]string
	mu          sync.Mutex
}

// speaker is the part of a transcript that one dialogue writes.
type speaker struct {
	transcript *transcript
	addr       string
	text       strings.Builder
	command    string
	data       bool
}

// observe takes a line of the dialogue.
func (s *speaker) observe(who harness.Speaker, line string) {
	switch who {
	case harness.Connect:
		s.end()
		from, _, _ := strings.Cut(line, " -> ")
		s.addr = from
	case harness.Client:
		verb, path, _ := strings.Cut(line, ":")
		switch {
		case s.data && line == ".":
			s.data, s.command = false, "eom <>"
		case s.data:
		case line == "DATA":
			s.command = line
		case verb == "MAIL FROM":
			s.command = "mail " + path
		case verb == "RCPT TO":
			s.command = "rcpt " + path
		default:
			s.command = ""
		}
	case harness.Server:
		s.reply(line)
	}
}

func (s *speaker) reply(line string) {
	command := s.command
	s.command = ""
	switch {
	case command == "":
	case command == "DATA":
		s.data = strings.HasPrefix(line, "354")
	case strings.Contains(line, "User unknown"):
		// That is no matter of policy.
		fmt.Fprintln(&s.text, command)
	case strings.HasPrefix(line, "250"):
		fmt.Fprintln(&s.text, command, "250")
	default:
		fmt.Fprintln(&s.text, command, harness.WithoutAddress(line))
	}
}

// end writes the connection down that has ended.
func (s *speaker) end() {
	if s.text.Len() > 0 {
		s.transcript.mu.Lock()
		s.transcript.connections[s.addr] = append(s.transcript.connections[s.addr], s.text.String())
		s.transcript.mu.Unlock()
	}
	s.text.Reset()
}

// envelopes writes the sessions of a log down in the same way. The sessions of one
// process are one connection: numbers are not given out twice in the world of a test.
func envelopes(sessions []*replay.Session) map[string][]string {
	texts, addrs := make(map[string]string), make(map[string]string)
	for _, s := range sessions {
		_, pid, _ := strings.Cut(s.ID, "-pid-")
		addrs[pid] = s.Connect.Addr
		expect := s.Expect
		add := func(stage, arg string, args ...string) {
			place := strings.Join(append([]string{stage + " <" + arg + ">"}, args...), " ")
			i := slices.IndexFunc(expect, func(x replay.Expect) bool { return x.Stage == stage && x.Arg == arg })
			if i >= 0 {
				place += " " + expect[i].Reply
				expect = expect[i+1:]
			}
			texts[pid] += place + "\n"
		}
		for _, m := range s.Messages {
			add("mail", m.Mail.From, m.Mail.Args...)
			for _, r := range m.Rcpt {
				add("rcpt", r.To, r.Args...)
			}
			if len(expect) > 0 && expect[0].Stage == "eom" {
				add("eom", "")
			}
		}
	}
	connections := make(map[string][]string)
	for pid, text := range texts {
		connections[addrs[pid]] = append(connections[addrs[pid]], text)
	}
	return connections
}

// sorted puts the connections of each client in an order: side by side they have none.
func sorted(connections map[string][]string) map[string][]string {
	for _, list := range connections {
		slices.Sort(list)
	}
	return connections
}

// TestTrafficLog plays the dialogues of the standard scene and reads what sendmail -X
// has written of them.
func TestTrafficLog(t *testing.T) {
	dialogues, options := readScene(t, "standard", "")
	env := start(t, options)
	spoken := &transcript{connections: make(map[string][]string)}
	t.Run("dialogue", func(t *testing.T) {
		for _, d := range dialogues {
			t.Run(d.Name, func(t *testing.T) {
				t.Parallel()
				s := &speaker{transcript: spoken}
				if err := env.Play(d, s.observe); err != nil {
					t.Error(err)
				}
				s.end()
			})
		}
	})
	log, err := env.Traffic()
	if err != nil {
		t.Fatal(err)
	}
	var sessions []*replay.Session
	err = traffic.Read("traffic.log", strings.NewReader(log), func(s *replay.Session) bool {
		sessions = append(sessions, s)
		return true
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Run("has what was said", func(t *testing.T) {
		if diff := cmp.Diff(sorted(spoken.connections), sorted(envelopes(sessions))); diff != "" {
			t.Errorf("envelopes (-spoken +imported):\n%s", diff)
		}
	})
	t.Run("has the clients that sendmail reports to its filter", func(t *testing.T) { compareClients(t, dialogues, sessions) })
	t.Run("is decided by milterd -check", func(t *testing.T) { checkLog(t, log, len(sessions)) })
}

// compareClients compares the facts about clients with recorded ones.
func compareClients(t *testing.T, dialogues []*harness.Dialogue, sessions []*replay.Session) {
	reported := make(map[string]*replay.Session)
	for _, d := range dialogues {
		for _, s := range readSessions(t, filepath.Join("sessions", d.Name+".yaml")) {
			// The last session of a dialogue has all that there is of TLS and AUTH.
			reported[s.Connect.Addr+" "+s.HELO+" "+s.Messages[0].Mail.From+" "+strconv.FormatBool(s.TLS.Version != "")] = s
		}
	}
	found := 0
	for _, s := range sessions {
		want := reported[s.Connect.Addr+" "+s.HELO+" "+s.Messages[0].Mail.From+" "+strconv.FormatBool(s.TLS.Version != "")]
		if want == nil {
			continue // sendmail refused all of it before it asked its filter
		}
		found++
		facts := func(s *replay.Session) replay.Connect {
			return replay.Connect{Addr: s.Connect.Addr, Name: s.Connect.Name, PTR: s.Connect.PTR, Resolve: s.Connect.Resolve}
		}
		if diff := cmp.Diff(facts(want), facts(s)); diff != "" {
			t.Errorf("%s (-reported +imported):\n%s", s.ID, diff)
		}
		if s.Auth.Type != want.Auth.Type {
			t.Errorf("%s: mechanism %q, reported %q", s.ID, s.Auth.Type, want.Auth.Type)
		}
	}
	if found < len(reported)*9/10 {
		t.Errorf("%d sessions are among the %d reported ones", found, len(reported))
	}
}

// checkLog has milterd decide the sessions of a log, which it reads from its standard
// input.
func checkLog(t *testing.T, log string, sessions int) {
	config := filepath.Join("scenes", "standard", "milterd.yaml")
	check := func(args ...string) string {
		cmd := exec.Command(world.Binary, append([]string{"-config", config, "-check"}, append(args, "-")...)...)
		cmd.Stdin = strings.NewReader(log)
		var stdout, stderr strings.Builder
		cmd.Stdout, cmd.Stderr = &stdout, &stderr
		err := cmd.Run()
		// The ports of the scene are not in the log, so some verdicts differ.
		if cmd.ProcessState == nil || cmd.ProcessState.ExitCode() > 1 {
			t.Fatalf("milterd -check %v: %v\n%s", args, err, stderr.String())
		}
		if secret := "AHNoaW5AbXguZXhhbXBsZS50ZXN0AHNlY3JldA=="; !strings.Contains(log, secret) || strings.Contains(stdout.String()+stderr.String(), secret) {
			t.Errorf("the password is not in the log, or is in what -check prints")
		}
		return stdout.String()
	}
	seen := make(map[string]bool)
	for line := range strings.Lines(check("-json")) {
		var verdict struct{ Session, Stage, Action string }
		if err := json.Unmarshal([]byte(line), &verdict); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		seen[verdict.Session] = true
	}
	if len(seen) != sessions {
		t.Errorf("verdicts on %d sessions, want %d", len(seen), sessions)
	}
	out := check("-explain")
	for _, want := range []string{
		" note: from a traffic log, ",
		" note: authenticated with CRAM-MD5, but the log does not say as whom\n",
		" note: TLS was begun, ",
		" mail <bad@good.example>: accept\n",
		" rcpt <shin@example.test>: tempfail 450 4.7.25 Access denied. Cannot resolve PTR record for 203.0.113.9 ",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("-check does not print %q:\n%s", want, out)
		}
	}
}
