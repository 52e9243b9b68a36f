package configs

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"strings"

	"milterd/configs/sendmail"
	"milterd/policy"
)

// Severity is how much a [Finding] matters.
type Severity int

const (
	// Note is something that could be better; nothing is wrong.
	Note Severity = iota
	// Warning is something that is hardly meant.
	Warning
	// Severe is something by which mail is lost, taken unfiltered or relayed.
	Severe
)

func (s Severity) String() string { return [...]string{"note", "warning", "error"}[s] }

// MarshalText makes a severity its name.
func (s Severity) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// Finding is something that an administrator should know although the policy can be
// used.
type Finding struct {
	Severity Severity `json:"severity"`
	Problem
	// Cure is the line to write or the command to run, empty if Text says it.
	Cure string `json:"cure,omitempty"`
}

// FilterLine is the line of a sendmail.mc by which sendmail asks a milter at an address,
// and defers mail while it is down.
func FilterLine(address, timeouts string) string {
	return "INPUT_MAIL_FILTER(`milterd', `S=" + address + ", F=T, T=" + timeouts + "')dnl"
}

// StockTimeouts are those of milterd.m4.
const StockTimeouts = "S:10s;R:10s;E:1m"

// stockMilter is where milterd's own units have the filter door.
const stockMilter = "local:/run/milterd/milter.sock"

// filterLine is the one that leads to the filter door.
func (c *Config) filterLine() string {
	if len(c.Listen.Milter) == 0 {
		return ""
	}
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
	s.findings = append(s.findings, Finding{severity, Problem{File: file, Line: line, Text: fmt.Sprintf(format, args...)}, cure})
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
func (c *Config) SendmailCF() string {
	if c.Sendmail.CF == "" {
		return ""
	}
	return c.path(c.Sendmail.CF)
}

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
