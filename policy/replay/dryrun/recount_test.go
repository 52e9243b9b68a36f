package dryrun

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"milterd/integration/testkit"
)

const countingConfig = `listen: {milter: local:DIR/milter.sock}
access: {file: access, features: []}
domains: {hostname: mx.example.test, local: [example.test], relay: []}
checks: {rdns: {mode: off}}
`

// messagesOf is a session of a login with messages, each with its time and recipients.
func messagesOf(id, login string, messages ...string) string {
	return fmt.Sprintf(`{"id": %q, "connect": {"addr": "203.0.113.8", "resolve": "OK", "daemon_port": 587}, "auth": {"type": "PLAIN", "authen": %q}, "messages": [%s]}`+"\n",
		id, login, strings.Join(messages, ", "))
}

func messageAt(at time.Time, recipients int) string {
	to := make([]string, recipients)
	for i := range to {
		to[i] = fmt.Sprintf(`{"to": "x%d@other.example", "mailer": "esmtp"}`, i)
	}
	return fmt.Sprintf(`{"at": %q, "mail": {"from": "a@example.test"}, "rcpt": [%s]}`, at.Format(time.RFC3339), strings.Join(to, ", "))
}

// aWeek are recordings of two hosts: quiet people, a newsletter each morning, and a stolen
// password in one night, over many sessions at both hosts.
func aWeek(t *testing.T) (dir string) {
	t.Helper()
	dir = newDir(t, countingConfig, "")
	night := time.Date(2026, 11, 25, 2, 0, 0, 0, time.UTC)
	var hosts [2]strings.Builder
	for d := range 7 {
		day := time.Date(2026, 11, 22+d, 0, 0, 0, 0, time.UTC)
		for h := 8; h < 18; h++ {
			at := day.Add(time.Duration(h) * time.Hour)
			hosts[h%2].WriteString(messagesOf(fmt.Sprint("shin-", d, "-", h), "shin+2Bbox", messageAt(at, 1), messageAt(at.Add(time.Minute), 3)))
		}
		// With our host name or without, it is one login.
		hosts[0].WriteString(messagesOf(fmt.Sprint("news-", d), []string{"newsletter", "newsletter@mx.example.test"}[d%2], messageAt(day.Add(9*time.Hour), 400)))
		if d == 3 {
			for i := range 200 {
				hosts[i%2].WriteString(messagesOf(fmt.Sprint("night-", i), "mari", messageAt(night.Add(time.Duration(i)*time.Minute), 10)))
			}
		}
	}
	write(t, dir, "a.jsonl", hosts[0].String())
	write(t, dir, "b.jsonl", hosts[1].String())
	for name, limits := range map[string]string{
		"next.yaml":   "logins: {rate: [200/1h, 500/24h]}, messages: {count: messages, rate: 30/1h, mode: shadow}",
		"again.yaml":  "logins: {rate: [200/1h, 500/24h], exceptions: exceptions}",
		"wide.yaml":   "logins: {rate: 100000/24h}",
		"shadow.yaml": "logins: {rate: 1/24h, mode: shadow}",
	} {
		write(t, dir, name, strings.ReplaceAll(countingConfig, "DIR", dir)+"limits: {rules: {"+limits+"}}\n")
	}
	write(t, dir, "exceptions", "newsletter 1000/24h\n")
	return dir
}

// TestOtherLimitsAreCountedInRecordedTime: over sessions, hosts and days. The text is that
// of milterd-cookbook(7).
func TestOtherLimitsAreCountedInRecordedTime(t *testing.T) {
	wd, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	manual, err := os.ReadFile("../../../configs/manual/milterd-cookbook.7.md")
	if err != nil {
		t.Fatal(err)
	}
	dir := aWeek(t)
	text := ""
	for _, c := range []struct {
		file   string
		status int
	}{{"next.yaml", Difference}, {"again.yaml", Difference}, {"wide.yaml", OK}, {"shadow.yaml", OK}} {
		status, out, stderr := runDry(t, dir, "-against", c.file, "a.jsonl", "b.jsonl")
		if status != c.status || stderr != "" {
			t.Errorf("%s: exit status %d, %s\n%s", c.file, status, stderr, out)
		}
		text += "$ milterd -check -against " + c.file + " a.jsonl b.jsonl\n" + out
	}
	_, objects, _ := runDry(t, dir, "-against", "next.yaml", "-json", "b.jsonl", "a.jsonl")
	t.Chdir(wd)
	testkit.Golden(t, "testdata/limits.txt", text)
	testkit.Golden(t, "testdata/limits.jsonl", objects)
	for line := range strings.Lines(text[:strings.Index(text, "$ milterd -check -against wide")]) {
		if !strings.Contains(string(manual), "    "+line) {
			t.Errorf("milterd-cookbook(7) has no %q", line)
		}
	}
}

// TestWhatStopsAMessage: a limit of messages is for a message, however many recipients it
// has; and what another check refuses is not stopped by a limit.
func TestWhatStopsAMessage(t *testing.T) {
	at := time.Date(2026, 11, 25, 2, 0, 0, 0, time.UTC)
	for limits, want := range map[string]string{
		// x0 is refused, so that the others of the first message are the first to be taken.
		"messages: {count: messages, rate: 1/1h}": "messages shin 3 of 1 from 02:01:00",
		// x0 is refused, which fills the count: the others wait for that.
		"guessing: {count: refused, rate: 1/1h}": "guessing shin 5 of 2 from 02:00:00",
		// Each message asks again for each recipient while none is taken.
		"messages: {count: messages, rate: 1/1h}, logins: {rate: 3/1h}": "messages shin 3 of 1 from 02:01:00",
		// The first of two that have no room tells.
		"logins: {rate: 2/1h}, messages: {count: messages, rate: 1/1h}": "logins shin 3 of 1 from 02:01:00",
	} {
		dir := newDir(t, countingConfig, "To:x0@other.example\tREJECT\n")
		write(t, dir, "a.jsonl", messagesOf("two", "shin", messageAt(at, 3), messageAt(at.Add(time.Minute), 4)))
		write(t, dir, "next.yaml", strings.ReplaceAll(strings.Replace(countingConfig, "features: []", "features: [blocklist_recipients]", 1), "DIR", dir)+
			"limits: {rules: {"+limits+"}}\n")
		_, out, _ := runDry(t, dir, "-against", "next.yaml", "-json", "a.jsonl")
		var got []string
		for line := range strings.Lines(out) {
			var s stopped
			if err := json.Unmarshal([]byte(line), &s); err != nil {
				t.Fatal(err)
			}
			if s.Limit != "" {
				got = append(got, fmt.Sprint(s.Limit, " ", s.Key, " ", s.Recipients, " of ", s.Messages, " from ", s.First.Format(time.TimeOnly)))
			}
		}
		if strings.Join(got, ",") != want {
			t.Errorf("%s: got %q, want %q", limits, got, want)
		}
	}
}

func TestMessagesWithoutATimeAreNotCounted(t *testing.T) {
	dir := newDir(t, countingConfig, "")
	write(t, dir, "a.jsonl", strings.ReplaceAll(messagesOf("a", "shin", messageAt(time.Unix(0, 0).UTC(), 5)), `"at": "1970-01-01T00:00:00Z", `, ""))
	write(t, dir, "next.yaml", strings.ReplaceAll(countingConfig, "DIR", dir)+"limits: {rules: {logins: {rate: 2/1h}}}\n")
	_, out, _ := runDry(t, dir, "-against", "next.yaml", "a.jsonl")
	if !strings.Contains(out, "3 changes in 1 session") || !strings.Contains(out, "1 message not counted, as the recording does not tell when it began") {
		t.Errorf("%s", out)
	}
}

// TestAnyNumberIsInOrder compares sorting with little memory with sorting at once.
func TestAnyNumberIsInOrder(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	rapid.Check(t, func(rt *rapid.T) {
		all := byTime{most: rapid.IntRange(50, 1000).Draw(rt, "most")}
		times := rapid.SliceOfN(rapid.Int64Range(-3, 30), 0, 200).Draw(rt, "times")
		for i, at := range times {
			if err := all.add(dated{at, fmt.Append(nil, i)}); err != nil {
				rt.Fatal(err)
			}
		}
		seen, last, lastPlace := 0, int64(-4), -1
		if err := all.each(func(d dated) error {
			var place int
			if _, err := fmt.Sscan(string(d.Data), &place); err != nil || times[place] != d.At || d.At < last || d.At == last && place < lastPlace {
				rt.Fatalf("%d of %d after %d of %d (%v)", place, d.At, lastPlace, last, err)
			}
			seen, last, lastPlace = seen+1, d.At, place
			return nil
		}); err != nil || seen != len(times) {
			rt.Fatalf("%d of %d, %v", seen, len(times), err)
		}
		if err := all.close(); err != nil {
			rt.Fatal(err)
		}
	})
	if left, _ := filepath.Glob(filepath.Join(os.Getenv("TMPDIR"), "*")); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
}
