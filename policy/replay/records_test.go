package replay

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// linesOf puts the blocks of a stream together again, with the number of each line
// before it.
func linesOf(t testing.TB, r io.Reader) (lines []string, errs []string) {
	t.Helper()
	s := newSplitter(jsonLines, "f", r)
	p := new(piece)
	for more := true; more; {
		*p = piece{data: p.data[:0], ends: p.ends[:0]}
		more = s.next(p)
		begin := 0
		for _, end := range p.ends {
			lines = append(lines, fmt.Sprintf("%d %s", p.line, bytes.TrimSuffix(p.data[begin:end], []byte("\n"))))
			p.line++
			begin = end
		}
		if p.err != nil {
			errs = append(errs, p.err.Error())
		}
	}
	return lines, errs
}

func TestBlocksHoldAllLines(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		lengths := rapid.SliceOfN(rapid.SampledFrom([]int{0, 1, 100, 5000, blockSize - 1, blockSize, blockSize + 1}), 0, 8).Draw(t, "lengths")
		var text strings.Builder
		var want []string
		for i, n := range lengths {
			line := strings.Repeat(string(rune('a'+i)), n)
			want = append(want, fmt.Sprintf("%d %s", i+1, line))
			text.WriteString(line + "\n")
		}
		all := text.String()
		if rapid.Bool().Draw(t, "cut") && len(lengths) > 0 && lengths[len(lengths)-1] > 0 {
			all = strings.TrimSuffix(all, "\n")
		}
		r := io.Reader(strings.NewReader(all))
		if rapid.Bool().Draw(t, "halves") {
			r = iotest.HalfReader(r)
		}
		if rapid.Bool().Draw(t, "early") {
			r = iotest.DataErrReader(r)
		}
		got, errs := linesOf(&testing.T{}, r)
		if !cmp.Equal(want, got) || errs != nil {
			t.Errorf("%d lines, errors %v, want %d lines", len(got), errs, len(want))
		}
	})
}

func TestALineThatIsTooLongIsPassedOver(t *testing.T) {
	long := strings.Repeat("x", maxLine+1)
	for _, c := range []struct {
		name, text string
		lines      []string
		errs       []string
	}{
		{"between others", "a\n" + long + "\nb\n", []string{"1 a", "3 b"}, []string{"f.jsonl:2: line of more than 4194304 bytes"}},
		{"at the end", "a\n" + long, []string{"1 a"}, []string{"f.jsonl:2: line of more than 4194304 bytes"}},
		{"much too long, twice", long + long + long + "\n" + long + long + long + "\nb", []string{"3 b"},
			[]string{"f.jsonl:1: line of more than 4194304 bytes", "f.jsonl:2: line of more than 4194304 bytes"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var ids []string
			err := Read("f.jsonl", strings.NewReader(strings.NewReplacer("a\n", `{"id":"1 a","messages":[{}]}`+"\n", "b", `{"id":"3 b","messages":[{}]}`).Replace(c.text)), func(s *Session) {
				if fmt.Sprint(s.Line) != s.ID[:1] {
					t.Errorf("%s in line %d", s.ID, s.Line)
				}
				ids = append(ids, s.ID)
			})
			if err == nil {
				t.Fatal("no error")
			}
			if diff := cmp.Diff(c.errs, strings.Split(err.Error(), "\n")); diff != "" {
				t.Errorf("errors (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(c.lines, ids); diff != "" {
				t.Errorf("sessions (-want +got):\n%s", diff)
			}
		})
	}
}

func TestWhatIsReadBeforeAnErrorCounts(t *testing.T) {
	r := io.MultiReader(strings.NewReader("a\nb\nhal"), iotest.ErrReader(errors.New("disk gone")))
	lines, errs := linesOf(t, r)
	if diff := cmp.Diff([]string{"1 a", "2 b"}, lines); diff != "" {
		t.Errorf("lines (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"f:3: disk gone"}, errs); diff != "" {
		t.Errorf("errors (-want +got):\n%s", diff)
	}
}

// TestASessionThatIsUsedAgainForgetsTheLast reads each pair of lines into one
// session, and into two.
func TestASessionThatIsUsedAgainForgetsTheLast(t *testing.T) {
	lines := []string{
		`{"id":"full","connect":{"addr":"203.0.113.8","port":1,"name":"n","ptr":"p","resolve":"OK","daemon":"d","daemon_port":2,"daemon_addr":"a","daemon_flags":"f"},"helo":"h","tls":{"version":"v","bits":3},"auth":{"type":"t","ssf":4},"messages":[{"mail":{"from":"a","args":["x","y"]},"rcpt":[{"to":"b","args":["z"]},{"to":"c","mailer":"m"}],"headers":[["A","1"],["B","2"]]},{"mail":{"from":"b"}}],"grants":["203.0.113.8"],"dns":["a.b. A 192.0.2.1"],"expect":[{"stage":"eom","reply":"250","headers":[["A"]]},{"stage":"mail","arg":"a","action":"accept"}]}`,
		`{"messages":[{}]}`,
		`{"messages":[{"rcpt":[{}]},{},{"headers":[["C","3"]]}],"expect":[{"stage":"mail","action":"accept"}],"dns":[],"grants":[]}`,
		`{"messages":[{"rcpt":null,"mail":{"args":[]}}],"dns":null}`,
	}
	for _, first := range lines {
		for _, second := range lines {
			again := decoder{format: jsonLines, name: "f", reused: new(Session)}
			fresh := decoder{format: jsonLines, name: "f"}
			var got, want []Session
			text := &piece{data: []byte(first + "\n" + second), ends: []int{len(first) + 1, len(first) + 1 + len(second)}, line: 1}
			again.sessions(text, func(s *Session) { got = append(got[:0], *s) })
			fresh.sessions(text, func(s *Session) { want = append(want[:0], *s) })
			if text.unreadable.count() > 0 {
				t.Fatal(text.unreadable)
			}
			if diff := cmp.Diff(fmt.Sprintf("%+v", want), fmt.Sprintf("%+v", got)); diff != "" {
				t.Errorf("%s after %s (-fresh +again):\n%s", second, first, diff)
			}
		}
	}
}

// BenchmarkLines reads sessions as recordings have them.
func BenchmarkLines(b *testing.B) {
	line := []byte(`{"id":"x","connect":{"addr":"203.0.113.8","port":40112,"name":"mail.good.example","ptr":"mail.good.example","resolve":"OK","daemon":"MTA","daemon_port":25,"daemon_addr":"203.0.113.25"},"helo":"mail.good.example","tls":{"version":"TLSv1.3","cipher":"TLS_AES_256_GCM_SHA384","bits":256,"verify":"NO"},"messages":[{"mail":{"from":"a@good.example","args":["SIZE=1000","BODY=8BITMIME"],"mailer":"esmtp","host":"good.example.","addr":"a@good.example"},"rcpt":[{"to":"shin@example.test","mailer":"local","addr":"shin"}]}],"dns":["8.113.0.203.in-addr.arpa. 300 IN PTR mail.good.example.","mail.good.example. 300 IN A 203.0.113.8","good.example. 300 IN MX 10 mail.good.example.","8.113.0.203.bl.example. A NXDOMAIN"],"expect":[{"stage":"mail","arg":"a@good.example","action":"accept"},{"stage":"rcpt","arg":"shin@example.test","action":"accept"},{"stage":"eom","arg":"","action":"accept"}]}`)
	d := decoder{format: jsonLines, name: "f", reused: new(Session)}
	var bad unreadable
	b.SetBytes(int64(len(line)))
	b.ReportAllocs()
	for b.Loop() {
		d.line(line, 1, &bad, func(*Session) {})
	}
	if bad.count() > 0 {
		b.Fatal(bad)
	}
}
