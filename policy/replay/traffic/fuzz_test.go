package traffic

import (
	"errors"
	"io"
	"os"
	"strings"
	"testing"

	"milterd/policy/replay"
)

// FuzzTraffic reads anything as a log: what comes of it can be replayed, and nothing is
// kept in the end.
func FuzzTraffic(f *testing.F) {
	log, err := os.ReadFile("testdata/real.log")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(log)
	f.Add([]byte(dialogue(7, laptop+message)))
	f.Add([]byte(dialogue(7, laptop+"< AUTH LOGIN\n> 334 VXNl\n< c2VjcmV0\n> 235 ok\n"+message+"= EXEC x\n> 220 a\n< NOOP\n")))
	f.Add([]byte(dialogue(7, laptop+"< MAIL FROM:<a>\n> 550-5.7.1 a\n550 5.7.1 b\n< DATA\n> 354\n")))
	f.Fuzz(func(t *testing.T, log []byte) {
		im := newImporter("traffic.log", func(*replay.Session) bool { return true })
		im.maxOpen, im.maxKept = 3, 4<<10
		l := newLines(strings.NewReader(string(log)))
		for e, err := l.next(); err == nil; e, err = l.next() {
			im.entry(e)
		}
		im.finishAll()
		if im.kept != 0 || len(im.open) != 0 || im.recent.Len() != 0 {
			t.Fatalf("in the end %d octets and %d processes are kept", im.kept, len(im.open))
		}
		// Through replay, which checks each session.
		form := replay.Form{Recognise: func([]byte) bool { return true }, Read: Read}
		stream := &replay.Stream[struct{}]{
			Forms: []replay.Form{form},
			New:   func() struct{} { return struct{}{} },
			Each:  func(struct{}, *replay.Session) {},
			Collect: func(_ struct{}, err error) error {
				if err == nil || strings.Contains(err.Error(), "nothing in the log says who its client is") || strings.Contains(err.Error(), ": no session, ") {
					return nil
				}
				return err
			},
		}
		inputs, err := replay.Inputs([]string{"-"}, strings.NewReader(string(log)))
		if err := errors.Join(err, stream.Run(inputs)); err != nil && len(log) > 4 && !compressed(log) {
			t.Fatal(err)
		}
	})
}

// compressed reports whether a log is taken for compressed data, which it may not be.
func compressed(log []byte) bool {
	return strings.HasPrefix(string(log), "\x1f\x8b") || strings.HasPrefix(string(log), "\x28\xb5\x2f\xfd")
}

// BenchmarkRead has 1,000 connections with a message each.
func BenchmarkRead(b *testing.B) {
	var log strings.Builder
	for pid := range 1000 {
		log.WriteString(dialogue(pid, laptop+message+"< QUIT\n> 221 2.0.0 closing connection\n"))
	}
	b.SetBytes(int64(log.Len()))
	b.ReportAllocs()
	for b.Loop() {
		sessions := 0
		err := Read("traffic.log", io.Reader(strings.NewReader(log.String())), func(*replay.Session) bool {
			sessions++
			return true
		})
		if err != nil || sessions != 1000 {
			b.Fatal(err, sessions)
		}
	}
}
