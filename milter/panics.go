package milter

// recovered counts and logs a panic of a callback; value is what recover()
// returned in the deferred function that calls this. It reports whether there
// was a panic at all.
func (s *Server) recovered(callback string, value any, attrs ...any) bool {
	if value == nil {
		return false
	}
	s.counter.Panics.Add(1)
	s.panics.Log(s.logger, "milter callback panicked", value, append(attrs, "callback", callback)...)
	return true
}
