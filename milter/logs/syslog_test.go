package logs

import (
	"log/slog"
	"log/syslog"
	"net"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"milterd/integration/testkit"
)

// TestEachLineGoesToSyslogAtItsLevel: a line of the log is one message of the facility
// mail, without a time of its own, and with no more than one line in it.
func TestEachLineGoesToSyslogAtItsLevel(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	server, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	if err := server.SetDeadline(time.Now().Add(testkit.Patience)); err != nil {
		t.Fatal(err)
	}
	to, err := syslog.Dial("unixgram", path, syslog.LOG_MAIL|syslog.LOG_INFO, "milterd")
	if err != nil {
		t.Fatal(err)
	}
	defer to.Close()
	for format, lines := range map[string][]string{
		"text": {"23 level=DEBUG msg=m a=1", "22 level=INFO msg=m a=1", "20 level=WARN msg=m a=1",
			`19 level=ERROR msg=m client="x\nlevel=DEBUG"`},
		"json": {`23 {"level":"DEBUG","msg":"m","a":1}`, `22 {"level":"INFO","msg":"m","a":1}`, `20 {"level":"WARN","msg":"m","a":1}`,
			`19 {"level":"ERROR","msg":"m","client":"x\nlevel=DEBUG"}`},
	} {
		t.Run(format, func(t *testing.T) {
			stderr := new(testkit.Log)
			log := NewWriter(stderr)
			log.redirect(syslogLines{to})
			var level slog.LevelVar
			level.Set(slog.LevelDebug)
			logger := New(log, format == "json", true, &level)
			logger.Debug("m", "a", 1)
			logger.Info("m", "a", 1)
			logger.Warn("m", "a", 1)
			logger.Error("m", "client", "x\nlevel=DEBUG")
			log.Close()
			// <22>Nov 28 00:00:00 milterd[1]: the text; 22 is mail (2) and info (6).
			form := regexp.MustCompile(`^<(\d+)>.* milterd\[\d+\]: (.*)\n$`)
			for _, want := range lines {
				buffer := make([]byte, 4096)
				n, err := server.Read(buffer)
				if err != nil {
					t.Fatal(err)
				}
				m := form.FindStringSubmatch(string(buffer[:n]))
				priority, text, _ := strings.Cut(want, " ")
				if m == nil || m[1] != priority || m[2] != text {
					t.Errorf("%q, expected <%s> %s", buffer[:n], priority, text)
				}
			}
			if stderr.String() != "" {
				t.Errorf("stderr: %s", stderr)
			}
		})
	}
}
