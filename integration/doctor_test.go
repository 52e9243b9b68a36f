package integration_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"milterd/configs"
	"milterd/configs/advice"
	"milterd/integration/harness"
)

// stockCF is where the server's sendmail.cf is.
const stockCF = "/etc/mail/sendmail.cf"

// diagnose is what the doctor says about the running sendmail that holds a text.
func diagnose(t *testing.T, about string) (f configs.Finding, found bool) {
	t.Helper()
	c, err := configs.Load(harness.ConfigFile)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range advice.Doctor(advice.Examined{Config: c, CF: stockCF, Now: time.Now()}) {
		if strings.Contains(f.Text, about) {
			return f, true
		}
	}
	return f, false
}

// conversation sends lines as a stranger and returns the last reply.
func conversation(t *testing.T, from, to string, lines ...string) string {
	t.Helper()
	conn, err := harness.Dial(from, to)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	reply, err := conn.ReadReply()
	for _, line := range append([]string{"EHLO client.example"}, lines...) {
		if err == nil {
			reply, err = conn.Command(line)
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	return reply.First()
}

// TestWhatTheDoctorWarnsOfHappensAndIsCured has a real sendmail show what each finding
// is about, and then puts the line in that the finding gives.
func TestWhatTheDoctorWarnsOfHappensAndIsCured(t *testing.T) {
	const (
		stranger   = "198.51.100.77"
		smtp       = harness.ServerAddr4 + ":25"
		unfiltered = "INPUT_MAIL_FILTER(`milterd', `S=local:/run/milterd/milter.sock')dnl"
		submission = "DAEMON_OPTIONS(`Name=MSB, Addr=127.0.0.2, Port=submission, M=E')dnl"
	)
	foreign := []string{"MAIL FROM:<>", "RCPT TO:<x@victim.example>"}
	for _, c := range []struct {
		name string
		// wrong is the line that the finding, of which about is a part, replaces. The
		// cure stands for it, or what is written here if the finding cannot know it.
		wrong, about, cure string
		include            bool
		from, to           string
		lines              []string
		bad, good          string
		withoutMilterd     bool
	}{
		{"no F=T", unfiltered, "no F=T", "", true, stranger, smtp, []string{"MAIL FROM:<>"}, "250 ", "451 4.3.2", true},
		{"deferred delivery", "define(`confDELIVERY_MODE', `deferred')dnl", "DeliveryMode is deferred", "", false, stranger, smtp, foreign, "250 ", "550 5.7.1", false},
		{"promiscuous_relay", "FEATURE(`promiscuous_relay')", "promiscuous_relay", "", false, stranger, smtp, foreign, "250 ", "550 5.7.1", false},
		{"relay_local_from", "FEATURE(`relay_local_from')", "relay_local_from", "", false, stranger, smtp, []string{"MAIL FROM:<x@mx.example.test>", foreign[1]}, "250 ", "550 5.7.1", false},
		{"class R is too wide", "RELAY_DOMAIN(`198')dnl", "class R has 198", "RELAY_DOMAIN(`10.1')dnl", false, stranger, smtp, foreign, "250 ", "550 5.7.1", false},
		{"port 587 without a", submission, "port 587 does not demand AUTH", "", false, "127.0.0.1", "127.0.0.2:587", []string{"MAIL FROM:<>"}, "250 ", "530 5.7.0", false},
		{"VRFY", "define(`confPRIVACY_FLAGS', `needmailhelo')dnl", "VRFY", "", false, stranger, smtp, []string{"VRFY postmaster"}, "250 ", "252 ", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			run := func(line, want string) {
				o := harness.Options{
					MC: line + "\n", LocalHostNames: "example.test\n", Files: map[string]string{"access": ""},
					Config: "mode: shadow\naccess: {file: access}\ndomains: {local: [], relay: []}\n",
				}
				if c.include {
					o.MC, o.Include = "", "FEATURE(`access_db', , `skip')dnl\n"+line+"\n"
				}
				env := start(t, o)
				f, found := diagnose(t, c.about)
				if wrong := line == c.wrong; found != wrong {
					t.Errorf("with %s: found %v", line, found)
				} else if wrong && c.cure == "" {
					c.cure = f.Cure
				}
				if c.withoutMilterd {
					if err := env.Milterd.Stop(); err != nil {
						t.Fatal(err)
					}
				}
				if got := conversation(t, c.from, c.to, c.lines...); !strings.HasPrefix(got, want) {
					t.Errorf("with %s: %s, expected %s", line, got, want)
				}
				if err := env.Close(); err != nil {
					t.Fatal(err)
				}
			}
			run(c.wrong, c.bad)
			if !t.Failed() {
				run(c.cure, c.good)
			}
		})
	}
}

// TestTheImportOfTheStockFileServes: milterd runs with what -import makes of the
// sendmail.cf of a stock sendmail.
func TestTheImportOfTheStockFileServes(t *testing.T) {
	env := start(t, harness.Options{LocalHostNames: "example.test\n", Config: "mode: shadow\n"})
	cf, err := configs.ReadSendmailCF(stockCF)
	if err != nil {
		t.Fatal(err)
	}
	text := advice.Import(cf, stockCF)
	if err := env.WriteFile("milterd.yaml", text); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(env.Milterd.Stop(), env.Milterd.Start()); err != nil {
		t.Fatal(err)
	}
	for to, want := range map[string]string{"postmaster@example.test": "250 ", "x@victim.example": "550 "} {
		if got := conversation(t, "198.51.100.77", harness.ServerAddr4+":25", "MAIL FROM:<>", "RCPT TO:<"+to+">"); !strings.HasPrefix(got, want) {
			t.Errorf("%s reads %q, expected %s, with\n%s", to, got, want, text)
		}
	}
}
