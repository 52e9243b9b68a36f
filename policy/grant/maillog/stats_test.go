package maillog

// Stats counts what a Follower has done since it began.
type Stats struct {
	// Lines counts the lines read; Logins those that announced a login, which is
	// what was handed to the Granter; Failed those of them that it returned an
	// error for.
	Lines, Logins, Failed uint64
	// Long counts the lines that were longer than any login and are not in Lines.
	Long uint64
	// Rotated counts the files that took the place of another, Truncated those that
	// were emptied in place, Recovered the octets that were then found in the copy.
	Rotated, Truncated, Recovered uint64
	// Open says that there is a file to read.
	Open bool
}

// Stats is what the follower has done so far.
func (f *Follower) Stats() Stats {
	n := &f.count
	return Stats{
		Lines:     n.lines.Load(),
		Logins:    n.logins.Load(),
		Failed:    n.failed.Load(),
		Long:      n.long.Load(),
		Rotated:   n.rotated.Load(),
		Truncated: n.truncated.Load(),
		Recovered: n.recovered.Load(),
		Open:      n.open.Load(),
	}
}

// Parse reads a line that stands alone.
func (f Format) Parse(line string) (Login, bool) { return f.Parser()(line) }
