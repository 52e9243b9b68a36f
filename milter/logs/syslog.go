package logs

import (
	"bytes"
	"io"
	"log/slog"
	"log/syslog"
	"strings"
)

// New makes a log of one line a record, in JSON or as text. level can change while it is in
// use. For syslog, which has its own, the lines have no time.
func New(to io.Writer, json, syslog bool, level *slog.LevelVar) *slog.Logger {
	options := &slog.HandlerOptions{Level: level}
	if syslog {
		options.ReplaceAttr = withoutTime
	}
	if json {
		return slog.New(slog.NewJSONHandler(to, options))
	}
	return slog.New(slog.NewTextHandler(to, options))
}

func withoutTime(groups []string, a slog.Attr) slog.Attr {
	if len(groups) == 0 && a.Key == slog.TimeKey {
		return slog.Attr{}
	}
	return a
}

// ToSyslog has what waits, and all that comes, sent to syslog. Without syslog the log stays where
// it was.
func (w *Writer) ToSyslog() error {
	to, err := syslog.New(syslog.LOG_MAIL|syslog.LOG_INFO, "milterd")
	if err == nil {
		w.redirect(syslogLines{to})
	}
	return err
}

// syslogLines sends each line of a log that New has made to syslog, at its
// level.
type syslogLines struct{ to *syslog.Writer }

// severities tell a line's level by how it begins, in both formats of the log. All
// others are LOG_INFO.
var severities = []struct {
	text, json string
	send       func(*syslog.Writer, string) error
}{
	{"level=DEBUG ", `{"level":"DEBUG",`, (*syslog.Writer).Debug},
	{"level=WARN ", `{"level":"WARN",`, (*syslog.Writer).Warning},
	{"level=ERROR ", `{"level":"ERROR",`, (*syslog.Writer).Err},
}

// Write sends the lines of one or more log records. What cannot be sent is lost, but
// the lines after it are tried.
func (s syslogLines) Write(lines []byte) (int, error) {
	var failure error
	for line := range bytes.Lines(lines) {
		if err := s.send(string(bytes.TrimSuffix(line, []byte("\n")))); err != nil {
			failure = err
		}
	}
	return len(lines), failure
}

func (s syslogLines) send(line string) error {
	for _, severity := range severities {
		if strings.HasPrefix(line, severity.text) || strings.HasPrefix(line, severity.json) {
			return severity.send(s.to, line)
		}
	}
	return s.to.Info(line)
}
