package attack

import (
	"errors"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"

	"milterd/integration/harness"
	"milterd/integration/testkit"
)

// refusedForms are recipients that milterd refuses: those at the victim, and two users
// whose aliases lead to a partner. sendmail may take a part of each for something else.
var refusedForms = []string{
	"x@{v}", "x,y@{v}", `"x,y"@{v}`, `x\,y@{v}`, "x(a,b)@{v}", "x(,y@{v}", `x",y@{v}`, "x@{v},late@{p}", "late@{p},x@{v}", "x@{v}, <late@{p}>",
	"list:x@{v},y@{v};", "list:x@{v};", "list: x@{v}, late@{p};", "list:;", "x@{v};", "@a.example,@b.example:x@{v}", "@{p}:x@{v}", "x%{v}@{o},b", "{v}!x,y", "x@{v}>,<y@{v}",
	"gone@{o}", "GONE@Example.TEST", `"gone"@{o}`, "gone+detail@{o}", "gone(c)@{o}", "gone,b@{o}", "gone@{o},late@{p}", "b,gone@{o}", "list:gone@{o};", "@{o}:gone@{o}", "gone",
	"team@{o}", "team@{o}, gone@{o}", "list:team@{o},gone@{o};", "team%{o}@{o}", "|/bin/true@{o}", ":include:/etc/passwd@{o}", "/etc/passwd",
}

// leadingAway are the aliases of the users who are refused.
const leadingAway = "postmaster: root\nabuse: root\ngone: away@" + partner + "\nteam: away@" + partner + ", x@" + victim + "\n"

// TestNobodyGetsWhatWasRefusedForHim has sendmail deliver while the client waits, and
// behind its back, each message to two recipients that are taken, with one that is
// refused between them: the two get it, or none of them does.
func TestNobodyGetsWhatWasRefusedForHim(t *testing.T) {
	for _, mode := range []string{"interactive", "background"} {
		t.Run(mode, func(t *testing.T) {
			refusing := strings.Replace(config, "{file: access}", "{file: access, features: [skip, delay_checks, friend, blocklist_recipients]}", 1)
			env := start(t, harness.Options{
				Access: relays, DNS: records, Config: refusing, Files: map[string]string{"access": relays + "To:gone@\tREJECT\nTo:team@\tREJECT\n"},
				LocalHostNames: own + "\n", RelayDomains: partner + "\n", Mailboxes: []string{"shin"},
				MC: "FEATURE(`promiscuous_relay')dnl\ndefine(`confDELIVERY_MODE', `" + mode + "')dnl\n",
			})
			if err := os.WriteFile("/etc/mail/aliases", []byte(leadingAway), 0o644); err != nil {
				t.Fatal(err)
			}
			if out, err := exec.Command("/usr/sbin/sendmail", "-bi").CombinedOutput(); err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			mailHosts := startSinks(t, append(slices.Clone(aliases), partnerHost, senderHost)...)
			taken := make(map[string]bool)
			for i, form := range refusedForms {
				to := strings.NewReplacer("{v}", victim, "{p}", partner, "{o}", own).Replace(form)
				reply, err := sendBetween(to, mode+"."+string(rune('A'+i)))
				if err != nil {
					t.Errorf("%q: %v", to, err)
				}
				taken[mode+"."+string(rune('A'+i))] = reply.Code/100 == 2
				if reply.Code/100 == 5 {
					t.Errorf("%q: the message to the others is refused for good: %s", to, reply.First())
				}
			}
			testkit.Eventually(t, "all messages have left", func() bool {
				files, err := env.Queue()
				return err == nil && len(files) == 0
			})
			got := make(map[string][]string)
			for _, d := range mailHosts.taken() {
				got[d.mark] = append(got[d.mark], strings.ToLower(d.rcpt))
			}
			delivered := 0
			for i, form := range refusedForms {
				mark, want := mode+"."+string(rune('A'+i)), ""
				if taken[mark] {
					want = "to:<first@" + partner + "> to:<last@" + partner + ">"
					delivered++
				}
				slices.Sort(got[mark])
				if to := strings.Join(got[mark], " "); to != want {
					t.Errorf("%q is refused (the message is taken: %t), and it goes to %s", form, taken[mark], to)
				}
			}
			t.Logf("%d of %d messages were taken", delivered, len(refusedForms))
			if delivered == 0 {
				t.Error("nothing was delivered")
			}
		})
	}
}

// sendBetween sends a message to two recipients with another between them, which must be
// refused, and returns the reply to the message.
func sendBetween(to, mark string) (harness.Reply, error) {
	conn, err := (caller{addr: "203.0.113.8"}).open()
	if err != nil {
		return harness.Reply{}, err
	}
	defer conn.Close()
	for _, line := range []string{"MAIL FROM:<a@good.example>", "RCPT TO:<first@" + partner + ">", "RCPT TO:<" + to + ">", "RCPT TO:<last@" + partner + ">", "DATA"} {
		reply, err := conn.Command(line)
		if err != nil {
			return reply, err
		}
		if refused := reply.Code >= 400; refused != (line == "RCPT TO:<"+to+">") {
			return reply, errors.New(line + ": " + reply.First())
		}
	}
	reply, err := conn.Command("X-Attack: " + mark + "\r\nFrom: a@good.example\r\nSubject: attack\r\n\r\nHello\r\n.")
	if err == nil && reply.Code < 400 {
		_, err = conn.Command("QUIT")
	}
	return reply, err
}

// TestNoAcceptedRecipientIsLost names a mailbox by two names, of which one is refused: a
// message that is taken waits for all that were accepted.
func TestNoAcceptedRecipientIsLost(t *testing.T) {
	refusing := strings.Replace(config, "{file: access}", "{file: access, features: [skip, delay_checks, friend, blocklist_recipients]}", 1)
	refusing = strings.Replace(refusing, "local: [example.test]", "local: [example.test, mx.example.test]", 1)
	env := start(t, harness.Options{
		Access: relays, DNS: records, Config: refusing, Files: map[string]string{"access": relays + "To:shin@mx.example.test\tREJECT\n"},
		LocalHostNames: own + "\nmx.example.test\n", RelayDomains: partner + "\n", Mailboxes: []string{"shin", "mari"},
	})
	taken := 0
	for i, named := range []string{
		"shin@{o} shin@mx.{o}", "shin@mx.{o} shin@{o}", "mari@{o} shin@{o} shin@mx.{o}", "shin@{o} shin@mx.{o} mari@{o}", "SHIN@{o} shin@mx.{o} shin@{o}",
		`"shin"@{o} shin@mx.{o}`, `shin@{o} "shin"@mx.{o}`, "shin@{o} SHIN@MX.Example.Test", "shin@mx.{o} shin@{o} shin@mx.{o}", "mari@{o} shin@mx.{o}",
	} {
		mark, rcpts := "twice."+strconv.Itoa(i), strings.Fields(strings.ReplaceAll(named, "{o}", own))
		accepted, reply, err := sendTo(mark, rcpts)
		if err != nil || len(accepted) == 0 || len(accepted) == len(rcpts) {
			t.Fatalf("%q: %q accepted, %v", rcpts, accepted, err)
		}
		if reply.Code/100 == 4 {
			continue
		}
		taken++
		files, err := env.Queue()
		if err != nil {
			t.Fatal(err)
		}
		at := slices.IndexFunc(files, func(f harness.QueueFile) bool { return strings.Contains(f.Text, "X-Attack: "+mark+"\n") })
		for _, to := range accepted {
			// The mailbox stands there by any of its names.
			user, _, _ := strings.Cut(strings.ToLower(strings.ReplaceAll(to, `"`, "")), "@")
			if at < 0 || !strings.Contains(strings.ReplaceAll(strings.ToLower(files[at].Text), `"`, ""), ":<"+user+"@") {
				t.Errorf("%q: %s was accepted, the message is taken, and it does not wait for him", rcpts, to)
			}
		}
	}
	if taken == 0 {
		t.Error("no message is taken")
	}
}

// sendTo sends a message to several recipients, and returns those that were accepted and
// the reply to the message.
func sendTo(mark string, rcpts []string) (accepted []string, reply harness.Reply, err error) {
	conn, err := (caller{addr: "203.0.113.8"}).open()
	if err != nil {
		return nil, reply, err
	}
	defer conn.Close()
	if reply, err = conn.Command("MAIL FROM:<a@good.example>"); err != nil {
		return nil, reply, err
	}
	for _, to := range rcpts {
		if reply, err = conn.Command("RCPT TO:<" + to + ">"); err != nil {
			return nil, reply, err
		}
		if reply.Code == 250 {
			accepted = append(accepted, to)
		}
	}
	if reply, err = conn.Command("DATA"); err == nil {
		reply, err = conn.Command("X-Attack: " + mark + "\r\nFrom: a@good.example\r\nSubject: attack\r\n\r\nHello\r\n.")
	}
	return accepted, reply, err
}
