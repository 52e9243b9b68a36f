package dovecot

// Stats counts what a Server has done since it began.
type Stats struct {
	// Allows and Reports count the requests of either kind.
	Allows, Reports uint64
	// Logins counts the reports that asked for a grant; Failed those of them that the
	// Granter returned an error for.
	Logins, Failed uint64
	// Unsuccessful counts the reports of logins that failed, Ignored those of other
	// protocols, or without an address or a name.
	Unsuccessful, Ignored uint64
	// Forbidden counts the requests without the secret, Malformed those that could
	// not be read.
	Forbidden, Malformed uint64
}

// Stats is what the server has done so far.
func (s *Server) Stats() Stats {
	n := &s.count
	return Stats{
		Allows:       n.allows.Load(),
		Reports:      n.reports.Load(),
		Logins:       n.logins.Load(),
		Failed:       n.failed.Load(),
		Unsuccessful: n.unsuccessful.Load(),
		Ignored:      n.ignored.Load(),
		Forbidden:    n.forbidden.Load(),
		Malformed:    n.malformed.Load(),
	}
}
