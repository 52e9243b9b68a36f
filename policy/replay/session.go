// Package replay runs recorded SMTP sessions against a policy.
//
// A recorded session is one SMTP connection as facts: who connected, how the MTA
// resolved its name, what it said, and what the MTA would do with each recipient.
// One YAML document or one JSON object a line holds one session; a YAML file may
// hold several documents. The README of the sessions that come with milterd
// shows the schema by example.
//
// Run decides one session, Stream those of any number of files on all cores and
// Compare finds what another policy would change. Reports are written as text, as
// JSON, and as the TAP and JUnit formats of test suites.
//
// Live traffic and replay run the same policy code, so a session recorded from
// facts gives the verdict that the live connection got.
package replay

import (
	"fmt"
	"net/netip"
	"strings"

	"milterd/policy"
)

// Session is one recorded SMTP connection.
type Session struct {
	// File and Line say where the session was read from.
	File string `yaml:"-" json:"-"`
	Line int    `yaml:"-" json:"-"`
	// Notes say what the source of the session did not tell, and what its verdicts
	// therefore cannot. Reports print them.
	Notes []string `yaml:"-" json:"-"`

	ID       string    `yaml:"id" json:"id"`
	Connect  Connect   `yaml:"connect" json:"connect"`
	HELO     string    `yaml:"helo,omitempty" json:"helo,omitempty"`
	TLS      TLS       `yaml:"tls,omitempty" json:"tls,omitempty"`
	Auth     Auth      `yaml:"auth,omitempty" json:"auth,omitempty"`
	Messages []Message `yaml:"messages" json:"messages"`
	// Grants are the addresses that held a relay grant; "ADDRESS TEMP" is one whose
	// grant could not be asked for.
	Grants []string `yaml:"grants,omitempty" json:"grants,omitempty"`
	// DNS holds the answers that were used, as zone-file lines.
	DNS []string `yaml:"dns,omitempty" json:"dns,omitempty"`
	// Expect holds the verdicts to compare with; optional.
	Expect []Expect `yaml:"expect,omitempty" json:"expect,omitempty"`
}

// Connect is the connection as the MTA reported it; see policy.Connection.
type Connect struct {
	Addr        string `yaml:"addr,omitempty" json:"addr,omitempty"`
	Port        uint16 `yaml:"port,omitempty" json:"port,omitempty"`
	Name        string `yaml:"name,omitempty" json:"name,omitempty"`
	PTR         string `yaml:"ptr,omitempty" json:"ptr,omitempty"`
	Resolve     string `yaml:"resolve,omitempty" json:"resolve,omitempty"`
	Daemon      string `yaml:"daemon,omitempty" json:"daemon,omitempty"`
	DaemonPort  uint16 `yaml:"daemon_port,omitempty" json:"daemon_port,omitempty"`
	DaemonAddr  string `yaml:"daemon_addr,omitempty" json:"daemon_addr,omitempty"`
	DaemonFlags string `yaml:"daemon_flags,omitempty" json:"daemon_flags,omitempty"`
	// Shared: nat_guard had found that nearly all clients have this address.
	Shared bool `yaml:"shared,omitempty" json:"shared,omitempty"`
}

// Message is one mail transaction.
type Message struct {
	Mail    Mail       `yaml:"mail" json:"mail"`
	Rcpt    []Rcpt     `yaml:"rcpt,omitempty" json:"rcpt,omitempty"`
	Headers [][]string `yaml:"headers,omitempty" json:"headers,omitempty"`
	// At is when it began (RFC 3339).
	At string `yaml:"at,omitempty" json:"at,omitempty"`
	// Limits are the answers of the limits about each recipient, NUMBER NAME USED RATE
	// [WAIT]: the number of the recipient, from 1; how much of the limit's rate was used;
	// and, if there was no room, the seconds until there is. NUMBER blocked: the login was
	// blocked by hand.
	Limits []string `yaml:"limits,omitempty" json:"limits,omitempty"`
}

// The facts of a session that the policy has as they are.
type (
	TLS  = policy.TLS
	Auth = policy.Auth
	Mail = policy.Mail
	Rcpt = policy.Recipient
)

// Expect is the verdict one command should get. Of Reply, Action and Headers what
// is there is compared.
type Expect struct {
	Stage string `yaml:"stage" json:"stage"`
	Arg   string `yaml:"arg" json:"arg"`
	// Reply is what the client is told, e.g. "550 5.7.1 Relaying denied". A
	// reply that begins with 250 stands for acceptance.
	Reply  string `yaml:"reply,omitempty" json:"reply,omitempty"`
	Action string `yaml:"action,omitempty" json:"action,omitempty"`
	// Headers, for stage eom, are the fields of the names that it mentions as the
	// message leaves with them: all of a name, in order, [NAME, VALUE] each. [NAME]
	// alone says that none is left.
	Headers [][]string `yaml:"headers,omitempty" json:"headers,omitempty"`
}

// fieldError is a value that cannot be, with the path to it in the document.
type fieldError struct {
	path []string
	text string
}

func (e *fieldError) Error() string {
	return strings.Join(e.path, ".") + ": " + e.text
}

// badField is an error about the value at a path: steps with dots between them.
func badField(path, text string, args ...any) error {
	return &fieldError{path: strings.Split(path, "."), text: fmt.Sprintf(text, args...)}
}

// maxCommands is how many messages and recipients a session may have: recordings and
// imported logs stay far below.
const maxCommands = 10_000

// check finds values that no MTA reports. It gives a session without an id one.
func (s *Session) check() error {
	if s.ID == "" {
		s.ID = fmt.Sprintf("line-%d", s.Line)
	}
	if _, err := parseAddr(s.Connect.Addr); err != nil {
		return badField("connect.addr", "%q is not an IP address", s.Connect.Addr)
	}
	if r := s.Connect.Resolve; r != "" && !policy.Resolve(r).Known() {
		return badField("connect.resolve", "%q, expected OK, FAIL, FORGED or TEMP", s.Connect.Resolve)
	}
	if len(s.Messages) == 0 {
		return badField("messages", "no message, expected at least one")
	}
	if commands := s.commands(); commands > maxCommands {
		return badField("messages", "%d messages and recipients, expected %d at most", commands, maxCommands)
	}
	if len(s.Expect) > 2*maxCommands {
		return badField("expect", "%d verdicts, expected %d at most", len(s.Expect), 2*maxCommands)
	}
	for i, m := range s.Messages {
		for j, h := range m.Headers {
			if len(h) != 2 {
				return badField(fmt.Sprintf("messages.%d.headers.%d", i, j), "%d values, expected [NAME, VALUE]", len(h))
			}
		}
		if err := m.check(fmt.Sprintf("messages.%d", i)); err != nil {
			return err
		}
	}
	for i, g := range s.Grants {
		text, word, more := strings.Cut(g, " ")
		if _, err := parseAddr(text); err != nil || text == "" || more && word != TemporaryGrant {
			return badField(fmt.Sprintf("grants.%d", i), "%q, expected an IP address, or one and "+TemporaryGrant, g)
		}
	}
	for i := range s.Expect {
		if err := s.Expect[i].check(fmt.Sprintf("expect.%d", i)); err != nil {
			return err
		}
	}
	return nil
}

func (s *Session) commands() int {
	n := len(s.Messages)
	for i := range s.Messages {
		n += len(s.Messages[i].Rcpt)
	}
	return n
}

func (x *Expect) check(path string) error {
	switch policy.Stage(x.Stage) {
	case policy.StageMail, policy.StageRcpt, policy.StageEOM:
	default:
		return badField(path+".stage", "%q, expected mail, rcpt or eom", x.Stage)
	}
	switch policy.Action(x.Action) {
	case "", policy.ActionAccept, policy.ActionReject, policy.ActionTempfail, policy.ActionDiscard, policy.ActionQuarantine:
	default:
		return badField(path+".action", "%q, expected accept, reject, tempfail, discard or quarantine", x.Action)
	}
	if x.Reply == "" && x.Action == "" && len(x.Headers) == 0 {
		return badField(path, "expected reply, action or both, or headers")
	}
	return x.checkHeaders(path + ".headers")
}

// parseAddr reads an address; an empty one or sendmail's "0" stands for none.
func parseAddr(s string) (netip.Addr, error) {
	if s == "" || s == "0" {
		return netip.Addr{}, nil
	}
	addr, err := netip.ParseAddr(strings.TrimPrefix(s, "IPv6:"))
	return addr.Unmap(), err
}

// Connection is the session's connection as policy facts.
func (s *Session) Connection() policy.Connection {
	c := s.Connect
	addr, _ := parseAddr(c.Addr)
	return policy.Connection{
		Addr: addr, Port: c.Port, Name: c.Name, PTR: c.PTR, Resolve: policy.Resolve(c.Resolve),
		DaemonName: c.Daemon, DaemonPort: c.DaemonPort, DaemonAddr: c.DaemonAddr, DaemonFlags: c.DaemonFlags,
		Shared: c.Shared,
	}
}

// TemporaryGrant marks, behind an address of a session's grants, that the grants could
// not be asked for.
const TemporaryGrant = "TEMP"

func (s *Session) grant() policy.GrantState {
	client, _ := parseAddr(s.Connect.Addr)
	for _, g := range s.Grants {
		text, word, _ := strings.Cut(g, " ")
		if addr, err := parseAddr(text); err != nil || !client.IsValid() || addr != client {
			continue
		}
		if word == TemporaryGrant {
			return policy.GrantTemporary
		}
		return policy.GrantHeld
	}
	return policy.GrantNone
}
