package replay

import (
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"milterd/policy"
)

// Case is a session as a test, for reports that other programs read.
type Case struct {
	File string
	Line int
	ID   string
	// Expected is how many verdicts the session expects; a session that expects
	// nothing is skipped.
	Expected    int
	Differences []Difference
	// Err is why the session could not be decided.
	Err string
}

// NewCase makes a test of a session that was replayed.
func NewCase(s *Session, o Outcome) Case {
	c := Case{File: s.File, Line: s.Line, ID: s.ID, Expected: len(s.Expect)}
	for _, r := range o.Results {
		c.Differences = append(c.Differences, r.Differences...)
	}
	for i := range o.Missing {
		x := &o.Missing[i]
		c.Differences = append(c.Differences, Difference{Place: x.place(), Want: x.want(), Got: "no verdict"})
	}
	return c
}

// Broken makes a test of what could not be decided, and so fails: a session, or
// with an empty id what stands where a session should.
func Broken(file, id string, err error) Case { return Case{File: file, ID: id, Err: err.Error()} }

func (c *Case) name() string {
	if c.ID == "" {
		return policy.Printable(c.Err)
	}
	return policy.Printable(c.ID)
}

// TAP writes tests in the Test Anything Protocol, version 13.
type TAP struct {
	p     printer
	count int
}

// NewTAP begins a report.
func NewTAP(w io.Writer) *TAP {
	t := &TAP{p: printer{w: w}}
	t.p.printf("TAP version 13\n")
	return t
}

// Case writes one test.
func (t *TAP) Case(c *Case) error {
	t.count++
	name := c.name()
	if c.ID != "" {
		name = policy.Printable(c.File) + " " + name
	}
	name = tapEscapes.Replace(name)
	switch {
	case c.Err == "" && c.Expected == 0:
		t.p.printf("ok %d - %s # SKIP nothing expected\n", t.count, name)
	case c.Err == "" && len(c.Differences) == 0:
		t.p.printf("ok %d - %s\n", t.count, name)
	default:
		t.p.printf("not ok %d - %s\n  ---\n  file: %s\n", t.count, name, yamlText(c.File))
		t.diagnose(c)
		t.p.printf("  ...\n")
	}
	return t.p.err
}

var tapEscapes = strings.NewReplacer(`\`, `\\`, `#`, `\#`)

func (t *TAP) diagnose(c *Case) {
	if c.Line > 0 {
		t.p.printf("  line: %d\n", c.Line)
	}
	if c.Err != "" {
		t.p.printf("  message: %s\n", yamlText(c.Err))
	}
	if len(c.Differences) > 0 {
		t.p.printf("  differences:\n")
	}
	for _, d := range c.Differences {
		t.p.printf("    - at: %s\n      expected: %s\n      got: %s\n", yamlText(d.Place), yamlText(d.Want), yamlText(d.Got))
	}
}

// End writes the number of tests.
func (t *TAP) End() error {
	t.p.printf("1..%d\n", t.count)
	return t.p.err
}

// yamlText writes a text between quotes, as JSON and so YAML has it.
func yamlText(s string) string {
	quoted, err := jsontext.AppendQuote(nil, strings.ToValidUTF8(policy.Printable(s), "?"))
	if err != nil {
		return `"?"`
	}
	return string(quoted)
}

// JUnit writes tests as JUnit's XML: a testsuite for each file, a testcase for
// each session. The tests of one file are held until its last, as their number
// stands before them.
type JUnit struct {
	w     io.Writer
	err   error
	suite junitSuite
}

// NewJUnit begins a report.
func NewJUnit(w io.Writer) *JUnit {
	j := &JUnit{w: w}
	_, j.err = io.WriteString(w, xml.Header+"<testsuites>\n")
	return j
}

type (
	junitSuite struct {
		XMLName  xml.Name    `xml:"testsuite"`
		Name     string      `xml:"name,attr"`
		Tests    int         `xml:"tests,attr"`
		Failures int         `xml:"failures,attr"`
		Errors   int         `xml:"errors,attr"`
		Skipped  int         `xml:"skipped,attr"`
		Cases    []junitCase `xml:"testcase"`
	}
	junitCase struct {
		Name      string         `xml:"name,attr"`
		ClassName string         `xml:"classname,attr"`
		Skipped   *junitMessage  `xml:"skipped"`
		Error     *junitMessage  `xml:"error"`
		Failures  []junitMessage `xml:"failure"`
	}
	junitMessage struct {
		Message string `xml:"message,attr"`
		Type    string `xml:"type,attr,omitempty"`
		Text    string `xml:",chardata"`
	}
)

// Case takes one test. The tests of a file come one behind the other.
func (j *JUnit) Case(c *Case) error {
	file := policy.Printable(c.File)
	if file != j.suite.Name {
		j.endSuite()
		j.suite.Name = file
	}
	test := junitCase{Name: c.name(), ClassName: file}
	switch {
	case c.Err != "":
		j.suite.Errors++
		test.Error = &junitMessage{Message: policy.Printable(c.Err), Type: "unreadable"}
	case c.Expected == 0:
		j.suite.Skipped++
		test.Skipped = &junitMessage{Message: "nothing expected"}
	case len(c.Differences) > 0:
		j.suite.Failures++
		test.Failures = []junitMessage{failure(c)}
	}
	j.suite.Tests++
	j.suite.Cases = append(j.suite.Cases, test)
	return j.err
}

// failure is one element for all differences: the schema allows no more.
func failure(c *Case) junitMessage {
	m := junitMessage{Message: policy.Printable("expected " + c.Differences[0].String()), Type: "difference"}
	for _, d := range c.Differences {
		m.Text += policy.Printable(fmt.Sprintf("%s:%d: %s: expected %s, got %s", c.File, c.Line, d.Place, d.Want, d.Got)) + "\n"
	}
	return m
}

func (j *JUnit) endSuite() {
	if j.suite.Tests == 0 || j.err != nil {
		return
	}
	data, err := xml.MarshalIndent(&j.suite, "  ", "  ")
	if err != nil {
		j.err = fmt.Errorf("write junit report: %w", err)
		return
	}
	j.suite = junitSuite{Cases: j.suite.Cases[:0]}
	_, j.err = j.w.Write(append(data, '\n'))
}

// End ends the report.
func (j *JUnit) End() error {
	j.endSuite()
	_, err := io.WriteString(j.w, "</testsuites>\n")
	return errors.Join(j.err, err)
}
