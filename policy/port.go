package policy

import "fmt"

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
