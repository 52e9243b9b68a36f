package door

import (
	"fmt"
	"log/slog"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
)

// PanicLog logs panics. It remembers where they came from, so that a stack is
// logged once for each place however often a client can provoke it. The zero
// value is ready for use.
type PanicLog struct{ seen sync.Map }

// Log logs one panic: value is what recover returned, in the deferred function
// that calls this.
func (p *PanicLog) Log(logger *slog.Logger, message string, value any, attrs ...any) {
	place := panicPlace()
	attrs = append(attrs, "panic", fmt.Sprint(value), "place", place)
	if _, seen := p.seen.LoadOrStore(place, true); !seen {
		attrs = append(attrs, slog.String("stack", string(debug.Stack())))
	}
	logger.Error(message, attrs...)
}

// panicPlace is the function and line that panicked: the first one below the runtime's own.
func panicPlace() string {
	var pcs [64]uintptr
	frames := runtime.CallersFrames(pcs[:runtime.Callers(2, pcs[:])])
	panicking := false
	for {
		frame, more := frames.Next()
		if panicking && !strings.HasPrefix(frame.Function, "runtime.") {
			return fmt.Sprintf("%s:%d", frame.Function, frame.Line)
		}
		if frame.Function == "runtime.gopanic" {
			panicking = true
		}
		if !more {
			return "unknown"
		}
	}
}
