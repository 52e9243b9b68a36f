package milter

import (
	"context"
	"fmt"
	"log/slog"
	"sync"

	gomilter "github.com/d--j/go-milter"

	"milterd/milter/door"
	"milterd/policy"
)

// log writes one line about a refusal, or about a message that was taken.
func (s *session) log(v *policy.Verdict) {
	if s.told.Count(v) {
		line := s.told.Line(v)
		line.Queue, line.Client, line.Helo, line.Auth, line.From = s.queueID, s.client, s.helo, s.auth, door.SenderText(s.from)
		line.Log(s.ctx, s.server.logger)
		if s.server.config.Noted != nil {
			s.server.config.Noted(&line)
		}
	}
	door.LogTrace(s.ctx, s.server.logger, "", s.queueID, &s.client, v)
}

var libraryWarnings sync.Once

// RouteLibraryWarnings sends the warnings of the go-milter library to logger, at level
// Debug: the guard has counted and logged what they tell of. The library has one function
// for the whole process, so the first call wins and the others do nothing. NewServer makes
// the call with its own logger.
func RouteLibraryWarnings(logger *slog.Logger) {
	libraryWarnings.Do(func() {
		gomilter.LogWarning = func(format string, args ...any) {
			if logger.Enabled(context.Background(), slog.LevelDebug) {
				logger.Debug("go-milter: " + fmt.Sprintf(format, args...))
			}
		}
	})
}
