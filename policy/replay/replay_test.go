package replay

import (
	"bytes"
	"errors"
	"io"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"gopkg.in/yaml.v3"

	"milterd/integration/testkit"
	"milterd/policy"
	"milterd/policy/access"
)

const laptop = `id: roaming-laptop
connect: {addr: 203.0.113.8, port: 40112, name: "[203.0.113.8]", ptr: "", resolve: FAIL,
          daemon: MTA, daemon_port: 25, daemon_addr: 203.0.113.25}
helo: laptop.lan
messages:
  - mail: {from: a@good.example, args: [SIZE=1000]}
    rcpt:
      - {to: x@other.example, mailer: esmtp, host: other.example., addr: x@other.example}
      - {to: x@example.test, mailer: local, addr: x}
    headers: [[Subject, hi]]
expect:
  - {stage: rcpt, arg: x@other.example, reply: "550 5.7.1 Relaying denied"}
  - {stage: rcpt, arg: x@example.test, action: accept}
  - {stage: eom, reply: "250 2.0.0 accepted"}
`

func fixture(t testing.TB) *policy.Policy {
	t.Helper()
	table, problems, err := access.Parse("access", strings.NewReader("From:lost@good.example DISCARD\nFrom:spam@good.example REJECT\nFrom:odd@good.example QUARANTINE:odd\n"), access.Features{})
	if err != nil || len(problems) > 0 {
		t.Fatal(err, problems)
	}
	deny := policy.Reply{Code: 550, Enhanced: "5.7.1", Text: "Relaying denied"}
	return &policy.Policy{
		Access: table,
		Local:  policy.NewClass("example.test"),
		Checks: policy.Checks{
			Relay:  policy.RelayCheck{Deny: deny, DenyAuth: deny, Temp: deny, Fail: deny, Forged: deny, LocalMailers: []string{"local"}},
			Sender: policy.TableCheck{Reject: policy.Reply{Code: 550, Enhanced: "5.7.1", Text: "Access denied"}},
			RDNS:   policy.RDNSCheck{Mode: policy.ModeOff}, SenderDomain: policy.SenderDomainCheck{Mode: policy.ModeOff},
		},
	}
}

func read(t testing.TB, text string) []*Session {
	t.Helper()
	var sessions []*Session
	if err := Read("test.yaml", strings.NewReader(text), func(s *Session) { sessions = append(sessions, s) }); err != nil {
		t.Fatal(err)
	}
	return sessions
}

// verdicts is what -check prints for the sessions of a text.
func verdicts(t testing.TB, text string) string {
	t.Helper()
	var out bytes.Buffer
	for _, s := range read(t, text) {
		if err := WriteText(&out, s, Run(fixture(t), s, nil), false); err != nil {
			t.Fatal(err)
		}
	}
	return out.String()
}

func TestASessionIsReplayedInOrder(t *testing.T) {
	want := `roaming-laptop mail <a@good.example>: accept
roaming-laptop rcpt <x@other.example>: reject 550 5.7.1 Relaying denied (relay, checks.relay.fail): nothing entitles this client by address, and its name is not confirmed
roaming-laptop rcpt <x@example.test>: accept: delivered on this host (local)
roaming-laptop eom: accept
`
	if diff := cmp.Diff(want, verdicts(t, laptop)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestAMissingOutcomeOfTheReverseLookUpIsNoted(t *testing.T) {
	const noted = "s note: connect.resolve is missing, so rdns passes"
	for connect, want := range map[string]bool{
		"{addr: 203.0.113.8}": true, "{addr: 203.0.113.8, resolve: OK}": false, "{}": false,
	} {
		got := verdicts(t, "id: s\nconnect: "+connect+"\nmessages: [{mail: {from: a@good.example}}]\n")
		if strings.HasPrefix(got, noted) != want {
			t.Errorf("connect: %s: %s", connect, got)
		}
	}
}

func TestWhatAClientCannotDoIsNotDone(t *testing.T) {
	session := func(from, to string) string {
		return "id: s\nconnect: {addr: 203.0.113.8}\nmessages:\n  - mail: {from: " + from + "}\n    rcpt: [{to: " + to + ", mailer: esmtp}, {to: y@example.test}]\n"
	}
	for _, c := range []struct{ name, from, to, want string }{
		{"a refused MAIL ends the message", "spam@good.example", "x@example.test", "mail reject"},
		{"a discarded message goes no further", "lost@good.example", "x@example.test", "mail discard"},
		{"a refused recipient does not end the message", "a@good.example", "x@other.example", "mail accept, rcpt reject, rcpt accept, eom accept"},
		{"a quarantine is given at the end", "odd@good.example", "x@example.test", "mail quarantine, rcpt accept, rcpt accept, eom quarantine"},
	} {
		var got []string
		for _, r := range Run(fixture(t), read(t, session(c.from, c.to))[0], nil).Results {
			got = append(got, string(r.Verdict.Stage)+" "+string(r.Verdict.Action))
		}
		if s := strings.Join(got, ", "); s != c.want {
			t.Errorf("%s: %s, want %s", c.name, s, c.want)
		}
	}
}

func TestExpectationsAreCompared(t *testing.T) {
	for _, c := range []struct {
		name, expect string
		differences  int
	}{
		{"the reply as given", `{stage: rcpt, arg: x@other.example, reply: "550 5.7.1 Relaying denied"}`, 0},
		{"another text", `{stage: rcpt, arg: x@other.example, reply: "550 5.7.1 Relaying refused"}`, 1},
		{"accepted, but refused", `{stage: rcpt, arg: x@other.example, reply: "250 2.1.5 ok"}`, 1},
		{"refused, but accepted", `{stage: rcpt, arg: x@example.test, reply: "550 5.7.1 Relaying denied"}`, 1},
		{"another action", `{stage: rcpt, arg: x@other.example, action: tempfail}`, 1},
		{"action and reply", `{stage: rcpt, arg: x@other.example, action: reject, reply: "550 5.7.1 Relaying denied"}`, 0},
		{"a recipient that does not occur", `{stage: rcpt, arg: z@example.test, action: accept}`, 1},
	} {
		text, _, _ := strings.Cut(laptop, "expect:")
		s := read(t, text+"expect: ["+c.expect+"]\n")[0]
		if n := Run(fixture(t), s, nil).Differences(); n != c.differences {
			t.Errorf("%s: %d differences, want %d", c.name, n, c.differences)
		}
	}
}

func TestYAMLAndJSONGiveTheSameSession(t *testing.T) {
	fromYAML := read(t, laptop)[0]
	line := `{"id":"roaming-laptop","connect":{"addr":"203.0.113.8","port":40112,"name":"[203.0.113.8]","ptr":"","resolve":"FAIL","daemon":"MTA","daemon_port":25,"daemon_addr":"203.0.113.25"},"helo":"laptop.lan","messages":[{"mail":{"from":"a@good.example","args":["SIZE=1000"]},"rcpt":[{"to":"x@other.example","mailer":"esmtp","host":"other.example.","addr":"x@other.example"},{"to":"x@example.test","mailer":"local","addr":"x"}],"headers":[["Subject","hi"]]}],"expect":[{"stage":"rcpt","arg":"x@other.example","reply":"550 5.7.1 Relaying denied"},{"stage":"rcpt","arg":"x@example.test","action":"accept"},{"stage":"eom","reply":"250 2.0.0 accepted"}]}`
	var fromJSON *Session
	if err := Read("test.jsonl", strings.NewReader(line+"\n\n"), func(s *Session) { fromJSON = s }); err != nil {
		t.Fatal(err)
	}
	fromJSON.File, fromJSON.Line = fromYAML.File, fromYAML.Line
	if diff := cmp.Diff(fromYAML, fromJSON); diff != "" {
		t.Errorf("(-YAML +JSON):\n%s", diff)
	}
	data, err := yaml.Marshal(fromYAML)
	if err != nil {
		t.Fatal(err)
	}
	again := read(t, string(data))[0]
	if diff := cmp.Diff(fromYAML, again); diff != "" {
		t.Errorf("written and read again (-before +after):\n%s", diff)
	}
}

// TestBadFilesSayWhereTheyAreBad compares the errors of each file in testdata/bad
// with the file beside it.
func TestBadFilesSayWhereTheyAreBad(t *testing.T) {
	files, err := filepath.Glob("testdata/bad/*.*l")
	if err != nil || len(files) == 0 {
		t.Fatalf("no files in testdata/bad: %v", err)
	}
	for _, file := range files {
		err := ReadFile(file, func(*Session) {})
		if err == nil {
			t.Errorf("%s: no error", file)
			continue
		}
		got := strings.ReplaceAll(err.Error(), "testdata/bad/", "") + "\n"
		testkit.Golden(t, file+".want", got)
	}
}

func TestABadLineDoesNotKeepTheOthersFromBeingRead(t *testing.T) {
	lines := `{"id":"one","messages":[{}]}` + "\nnonsense\n" + `{"id":"two","messages":[{}]}` + "\n"
	var ids []string
	err := Read("x.jsonl", strings.NewReader(lines), func(s *Session) { ids = append(ids, s.ID) })
	if err == nil || !strings.HasPrefix(err.Error(), "x.jsonl:2: ") {
		t.Errorf("error %v", err)
	}
	if diff := cmp.Diff([]string{"one", "two"}, ids); diff != "" {
		t.Errorf("sessions (-want +got):\n%s", diff)
	}
}

type fullDisk struct{}

func (fullDisk) Write([]byte) (int, error) { return 0, errors.New("disk full") }

func TestReportsSayWhenTheyCannotBeWritten(t *testing.T) {
	s := read(t, laptop)[0]
	outcome := Run(fixture(t), s, nil)
	if err := WriteText(fullDisk{}, s, outcome, true); err == nil {
		t.Error("text: no error")
	}
	if err := WriteJSON(fullDisk{}, s, outcome); err == nil {
		t.Error("JSON: no error")
	}
}

// FuzzRead: no file makes reading or replaying panic, every error says where, and
// every report can be written.
func FuzzRead(f *testing.F) {
	f.Add([]byte(laptop))
	for _, seed := range []string{
		"", "---\n---\n", "id: x\nmessages: [{mail: {from: a}}]\n", "&a [*a]", "{", "messages: [{headers: [[a]]}]",
		`{"id":"x","messages":[{"rcpt":[{"to":"@"}]}]}`, `{"id":"x","id":"y"}`, `{"messages":[{}]} {}`, `{"messages":[{"mail":{"from":3}}]}`,
		`{"messages":[{"headers":[["A","b"]]}],"expect":[{"stage":"eom","headers":[["A","c"],["B"]]}]}`,
		gzipped(f, jsonSessions("a", 3)), gzipped(f, jsonSessions("a", 3))[:40], zstandard(f, yamlSessions("a", 3)), "\x1f\x8b", "\x28\xb5\x2f\xfd",
	} {
		f.Add([]byte(seed))
	}
	p := fixture(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		run := func(s *Session) {
			outcome, untraced := Run(p, s, nil), RunUntraced(p, s, nil, nil)
			if changes := Compare(outcome, untraced); changes != nil {
				t.Errorf("without traces: %v", changes)
			}
			changes := Compare(outcome, Outcome{})
			if len(changes) != len(outcome.Results) {
				t.Errorf("%d changes of %d verdicts", len(changes), len(outcome.Results))
			}
			c := NewCase(s, outcome)
			junit := NewJUnit(io.Discard)
			if err := errors.Join(WriteText(io.Discard, s, outcome, true), WriteJSON(io.Discard, s, outcome), WriteChanges(io.Discard, s, changes, ""),
				WriteChangesJSON(io.Discard, s, changes), NewTAP(io.Discard).Case(&c), junit.Case(&c), junit.End()); err != nil {
				t.Error(err)
			}
		}
		stream := Stream[int]{New: func() int { return 0 }, Each: func(_ int, s *Session) { run(s) }, Collect: func(_ int, err error) error { return err }}
		inputs, err := Inputs([]string{"-"}, bytes.NewReader(data))
		if err != nil {
			t.Fatal(err)
		}
		for name, err := range map[string]error{
			"f.yaml:":  Read("f.yaml", bytes.NewReader(data), run),
			"f.jsonl:": Read("f.jsonl", bytes.NewReader(data), run),
			"stdin:":   stream.Run(inputs),
		} {
			if err == nil {
				continue
			}
			for line := range strings.SplitSeq(err.Error(), "\n") {
				if !strings.HasPrefix(line, name) {
					t.Errorf("error without its place: %v", err)
				}
			}
		}
	})
}

func TestAReportDoesNotActOnATerminal(t *testing.T) {
	text := "id: \"a\\e]0;x\\ab\\nok 1 - b\"\nconnect: {addr: 203.0.113.8, resolve: OK, name: \"\\e[31m.example\"}\nauth: {type: \"\\e[2J\"}\nmessages:\n  - mail: {from: \"\\e@x\"}\n    rcpt: [{to: \"\\u009b@y.example\", mailer: esmtp}]\n" +
		"expect: [{stage: rcpt, arg: \"\\e\", reply: \"\\e[1m\"}]\n"
	s := read(t, text)[0]
	var out bytes.Buffer
	if err := WriteText(&out, s, Run(fixture(t), s, nil), true); err != nil {
		t.Fatal(err)
	}
	for _, r := range out.String() {
		if r != '\n' && (r < ' ' || r >= 0x7f && r < 0xa0) {
			t.Fatalf("%q", out.String())
		}
	}
	if strings.Contains(out.String(), "\nok 1") {
		t.Errorf("an id makes a line of its own:\n%s", out.String())
	}
}
