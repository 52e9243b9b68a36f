package milter

import (
	"fmt"
	"log/slog"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
)

// panicLog remembers where callbacks have panicked, so that a stack is logged
// once for each place however often a client can provoke it.
type panicLog struct {
	mu   sync.Mutex
	seen map[string]struct{}
}

// first reports whether this place is new.
func (p *panicLog) first(place string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, ok := p.seen[place]; ok {
		return false
	}
	if p.seen == nil {
		p.seen = make(map[string]struct{})
	}
	p.seen[place] = struct{}{}
	return true
}

// recovered counts and logs a panic of a callback; value is what recover()
// returned in the deferred function that calls this. It reports whether there
// was a panic at all.
func (s *Server) recovered(callback string, value any, attrs ...any) bool {
	if value == nil {
		return false
	}
	s.counter.panics.Add(1)
	place := panicPlace()
	attrs = append(attrs, "callback", callback, "panic", fmt.Sprint(value), "place", place)
	if s.panics.first(place) {
		attrs = append(attrs, slog.String("stack", string(debug.Stack())))
	}
	s.logger.Error("milter callback panicked", attrs...)
	return true
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
