package grant

// FileStats says how the writing goes.
type FileStats struct {
	// Pending is how many changes wait to be written.
	Pending int
	// Writes counts the snapshots, Failures those that failed.
	Writes, Failures uint64
	// Failing says that the last one failed.
	Failing bool
}

// Stats says how the writing goes now.
func (f *File) Stats() FileStats {
	return FileStats{
		Pending: int(f.pending.Load()), Writes: f.writes.Load(), Failures: f.failures.Load(), Failing: f.failing.Load(),
	}
}
