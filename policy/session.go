package policy

// Session evaluates the transactions of one SMTP connection, in the order the
// MTA reports them. It does no I/O and is not safe for concurrent use.
type Session struct {
	policy *Policy
	conn   Connection
}

// NewSession begins the evaluation of one connection.
func (p *Policy) NewSession(c Connection) *Session { return &Session{policy: p, conn: c} }

// Helo tells the session the client's HELO name and the TLS state at that
// moment; it may come again after STARTTLS.
func (s *Session) Helo(name string, tls TLS) {}

// Mail evaluates one MAIL command and begins a message.
func (s *Session) Mail(auth Auth, m Mail) Verdict {
	return Verdict{Stage: StageMail, Arg: m.From, Action: ActionAccept}
}

// Rcpt evaluates one RCPT command of the current message.
func (s *Session) Rcpt(r Recipient) Verdict {
	return Verdict{Stage: StageRcpt, Arg: r.To, Action: ActionAccept}
}

// EndOfMessage evaluates the current message as a whole and ends it.
func (s *Session) EndOfMessage(headers []HeaderField) Verdict {
	return Verdict{Stage: StageEOM, Action: ActionAccept}
}

// Abort forgets the current message; the connection's facts stay.
func (s *Session) Abort() {}
