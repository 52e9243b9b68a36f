package dryrun

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"golang.org/x/term"

	"milterd/policy/replay"
)

// redrawAfter is how often the progress line is drawn anew.
const redrawAfter = 200 * time.Millisecond

// progress is a line on the terminal that says how far a dry run is. It is drawn
// from where results are collected, so that it never stands in their way.
type progress struct {
	// w is nil if the line would not be seen.
	w     io.Writer
	out   *bufio.Writer
	total int64
	next  time.Time
	drawn bool
}

// newProgress draws on stderr if that is a terminal and nothing is printed for
// a program to read.
func newProgress(format Format, out *bufio.Writer, stderr io.Writer, inputs []replay.Input) *progress {
	bar := &progress{out: out, next: time.Now().Add(redrawAfter)}
	for _, in := range inputs {
		bar.total += in.Size
	}
	if format != JSON && isTerminal(stderr) {
		bar.w = stderr
	}
	return bar
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// draw shows how many bytes of the files have been read, if it is time to. Results
// that are due go out first.
func (p *progress) draw(read int64) {
	if p.w == nil || time.Now().Before(p.next) {
		return
	}
	p.next = time.Now().Add(redrawAfter)
	// If the results cannot be written, the end of the run will say so.
	_ = p.out.Flush()
	p.drawn = true
	fmt.Fprint(p.w, "\r\x1b[K", progressText(read, p.total))
}

func progressText(read, total int64) string {
	const megabyte = 1 << 20
	if total <= 0 {
		return fmt.Sprintf("%d MB", read/megabyte)
	}
	const width = 30
	share := min(float64(read)/float64(total), 1)
	return fmt.Sprintf("[%-*s] %3d%% of %d MB", width, strings.Repeat("#", int(share*width)), int(share*100), total/megabyte)
}

func (p *progress) erase() {
	if p.drawn {
		fmt.Fprint(p.w, "\r\x1b[K")
		p.drawn = false
	}
}
