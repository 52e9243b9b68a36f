package integration_test

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// decidedByMailbox are, by scene, all verdicts that a redacted recording replays
// differently: those that an entry for one mailbox decides, such as From:bad@good.example
// or Spam:friend@, and with them the ends of their messages. A line is
// DIALOGUE: STAGE: LIVE -> REPLAYED.
var decidedByMailbox = map[string][]string{
	"standard": {
		"disguised-sender: rcpt: reject -> accept",
		"disguised-sender: rcpt: reject -> accept",
		"disguised-sender: rcpt: reject -> accept",
		"disguised-sender: rcpt: reject -> accept",
		"disguised-sender: rcpt: reject -> accept",
		"friend: eom: accept -> not reached",
		"friend: rcpt: accept -> tempfail",
		"from-discard: rcpt: discard -> accept",
		"from-ok: eom: accept -> not reached",
		"from-ok: rcpt: accept -> tempfail",
		"from-quarantine: eom: quarantine -> accept",
		"from-quarantine: rcpt: quarantine -> accept",
		"from-reject: rcpt: reject -> accept",
		"recipient-blocked: rcpt: reject -> accept",
		"recipient-error: rcpt: reject -> accept",
		"several-messages: eom: quarantine -> accept",
		"several-messages: rcpt: quarantine -> accept",
		"several-messages: rcpt: reject -> accept",
	},
	"early": {
		"from-discard: mail: discard -> accept",
		"from-reject: mail: reject -> accept",
	},
	"doors": {
		"discarded: rcpt: discard -> accept",
		"held-and-scrubbed: eom: quarantine -> accept",
		"held-and-scrubbed: rcpt: quarantine -> accept",
		"rejected-sender: rcpt: reject -> accept",
	},
	// Whose address a sender is, and whose login an exception is for, is not to be seen.
	"senders": {
		"any-address: rcpt: accept -> reject",
		"login-with-plus: rcpt: accept -> reject",
		"login-with-plus: rcpt: accept -> reject",
		"own-address: rcpt: accept -> reject",
		"own-address: rcpt: accept -> reject",
		"own-address: rcpt: accept -> reject",
		"own-address: rcpt: accept -> reject",
	},
	"limits": {
		"login-below: rcpt: reject -> accept",
		"login-below: rcpt: reject -> accept",
	},
}

// TestARedactedRecordingHoldsNothingPrivate looks in the recordings of all scenes for
// every mailbox, user, password and header field that their dialogues have, and replays
// them: only what rests on a single mailbox is decided differently.
func TestARedactedRecordingHoldsNothingPrivate(t *testing.T) {
	for _, scene := range scenes {
		t.Run(scene.name, func(t *testing.T) {
			config, more := grantsOf(scene.name)
			s := recordScene(t, scene.name, scene.dir, "redact: true, compress: none", config, more)
			text := recordedText(t, s.dir)
			for _, session := range s.sessions {
				// A name may also be a piece of an IPv6 address.
				text = strings.ReplaceAll(text, fmt.Sprintf("%q", session.Connect.Addr), "ADDRESS")
				// A label of a client's host may also be a mailbox.
				for _, host := range []string{session.Connect.Name, session.Connect.PTR, session.HELO} {
					if strings.Contains(host, ".") {
						text = strings.ReplaceAll(text, host, "HOST")
					}
				}
			}
			private := privateTexts(t, s)
			if len(private) < 3 {
				t.Fatalf("the dialogues have only %d private texts: %q", len(private), private)
			}
			var log strings.Builder
			for _, v := range s.live {
				log.WriteString(v.text + "\n")
			}
			shown := 0
			for _, p := range private {
				if asWord(p).MatchString(log.String()) {
					shown++
				}
				if place := asWord(p).FindStringIndex(text); place != nil {
					t.Errorf("%q is in the recording: ...%s...", p, text[max(0, place[0]-80):min(len(text), place[1]+80)])
				}
			}
			// The log has addresses as they are.
			if shown < 3 {
				t.Errorf("only %d of %q are in the log: the search does not find them", shown, private)
			}
			for _, session := range s.sessions {
				for _, m := range session.Messages {
					if len(m.Headers) > 0 {
						t.Errorf("%s: header fields are recorded: %q", session.ID, m.Headers)
					}
				}
			}
			want := decidedByMailbox[scene.name]
			status := 0
			if len(want) > 0 {
				status = 1
			}
			if diff := cmp.Diff(want, s.decidedDifferently(t, status)); diff != "" {
				t.Errorf("decided differently (-want +got):\n%s", diff)
			}
			t.Logf("%d octets of recording hold none of %d private texts", len(text), len(private))
		})
	}
}

// recordedText is all that a recording which is not compressed holds.
func recordedText(t *testing.T, dir string) string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*.jsonl"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no recording in %s: %v", dir, err)
	}
	var b strings.Builder
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		b.Write(text)
	}
	return b.String()
}

var (
	// spokenPath is the address of a MAIL or RCPT command.
	spokenPath = regexp.MustCompile(`(?mi)^> (?:MAIL FROM|RCPT TO):<(.*)>`)
	// login is an AUTH step.
	login = regexp.MustCompile(`(?m)^auth \S+ (\S+) (\S+)$`)
	// field is a line of a header: in no dialogue does a command look like one.
	field = regexp.MustCompile(`(?m)^> ([A-Z][A-Za-z-]*): (.*)$`)
	// word is a part of an address; hosts have dots.
	word = regexp.MustCompile(`[A-Za-z0-9._-]+`)
)

// privateTexts are what the dialogues of a scene and its files say of people: whole
// addresses, the parts of them that are no hosts, user names and passwords, and the
// values of header fields.
func privateTexts(t *testing.T, s *recordedScene) []string {
	t.Helper()
	found := make(map[string]bool)
	for _, name := range s.options.Mailboxes {
		found[name] = true
	}
	for name, password := range s.options.Users {
		found[name], found[password] = true, true
	}
	for _, d := range s.dialogues {
		text, err := os.ReadFile(d.File)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range spokenPath.FindAllStringSubmatch(string(text), -1) {
			public := true
			for _, w := range word.FindAllString(m[1], -1) {
				if strings.Contains(w, ".") || strings.EqualFold(w, "postmaster") || strings.EqualFold(w, "abuse") {
					continue
				}
				public = false
				if found[w] = true; len(w) == 1 {
					// A single letter is a word in many places, but no mailbox.
					delete(found, w)
					found[w+"@"] = true
				}
			}
			if !public {
				found[m[1]] = true
			}
		}
		for _, m := range login.FindAllStringSubmatch(string(text), -1) {
			found[m[1]], found[m[2]] = true, true
		}
		for _, m := range field.FindAllStringSubmatch(string(text), -1) {
			found[m[2]] = true
		}
	}
	return slices.Sorted(maps.Keys(found))
}

// asWord finds a text as a word or words of their own, in any case, as it is and as JSON
// has it.
func asWord(s string) *regexp.Regexp {
	quoted := strings.Trim(fmt.Sprintf("%q", s), `"`)
	return regexp.MustCompile(`(?i)(?:^|[^A-Za-z0-9])(?:` + regexp.QuoteMeta(s) + `|` + regexp.QuoteMeta(quoted) + `)(?:$|[^A-Za-z0-9])`)
}

// decidedDifferently replays the recording and lists what is not decided as it was
// live. The exit status has to be status.
func (s *recordedScene) decidedDifferently(t *testing.T, status int) []string {
	t.Helper()
	names := make(map[string]string)
	for _, session := range s.sessions {
		names[clientOf(session)] = s.dialogueOf(session)
	}
	m := s.match(t, s.replay(t, status))
	var changed []string
	for _, p := range m.pairs {
		if p.live.action != p.replayed.Action {
			changed = append(changed, fmt.Sprintf("%s: %s: %s -> %s", names[p.live.client], p.live.stage, p.live.action, p.replayed.Action))
		}
	}
	for _, v := range m.missed {
		changed = append(changed, fmt.Sprintf("%s: %s: %s -> not reached", names[v.client], v.stage, v.action))
	}
	slices.Sort(changed)
	return changed
}
