package replay

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"strings"
	"testing"

	"gopkg.in/yaml.v3"

	"milterd/integration/testkit"
)

// suite has a session of every kind, with names that reports must not be confused
// by.
const suite = `id: met
messages: [{mail: {from: a@good.example}}]
expect: [{stage: mail, arg: a@good.example, action: accept}]
---
id: "not met # 1 \\ <b>&\"'\e]0;x\a"
connect: {addr: 203.0.113.8, resolve: OK}
messages:
  - mail: {from: a@good.example}
    rcpt: [{to: x@example.test, mailer: local}]
    headers: [[Subject, "]]>\u0001<!-- -->\U0001F600"]]
expect:
  - {stage: mail, arg: a@good.example, reply: "550 5.7.1 no: \"x\""}
  - {stage: eom, headers: [[Subject, hi]]}
  - {stage: rcpt, arg: "...", action: reject}
---
id: nothing-expected
messages: [{mail: {from: a@good.example}}]
`

// report writes a suite, and what could not be read of another file.
func report(t testing.TB, c interface {
	Case(*Case) error
	End() error
}) {
	t.Helper()
	var errs []error
	for _, s := range read(t, suite) {
		test := NewCase(s, Run(fixture(t), s, nil))
		errs = append(errs, c.Case(&test))
	}
	broken := Broken("other.yaml", "", errors.New("other.yaml:3: unknown key \"x\x1b\""))
	if err := errors.Join(append(errs, c.Case(&broken), c.End())...); err != nil {
		t.Fatal(err)
	}
}

func TestTAP(t *testing.T) {
	var out bytes.Buffer
	report(t, NewTAP(&out))
	testkit.Golden(t, "testdata/suite.tap", out.String())
	// Each diagnostic is a YAML document.
	rest := out.String()
	for {
		_, after, ok := strings.Cut(rest, "  ---\n")
		if !ok {
			break
		}
		block, after, ok := strings.Cut(after, "  ...\n")
		var value map[string]any
		if err := yaml.Unmarshal([]byte(block), &value); err != nil || !ok || value["file"] == nil {
			t.Errorf("%v in\n%s", err, block)
		}
		rest = after
	}
}

func TestJUnit(t *testing.T) {
	var out bytes.Buffer
	j := NewJUnit(&out)
	report(t, j)
	testkit.Golden(t, "testdata/suite.junit.xml", out.String())
	checkJUnit(t, out.Bytes())
}

// checkJUnit holds a report against the schema: one root of suites, whose numbers
// are right, of cases with at most one result each.
func checkJUnit(t testing.TB, data []byte) {
	t.Helper()
	type result struct {
		XMLName xml.Name
		Message string `xml:"message,attr"`
	}
	var doc struct {
		XMLName xml.Name `xml:"testsuites"`
		Suites  []struct {
			Name     string `xml:"name,attr"`
			Tests    int    `xml:"tests,attr"`
			Failures int    `xml:"failures,attr"`
			Errors   int    `xml:"errors,attr"`
			Skipped  int    `xml:"skipped,attr"`
			Cases    []struct {
				XMLName   xml.Name
				Name      string   `xml:"name,attr"`
				ClassName string   `xml:"classname,attr"`
				Results   []result `xml:",any"`
			} `xml:",any"`
		} `xml:"testsuite"`
	}
	d := xml.NewDecoder(bytes.NewReader(data))
	if err := d.Decode(&doc); err != nil {
		t.Fatalf("%v in\n%s", err, data)
	}
	if _, err := d.Token(); err != nil && err != io.EOF {
		// White space behind the root is all there may be.
		t.Errorf("behind the document: %v", err)
	}
	for _, s := range doc.Suites {
		counts := map[string]int{}
		for _, c := range s.Cases {
			if c.XMLName.Local != "testcase" || c.Name == "" || c.ClassName == "" || len(c.Results) > 1 {
				t.Errorf("%s: %+v", s.Name, c)
			}
			for _, r := range c.Results {
				counts[r.XMLName.Local]++
			}
		}
		if s.Name == "" || s.Tests != len(s.Cases) || counts["failure"] != s.Failures || counts["error"] != s.Errors || counts["skipped"] != s.Skipped {
			t.Errorf("suite %q: %d tests, %d failures, %d errors, %d skipped; counted %d and %v", s.Name, s.Tests, s.Failures, s.Errors, s.Skipped, len(s.Cases), counts)
		}
	}
}
