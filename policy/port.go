package policy

import (
	"cmp"
	"fmt"
	"maps"
	"strconv"
)

// PortCheck enforces the rules of Port about AUTH and TLS.
type PortCheck struct {
	Mode                                   Mode
	AuthRequired, AuthRefused, TLSRequired Reply
}

// Port holds one listener's rules. What is empty is allow, entitled, or as Scrub says.
type Port struct {
	Auth     AuthRule
	TLS      TLSRule
	Relay    RelayRule
	Received ReceivedRule
	// Checks overrides the mode of checks on this port, by name.
	Checks map[string]Mode
}

// AuthRule says whether a port takes, needs or refuses SMTP AUTH.
type AuthRule string

const (
	AuthAllow   AuthRule = "allow"
	AuthRequire AuthRule = "require"
	AuthRefuse  AuthRule = "refuse"
)

// TLSRule says whether a port needs TLS.
type TLSRule string

const (
	TLSAllow   TLSRule = "allow"
	TLSRequire TLSRule = "require"
)

// RelayRule says which clients may relay on a port.
type RelayRule string

const (
	RelayEntitled      RelayRule = "entitled"      // trusted AUTH, listed networks and names, relay features
	RelayAuthenticated RelayRule = "authenticated" // trusted AUTH only
	RelayNone          RelayRule = "none"          // no client; only mail for our own and relay domains is taken
)

// entitles reports whether more than AUTH entitles a client to relay.
func (p *Port) entitles() bool { return p.Relay == RelayEntitled || p.Relay == "" }

// findPort finds the rules of the listener that took the connection: those for the
// daemon's name, filled up with those for the port number.
func (s *Session) findPort() {
	s.port = s.policy.Ports[strconv.Itoa(int(s.conn.DaemonPort))]
	named, ok := s.policy.Ports[s.conn.DaemonName]
	if !ok || s.conn.DaemonName == "" {
		return
	}
	p := &s.port
	p.Auth, p.TLS = cmp.Or(named.Auth, p.Auth), cmp.Or(named.TLS, p.TLS)
	p.Relay, p.Received = cmp.Or(named.Relay, p.Relay), cmp.Or(named.Received, p.Received)
	if len(named.Checks) > 0 {
		checks := make(map[string]Mode)
		maps.Copy(checks, p.Checks)
		maps.Copy(checks, named.Checks)
		p.Checks = checks
	}
}

// checkPort holds the listener's rules about AUTH and TLS.
func (s *Session) checkPort(e *evaluation) finding {
	check := s.policy.Checks.Port
	authenticated := s.authenticated()
	listener := s.listener()
	switch {
	case s.port.TLS == TLSRequire && s.tls.Version == "":
		return e.refusal(check.TLSRequired, listener+".tls: require", "no TLS on a port that needs it")
	case s.port.Auth == AuthRequire && !authenticated:
		return e.refusal(check.AuthRequired, listener+".auth: require", "not authenticated on a port that needs it")
	case s.port.Auth == AuthRefuse && authenticated:
		return e.refusal(check.AuthRefused, listener+".auth: refuse", s.message.auth.String()+", on a port that takes no authentication")
	case authenticated:
		f := pass(s.message.auth.String())
		f.explains = true
		return f
	}
	return pass("not authenticated, and not needed here")
}

// listener names the listener as the configuration does.
func (s *Session) listener() string {
	if _, ok := s.policy.Ports[s.conn.DaemonName]; ok && s.conn.DaemonName != "" {
		return "ports." + s.conn.DaemonName
	}
	return fmt.Sprintf("ports.%d", s.conn.DaemonPort)
}
