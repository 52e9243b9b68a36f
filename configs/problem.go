package configs

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"

	"milterd/configs/sendmail"
	"milterd/policy"
	"milterd/policy/printable"
)

// Problem is one thing wrong with a configuration or with a file it names.
type Problem struct {
	File string `json:"file"`
	Line int    `json:"line,omitempty"` // 0 if the file as a whole is meant
	Text string `json:"text"`           // what is wrong and what was expected
}

// String is the problem as FILE:LINE: TEXT.
func (p Problem) String() string {
	if p.Line == 0 {
		return printable.Lines(fmt.Sprintf("%s: %s", p.File, p.Text))
	}
	return printable.Lines(fmt.Sprintf("%s:%d: %s", p.File, p.Line, p.Text))
}

// Error is everything wrong with a configuration, in the order of its lines.
type Error struct {
	Problems []Problem
}

// maxTold is how many problems a message tells one by one.
const maxTold = 100

// Error has one problem a line.
func (e *Error) Error() string {
	var lines []string
	for _, p := range e.Problems[:min(len(e.Problems), maxTold)] {
		lines = append(lines, p.String())
	}
	if more := len(e.Problems) - maxTold; more > 0 {
		lines = append(lines, fmt.Sprintf("and %d more problems", more))
	}
	return strings.Join(lines, "\n")
}

// problems collects the problems of a configuration.
type problems []Problem

func (p *problems) add(file string, line int, format string, args ...any) {
	*p = append(*p, Problem{File: file, Line: line, Text: fmt.Sprintf(format, args...)})
}

// report collects the problems of a configuration and of the files it names.
type report struct {
	config *Config
	problems
}

// wrong reports a problem of a key.
func (r *report) wrong(key, format string, args ...any) {
	file, line := r.config.place(key)
	r.add(file, line, "%s: %s", key, fmt.Sprintf(format, args...))
}

// err is nil without problems. They are put in the order of their lines, file by
// file.
func (p problems) err() error {
	if len(p) == 0 {
		return nil
	}
	order := make(map[string]int)
	for _, problem := range p {
		if _, ok := order[problem.File]; !ok {
			order[problem.File] = len(order)
		}
	}
	slices.SortStableFunc(p, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(order[a.File], order[b.File]), cmp.Compare(a.Line, b.Line))
	})
	return &Error{Problems: p}
}

// Severity is how much a [Finding] matters.
type Severity int

const (
	Note    Severity = iota // could be better; nothing is wrong
	Warning                 // is hardly meant
	Severe                  // mail is lost, taken unfiltered or relayed
)

func (s Severity) String() string { return [...]string{"note", "warning", "error"}[s] }

// MarshalText makes a severity its name.
func (s Severity) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// Finding is something that an administrator should know although the policy can be
// used.
type Finding struct {
	Severity Severity `json:"severity"`
	Problem
	Cure string `json:"cure,omitempty"` // the line to write or the command to run, empty if Text says it
	// Cause: other findings may be but what comes of it, so it is told before them.
	Cause bool `json:"-"`
}

// FilterLine is the line of a sendmail.mc by which sendmail asks a milter at an address,
// and defers mail while it is down.
func FilterLine(address, timeouts string) string {
	return "INPUT_MAIL_FILTER(`milterd', `S=" + address + ", F=T, T=" + timeouts + "')dnl"
}

// StockTimeouts are those of milterd.m4.
const StockTimeouts = "S:10s;R:10s;E:1m"

// stockMilter and stockMap are where milterd's own units have the doors.
const (
	stockMilter = "local:/run/milterd/milter.sock"
	stockMap    = "local:/run/milterd/map.sock"
)

// filterLine is the one that leads to the filter door.
func (c *Config) filterLine() string {
	address := c.Listen.Milter[0]
	// A socket in whose place others could be has to move, too: see UnsafeSockets.
	path, local := strings.CutPrefix(address, "local:")
	if _, mode := openDir(path, true); local && mode&os.ModeSticky != 0 {
		address = stockMilter
	}
	return FilterLine(address, StockTimeouts)
}

func (s *sources) warn(file string, line int, format string, args ...any) {
	s.find(Warning, "", file, line, format, args...)
}

// severe reports something by which mail is lost, taken unfiltered or relayed.
func (s *sources) severe(cure, file string, line int, format string, args ...any) {
	s.find(Severe, cure, file, line, format, args...)
}

func (s *sources) find(severity Severity, cure, file string, line int, format string, args ...any) {
	s.findings = append(s.findings, Finding{Severity: severity, Problem: Problem{File: file, Line: line, Text: fmt.Sprintf(format, args...)}, Cure: cure})
}

// Policy is [Config.Examine] with the findings as lines of text.
func (c *Config) Policy() (*policy.Policy, []string, error) {
	p, findings, err := c.Examine()
	warnings := make([]string, 0, len(findings))
	for _, f := range findings {
		warnings = append(warnings, f.String())
	}
	return p, warnings, err
}

// SendmailCF is the path of the sendmail.cf that the configuration follows, empty if it
// follows none.
func (c *Config) SendmailCF() string { return c.path(c.Sendmail.CF) }

// ReadSendmailCF reads a sendmail.cf as sendmail would on this machine. The error is
// about its text, unless the file could not be read.
func ReadSendmailCF(path string) (*sendmail.Config, error) { return thisMachine().sendmailCF(path) }

func (m machine) sendmailCF(path string) (*sendmail.Config, error) {
	data, err := readFile(path, maxSendmailCF)
	if err != nil {
		return nil, err
	}
	cf, err := sendmail.Parse(data, m.name())
	if err != nil {
		err = errors.New(path + " " + err.Error())
	}
	return cf, err
}

// Following is the configuration as it would be if it took all that it can from a
// sendmail.cf.
func (c *Config) Following(cf string) *Config {
	to := *c
	to.Sendmail.CF = cf
	to.lines = maps.Clone(c.lines)
	maps.DeleteFunc(to.lines, func(key string, _ int) bool {
		return strings.HasPrefix(key, "domains.") || strings.HasPrefix(key, "access.f") || key == "checks.relay.trust_auth_mech"
	})
	return &to
}
