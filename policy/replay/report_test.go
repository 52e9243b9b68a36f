package replay

import (
	"bytes"
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"milterd/policy"
)

func TestObjectsHoldNothingThatActsOnATerminal(t *testing.T) {
	for said, want := range map[string]string{
		"plain":                    `"plain"`,
		"\u00e9 \u4e16 \U0001f600": "\"\u00e9 \u4e16 \U0001f600\"",
		"a\u009b31mX":              `"a\u009b31mX"`,
		"\u202eevil\u2066\u200f":   `"\u202eevil\u2066\u200f"`,
		"\x7f\x1b\u0085":           `"\u007f\u001b\u0085"`,
		"\U000e0041":               `"\udb40\udc41"`,
		"\x9b":                     `"\ufffd"`,
	} {
		var objects bytes.Buffer
		s := &Session{ID: said}
		v := &policy.Verdict{Stage: policy.StageMail, Arg: said}
		if err := WriteChangesJSON(&objects, s, []Change{{Stage: policy.StageMail, Arg: said, Old: v}}); err != nil {
			t.Fatal(err)
		}
		if err := WriteJSON(&objects, s, Outcome{Results: []Result{{Verdict: *v}}}); err != nil {
			t.Fatal(err)
		}
		if n := strings.Count(objects.String(), want); n != 4 {
			t.Errorf("%q: %d times %s in %s", said, n, want, objects.String())
		}
		for line := range strings.Lines(objects.String()) {
			var got struct{ Session string }
			if err := json.Unmarshal([]byte(line), &got); err != nil || got.Session != strings.ToValidUTF8(said, "\ufffd") {
				t.Errorf("%q is read as %q, error %v", said, got.Session, err)
			}
		}
	}
}

func TestAByteOrderMarkIsPassedOver(t *testing.T) {
	dir := tree(t, map[string]string{"a.jsonl": "\ufeff" + jsonSessions("a", 2), "b.yaml": "\ufeff" + yamlSessions("b", 1), "c.jsonl.gz": gzipped(t, "\ufeff"+jsonSessions("c", 1))})
	inputs, err := Inputs([]string{dir, "-"}, strings.NewReader("\ufeff"+jsonSessions("stdin", 1)))
	if err != nil {
		t.Fatal(err)
	}
	got, errs := ids(t, inputs, 1)
	if diff := cmp.Diff([]string{"a-0", "a-1", "b-0", "c-0", "stdin-0"}, got); diff != "" || errs != nil {
		t.Errorf("errors %q, sessions (-want +got):\n%s", errs, diff)
	}
	n := 0
	if err := ReadFile(filepath.Join(dir, "a.jsonl"), func(*Session) { n++ }); err != nil || n != 2 {
		t.Errorf("%d sessions, error %v", n, err)
	}
}
