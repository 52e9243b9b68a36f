package drac

// Stats is a snapshot of a server's counters.
type Stats struct {
	// Calls counts the datagrams, whatever is in them.
	Calls uint64
	// Granted counts the logins that made or renewed a grant.
	Granted uint64
	// Refused counts the logins from a listed server whose address may not relay.
	Refused uint64
	// Failed counts those that could not be stored, for want of room as well.
	Failed uint64
	// Denied counts those from a sender who may not grant.
	Denied uint64
	// Malformed counts the datagrams that were no call of this program.
	Malformed uint64
}

// Stats returns the counters of this moment.
func (s *Server) Stats() Stats {
	return Stats{
		Calls:     s.counter.calls.Load(),
		Granted:   s.counter.granted.Load(),
		Refused:   s.counter.refused.Load(),
		Failed:    s.counter.failed.Load(),
		Denied:    s.counter.denied.Load(),
		Malformed: s.counter.malformed.Load(),
	}
}
