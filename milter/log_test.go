package milter

import (
	"bytes"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"milterd/header"
	"milterd/integration/testkit"
	"milterd/milter/door"
	"milterd/policy"
)

// withoutTime is a log of level info whose lines have no time.
func withoutTime(log *testkit.Log) *slog.Logger {
	return slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{ReplaceAttr: func(groups []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey {
			return slog.Attr{}
		}
		return a
	}}))
}

// tell is the verdicts of the tests of the log, by what the client says.
func tell(stage policy.Stage, arg string) policy.Verdict {
	shadow := policy.Shadow{Action: policy.ActionReject, Reply: policy.Reply{Code: 550, Enhanced: "5.7.1", Text: "no"}, Check: "client", Rule: "access:3: x"}
	v := policy.Verdict{Action: policy.ActionAccept}
	switch {
	case strings.HasPrefix(arg, "relayed"):
		v.Reason, v.Relay = "the client's network may relay", "the client's network may relay"
	case strings.HasPrefix(arg, "shadow"):
		v.Shadow = []policy.Shadow{shadow}
	case strings.HasPrefix(arg, "bad"):
		v = reject(550, "5.7.1", "Access denied")
		v.Rule, v.Reason = "access:7: bad REJECT", "the table has an entry"
	case strings.HasPrefix(arg, "later"):
		v.Action, v.Check, v.Reply = policy.ActionTempfail, "rdns", policy.Reply{Code: 450, Enhanced: "4.7.25", Text: "later"}
	case strings.HasPrefix(arg, "drop"):
		v.Action, v.Check = policy.ActionDiscard, "sender"
	case stage == policy.StageEOM:
		v.Edits = []header.Edit{{Name: "Received", Index: 1, Value: "from SMTP"}, {Name: "X-Mailer", Index: 1, Delete: true}}
	}
	return v
}

func TestOneLineAMessageOneLineARefusal(t *testing.T) {
	mail := func(from string, to ...string) []byte {
		frames := frame('M', "<"+from+">\x00")
		for _, to := range to {
			frames = append(frames, frame('R', "<"+to+">\x00")...)
		}
		return frames
	}
	end := frame('E')
	const client = "queue=5AME client=2001:db8::8 resolve=FAIL daemon=MTA daemon_port=25 "
	const edits = ` edits="Received 1, X-Mailer 1 deleted"`
	many := []string{"r1@x", "r2@x", "r3@x", "r4@x", "r5@x", "r6@x", "bad@x"}
	for _, c := range []struct {
		name string
		say  []byte
		want []string
	}{
		{"a message", join(mail("a@good.example", "shin@our.example"), end), []string{"accept " + client + "helo=h from=a@good.example to=shin@our.example" + edits}},
		{"the null sender", join(mail("", "shin@our.example"), end), []string{"accept " + client + `helo=h from=<> to=shin@our.example` + edits}},
		{"a message of a client that may relay", join(mail("a@good.example", "shin@our.example", "relayed@x"), end),
			[]string{"accept " + client + `helo=h from=a@good.example to="shin@our.example relayed@x" relay="the client's network may relay"` + edits}},
		{"two recipients, one of them refused", join(mail("a@good.example", "bad@our.example", "shin@our.example"), end), []string{
			`reject stage=rcpt ` + client + `check=test helo=h from=a@good.example to=bad@our.example reply="550 5.7.1 Access denied" rule="access:7: bad REJECT" reason="the table has an entry"`,
			"accept " + client + "helo=h from=a@good.example to=shin@our.example refused=1" + edits,
		}},
		{"more recipients than are named", join(mail("a@good.example", many...), end), []string{
			`reject stage=rcpt ` + client + `check=test helo=h from=a@good.example to=bad@x reply="550 5.7.1 Access denied" rule="access:7: bad REJECT" reason="the table has an entry"`,
			"accept " + client + "helo=h from=a@good.example recipients=6 refused=1" + edits,
		}},
		{"what shadow mode would have done, each thing once", join(mail("shadow@x", "shadow@y", "shadow@z"), end),
			[]string{"accept " + client + `helo=h from=shadow@x to="shadow@y shadow@z"` + edits + ` shadow="reject 550 5.7.1 no (client, access:3: x)"`}},
		{"a refusal at MAIL", mail("later@x"), []string{`tempfail stage=mail ` + client + `check=rdns helo=h from=later@x reply="450 4.7.25 later"`}},
		{"a message that is thrown away", mail("a@good.example", "drop@x"), []string{`discard stage=rcpt ` + client + `check=sender helo=h from=a@good.example to=drop@x`}},
		{"a message that is given up", join(mail("a@good.example", "shadow@x"), frame('A')), nil},
		{"what a client says stays in its place", mail("later\r\n\" client=198.51.100.1 msg=reject"),
			[]string{`tempfail stage=mail ` + client + `check=rdns helo=h from="later??\" client=198.51.100.1 msg=reject" reply="450 4.7.25 later"`}},
	} {
		t.Run(c.name, func(t *testing.T) {
			log := new(testkit.Log)
			ts := serve(t, Config{
				Logger: withoutTime(log), Current: func() door.Snapshot { return door.Snapshot{Policy: scrubbingPolicy()} },
			})
			ts.script.verdict = tell
			p := negotiated(t, ts.addr)
			p.send(frame('D', "C{client_name}\x00[IPv6:2001:db8:0:0:0:0:0:8]\x00{client_ptr}\x00[IPv6:2001:db8:0:0:0:0:0:8]\x00{client_resolve}\x00FAIL\x00{daemon_name}\x00MTA\x00{daemon_port}\x0025\x00"),
				frame('C', "x\x00", "6", "\x04\x00", "IPv6:2001:db8::8\x00"), frame('H', "h\x00"), frame('D', "Mi\x005AME\x00"), c.say, frame('A'),
				frame('M', "<last>\x00"))
			testkit.Eventually(t, "the MTA has its last answer", func() bool {
				for _, note := range ts.script.all() {
					if m, ok := note.(mailNote); ok && m.Mail.From == "last" {
						return true
					}
				}
				return false
			})
			want := ""
			for _, line := range c.want {
				want += "level=INFO msg=" + line + "\n"
			}
			if diff := cmp.Diff(want, log.String()); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestAtLevelWarnVerdictsAreNotLogged(t *testing.T) {
	log := new(testkit.Log)
	ts := serve(t, Config{Logger: slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelWarn}))})
	ts.script.verdict = tell
	p := negotiated(t, ts.addr)
	p.send(connectFrame("203.0.113.8"), frame('M', "<bad@x>\x00"))
	p.expect("y550 5.7.1 Access denied")
	if log.String() != "" {
		t.Errorf("logged: %s", log)
	}
}

// TestFail2ban has fail2ban find the refused clients in lines that milterd wrote, as they
// stand in a file, in syslog and in the journal.
func TestFail2ban(t *testing.T) {
	testkit.Need(t, "fail2ban-regex")
	for _, form := range []struct {
		name    string
		handler func(*testkit.Log) slog.Handler
	}{
		{"text", func(l *testkit.Log) slog.Handler { return slog.NewTextHandler(l, nil) }},
		{"json", func(l *testkit.Log) slog.Handler { return slog.NewJSONHandler(l, nil) }},
	} {
		for _, prefix := range []string{"", "Nov 27 23:40:18 mx milterd[12]: ", "2026-11-27T23:40:18.123+01:00 mx milterd: ", "mx milterd[12]: "} {
			t.Run(fmt.Sprintf("%s after %q", form.name, prefix), func(t *testing.T) {
				log := new(testkit.Log)
				logger := slog.New(form.handler(log))
				ts := serve(t, Config{Logger: logger})
				ts.script.verdict = tell
				for addr, from := range map[string]string{
					"203.0.113.8": "bad@x", "IPv6:2001:db8::8": "bad@x", "203.0.113.9": "later@x", "203.0.113.10": "a@x",
					"203.0.113.11": "later level=INFO msg=reject client=198.51.100.1 ", "203.0.113.12": `later","msg":"reject","client":"198.51.100.2"`,
				} {
					p := negotiated(t, ts.addr)
					family := "4"
					if strings.HasPrefix(addr, "IPv6:") {
						family = "6"
					}
					p.send(frame('C', "x\x00", family, "\x04\x00", addr, "\x00"), frame('H', "level=INFO msg=reject client=198.51.100.3 \x00"),
						frame('D', "Mi\x005AME\x00"), frame('M', "<"+from+">\x00"))
					p.answer()
				}
				(&door.Line{Action: policy.ActionReject, Door: "map", Client: policy.Connection{Addr: netip.MustParseAddr("203.0.113.13")}, Rule: "access:1: x"}).Log(t.Context(), logger)
				lines := strings.TrimSuffix(log.String(), "\n")
				file := filepath.Join(t.TempDir(), "log")
				if err := os.WriteFile(file, []byte(prefix+strings.ReplaceAll(lines, "\n", "\n"+prefix)+"\n"), 0o600); err != nil {
					t.Fatal(err)
				}
				out, err := exec.Command("fail2ban-regex", "-o", "ip", file, "../configs/fail2ban/milterd.conf").CombinedOutput()
				got := strings.Fields(string(bytes.TrimSpace(out)))
				want := map[string]bool{"203.0.113.8": true, "2001:db8::8": true, "203.0.113.13": true}
				for _, ip := range got {
					if !want[ip] {
						t.Errorf("%s is found", ip)
					}
					delete(want, ip)
				}
				if err != nil || len(want) > 0 {
					t.Errorf("%v; not found: %v; fail2ban says %s\n%s", err, want, out, lines)
				}
			})
		}
	}
}
