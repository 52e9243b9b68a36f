package traffic

import (
	"fmt"
	"strings"
	"testing"

	"milterd/policy/replay"
)

// importText reads a log; the notes that every session has are checked and left out.
func importText(t testing.TB, log string) (described string, err error) {
	t.Helper()
	var b strings.Builder
	err = Read("traffic.log", strings.NewReader(log), func(s *replay.Session) bool {
		if len(s.Notes) == 0 || !strings.HasPrefix(s.Notes[0], "from a traffic log, ") {
			t.Errorf("%s: notes %q, want what every log lacks first", s.ID, s.Notes)
		} else {
			s.Notes = s.Notes[1:]
		}
		describe(&b, s)
		return true
	})
	return b.String(), err
}

// describe writes what a session holds, a line each thing.
func describe(b *strings.Builder, s *replay.Session) {
	c := s.Connect
	fmt.Fprintf(b, "%s addr=%s name=%s ptr=%s resolve=%s helo=%s tls=%s auth=%s\n", s.ID, c.Addr, c.Name, c.PTR, c.Resolve, s.HELO, s.TLS.Version, s.Auth.Type)
	for _, n := range s.Notes {
		fmt.Fprintf(b, "  note %s\n", n)
	}
	for _, m := range s.Messages {
		fmt.Fprintf(b, "  mail <%s> %q\n", m.Mail.From, m.Mail.Args)
		for _, r := range m.Rcpt {
			fmt.Fprintf(b, "  rcpt <%s> %q\n", r.To, r.Args)
		}
		for _, h := range m.Headers {
			fmt.Fprintf(b, "  %s: %q\n", h[0], h[1])
		}
	}
	for _, x := range s.Expect {
		fmt.Fprintf(b, "  expect %s <%s> %s\n", x.Stage, x.Arg, x.Reply)
	}
}

// dialogue numbers the lines of a dialogue: "< " is what the client says, "> " what
// sendmail does, and "= " a delivery. Other lines stand as they are.
func dialogue(pid int, text string) string {
	marks := map[string]string{"< ": "<<<", "> ": ">>>", "= ": "==="}
	var b strings.Builder
	for line := range strings.Lines(text) {
		if mark, ok := marks[line[:min(2, len(line))]]; ok {
			line = fmt.Sprintf("%05d %s %s", pid, mark, line[2:])
		}
		b.WriteString(line)
	}
	return b.String()
}
