package main

import (
	"bytes"
	"log/slog"
	"log/syslog"
	"strings"

	"milterd/configs"
)

// sendLog sends what the log holds from now on to the place that the configuration
// names. Without syslog mail goes on, and the log is where it was.
func sendLog(log *logWriter, config configs.Log, logger *slog.Logger) {
	if config.To != configs.LogSyslog {
		return
	}
	to, err := syslog.New(syslog.LOG_MAIL|syslog.LOG_INFO, "milterd")
	if err != nil {
		logger.Warn("log.to: no syslog, the log goes to stderr until milterd is restarted", "error", err)
		return
	}
	log.redirect(syslogLines{to})
}

// syslogLines sends each line of a log that newLogger has made to syslog, at its
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
