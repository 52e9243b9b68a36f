package record

// Stats are the counters of a Recorder. All but Failing only grow.
type Stats struct {
	// Recorded counts the objects that were written.
	Recorded uint64
	// Dropped counts the parts of connections that found the queue full, Lost those
	// that could not be written.
	Dropped, Lost uint64
	// LeftOut counts the messages that cannot be recorded so that they replay, Cut
	// those beyond what is kept of one client, and those with more recipients.
	LeftOut, Cut uint64
	// Bytes is how much was written, before compression, and Files in how many
	// files.
	Bytes, Files uint64
	// Failing says that the last attempt to write has failed.
	Failing bool
}

// Stats returns the counters of this moment.
func (r *Recorder) Stats() Stats {
	return Stats{
		Recorded: r.recorded.Load(), Dropped: r.dropped.Load(), Lost: r.lost.Load(),
		LeftOut: r.leftOut.Load(), Cut: r.cut.Load(),
		Bytes: r.bytes.Load(), Files: r.files.Load(), Failing: r.failing.Load(),
	}
}
