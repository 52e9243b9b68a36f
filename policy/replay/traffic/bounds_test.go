package traffic

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"milterd/policy/replay"
)

// counted imports a log with small bounds, and checks these line by line. It gives how
// many sessions came, and how many messages.
func counted(t *testing.T, log string, open, kept int) (im *importer, sessions, messages int) {
	t.Helper()
	im = newImporter("traffic.log", func(s *replay.Session) bool {
		sessions++
		messages += len(s.Messages)
		return true
	})
	im.maxOpen, im.maxKept = open, kept
	l := newLines(strings.NewReader(log))
	for {
		e, err := l.next()
		if errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		im.entry(e)
		if len(im.open) > open || len(im.open) != im.recent.Len() {
			t.Fatalf("line %d: %d processes in the map and %d in the list, want %d at most", e.line, len(im.open), im.recent.Len(), open)
		}
		if im.kept > kept && len(im.open) > 1 {
			t.Fatalf("line %d: %d octets are kept, want %d at most", e.line, im.kept, kept)
		}
	}
	im.finishAll()
	if im.kept != 0 || len(im.open) != 0 {
		t.Errorf("in the end %d octets and %d processes are kept", im.kept, len(im.open))
	}
	return im, sessions, messages
}

func TestTheOldestOfTooManyConnectionsHasEnded(t *testing.T) {
	var log strings.Builder
	for pid := range 100 {
		log.WriteString(dialogue(pid, laptop+message))
	}
	if _, sessions, messages := counted(t, log.String(), 10, maxKept); sessions != 100 || messages != 100 {
		t.Errorf("%d sessions with %d messages, want 100 of each", sessions, messages)
	}
	if _, sessions, messages := counted(t, log.String(), maxOpen, 10<<10); sessions != 100 || messages != 100 {
		t.Errorf("%d sessions with %d messages where few octets are kept, want 100 of each", sessions, messages)
	}
}

func TestAVeryLongConnectionBecomesSeveralSessions(t *testing.T) {
	const many = 10_000
	log := dialogue(7, laptop+strings.Repeat(message, many))
	_, sessions, messages := counted(t, log, maxOpen, maxKept)
	if sessions < 10 || sessions > 100 || messages != many {
		t.Errorf("%d sessions with %d messages, want some of them with %d", sessions, messages, many)
	}
}

func TestAVeryLargeMessageIsCutAndSaidSo(t *testing.T) {
	var log strings.Builder
	log.WriteString(laptop + "< MAIL FROM:<a@good.example>\n> 250 2.1.0 ok\n")
	for i := range 20_000 {
		fmt.Fprintf(&log, "< RCPT TO:<user-%d@example.test>\n> 250 2.1.5 ok\n", i)
	}
	log.WriteString("< DATA\n> 354 go on\n< X-Long: " + strings.Repeat("x", 2*maxLine) + "\n< Subject: hi\n< .\n> 250 2.0.0 ok\n")
	got, err := importText(t, dialogue(7, log.String()))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"  note recipients of very large messages that are left out: ", "  note a header of more than 65536 octets is cut\n", "  expect eom <> 250\n"} {
		if !strings.Contains(got, want) {
			t.Errorf("%q is missing", want)
		}
	}
	if n := strings.Count(got, "\n  rcpt "); n < 1000 || n > maxMessage/100 {
		t.Errorf("%d recipients are kept", n)
	}
}

func TestCommandsWithoutRepliesAreNotKeptForEver(t *testing.T) {
	log := dialogue(7, laptop+"< MAIL FROM:<a@good.example>\n> 250 2.1.0 ok\n"+strings.Repeat("< RCPT TO:<x@example.test>\n", 1000))
	_, sessions, messages := counted(t, log, maxOpen, 1<<20)
	if sessions != 1 || messages != 1 {
		t.Errorf("%d sessions with %d messages, want one", sessions, messages)
	}
}

// TestACommandLongerThanTheBufferDoesNotShiftReplies has what sendmail writes then: a
// piece, and behind it on the same line the reply.
func TestACommandLongerThanTheBufferDoesNotShiftReplies(t *testing.T) {
	piece := "AUTH PLAIN " + strings.Repeat("A", maxCommand-len("AUTH PLAIN "))
	got, err := importText(t, dialogue(7, laptop+"< "+piece+"00007 >>> 501 5.5.4 cannot BASE64 decode\n< AAAA\n> 500 5.5.1 Command unrecognized: \"AAAA\"\n"+message))
	want := "line-1-pid-7" + laptopClient + " tls= auth=\n" + messageSession + messageExpected
	if err != nil || got != want {
		t.Errorf("error %v, sessions:\n%s\nwant:\n%s", err, got, want)
	}
}

func TestAnErrorOfReadingIsSaidWithItsLine(t *testing.T) {
	broken := errors.New("the disk is broken")
	var sessions int
	err := Read("traffic.log", io.MultiReader(strings.NewReader(dialogue(7, laptop+message)), iotest.ErrReader(broken)), func(*replay.Session) bool {
		sessions++
		return true
	})
	if !errors.Is(err, broken) || err.Error() != "traffic.log:17: the disk is broken" || sessions != 1 {
		t.Errorf("error %v, %d sessions", err, sessions)
	}
}

func TestReadingEndsWhenNoMoreIsWanted(t *testing.T) {
	var sessions int
	log := dialogue(7, laptop+message+"< QUIT\n> 221 bye\n")
	err := Read("traffic.log", strings.NewReader(strings.Repeat(log, 10)), func(*replay.Session) bool {
		sessions++
		return sessions < 3
	})
	if err != nil || sessions != 3 {
		t.Errorf("error %v, %d sessions", err, sessions)
	}
}
