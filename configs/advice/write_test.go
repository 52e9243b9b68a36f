package advice

import (
	"strings"
	"testing"

	"milterd/configs"
)

func TestFindingsAsJSON(t *testing.T) {
	for _, c := range []struct {
		findings []configs.Finding
		want     string
	}{
		{nil, "[]"},
		{[]configs.Finding{Found(configs.Note, "a.cf", "x < y", "")}, `[ { "severity": "note", "file": "a.cf", "text": "x < y" } ]`},
		{[]configs.Finding{{Severity: configs.Severe, Problem: configs.Problem{File: "a.cf", Line: 3, Text: "x"}, Cure: "y"}},
			`[ { "severity": "error", "file": "a.cf", "line": 3, "text": "x", "cure": "y" } ]`},
	} {
		var b strings.Builder
		if err := Write(&b, c.findings, true); err != nil {
			t.Fatal(err)
		}
		if got := strings.Join(strings.Fields(b.String()), " "); got != c.want {
			t.Errorf("%s, expected %s", got, c.want)
		}
	}
}
