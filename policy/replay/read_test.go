package replay

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestOfManyBrokenLinesTheFirstAreReported(t *testing.T) {
	// Lines that fill several blocks, with good ones among them.
	many := strings.Repeat("x\n", maxReported-1) + jsonSessions("s", 1) + strings.Repeat("x\n", blockSize) + jsonSessions("s", 1)
	dir := tree(t, map[string]string{
		"a.jsonl": many, "b.jsonl": strings.Repeat("x\n", maxReported+1), "c.jsonl": strings.Repeat("x\n", maxReported),
		"d.jsonl": strings.Repeat(strings.Repeat("x", maxLine+1)+"\n", 2) + strings.Repeat("x\n", maxReported-1) + "x",
		"e.yaml":  strings.Repeat("unknown: 1\n", 1) + numberedKeys(maxReported+4),
	})
	inputs, err := Inputs([]string{dir}, nil)
	if err != nil {
		t.Fatal(err)
	}
	got, errs := ids(t, inputs, 2)
	if diff := cmp.Diff([]string{"s-0", "s-0"}, got); diff != "" {
		t.Errorf("sessions (-want +got):\n%s", diff)
	}
	counts := make(map[string]int)
	var rest []string
	for _, e := range errs {
		e = strings.TrimPrefix(e, dir+"/")
		if strings.HasSuffix(e, " cannot be read") {
			rest = append(rest, e)
			continue
		}
		counts[e[:1]]++
	}
	if diff := cmp.Diff(map[string]int{"a": 20, "b": 20, "c": 20, "d": 20, "e": 20}, counts); diff != "" {
		t.Errorf("lines reported (-want +got):\n%s", diff)
	}
	want := []string{
		fmt.Sprintf("a.jsonl: %d more lines cannot be read", blockSize-1), "b.jsonl: 1 more line cannot be read",
		"d.jsonl: 2 more lines cannot be read", "e.yaml: 5 more lines cannot be read",
	}
	if diff := cmp.Diff(want, rest); diff != "" {
		t.Errorf("the others (-want +got):\n%s", diff)
	}
	err = Read("f.jsonl", strings.NewReader(many), func(*Session) {})
	if n := strings.Count(err.Error(), "\n"); n != maxReported || !strings.HasSuffix(err.Error(), "f.jsonl: 65535 more lines cannot be read") {
		t.Errorf("%d lines more than one of error, the last %q", n, err.Error()[max(0, len(err.Error())-100):])
	}
}

// numberedKeys is a mapping of keys that no session has.
func numberedKeys(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "key%d: 1\n", i)
	}
	return b.String()
}
