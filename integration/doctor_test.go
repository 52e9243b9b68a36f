package integration_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"milterd/configs"
	"milterd/configs/advice"
	"milterd/integration/harness"
)

// stockCF is where the server's sendmail.cf is.
const stockCF = "/etc/mail/sendmail.cf"

// finding is what the doctor prints with -json.
type finding struct {
	Severity, File, Text, Cure string
	Line                       int
}

// examine runs the doctor on the running sendmail and milterd.
func examine(t *testing.T, options ...string) (findings []finding, status int) {
	t.Helper()
	var stderr strings.Builder
	doctor := exec.Command(world.Binary, append([]string{"-doctor", "-json", "-config", harness.ConfigFile}, options...)...)
	doctor.Stderr = &stderr
	out, err := doctor.Output()
	if exit := new(exec.ExitError); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	strict := json.NewDecoder(bytes.NewReader(out))
	strict.DisallowUnknownFields()
	if err := strict.Decode(&findings); err != nil {
		t.Fatalf("-doctor -json: %v\n%s%s", err, out, stderr.String())
	}
	return findings, doctor.ProcessState.ExitCode()
}

// about is the first finding that holds a text, or whose cure does.
func about(findings []finding, text string) (f finding, found bool) {
	for _, f := range findings {
		if strings.Contains(f.Text+"\n"+f.Cure, text) {
			return f, true
		}
	}
	return f, false
}

// conversation sends lines as a stranger and returns the last reply. One line may be
// "early LINE", which does not wait for the greeting, and is answered by it; "auth
// MECHANISM"; or "mail TO", a whole message to one recipient. "greeting" alone says
// nothing.
func conversation(t *testing.T, from, to string, lines ...string) string {
	t.Helper()
	conn, err := harness.Dial(from, to)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if early, ok := strings.CutPrefix(lines[0], "early "); ok {
		if err := conn.Send(early); err != nil {
			t.Fatal(err)
		}
		lines = nil
	} else if lines[0] != "greeting" {
		lines = append([]string{"EHLO client.example"}, lines...)
	}
	reply, err := conn.ReadReply()
	for _, line := range lines {
		if err != nil || reply.Code >= 400 {
			break
		}
		verb, rest, _ := strings.Cut(line, " ")
		switch verb {
		case "greeting":
		case "auth":
			reply, err = conn.Auth(rest, "shin", "secret")
		case "mail":
			for _, line := range []string{"MAIL FROM:<>", "RCPT TO:<" + rest + ">", "DATA", "Subject: x\r\n\r\nx\r\n."} {
				if err == nil {
					reply, err = conn.Command(line)
				}
			}
		default:
			reply, err = conn.Command(line)
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	return reply.String()
}

const stranger, port25 = "198.51.100.77", harness.ServerAddr4 + ":25"

// shows checks what a conversation ends with.
func shows(t *testing.T, when, got, want string) {
	t.Helper()
	if !regexp.MustCompile(want).MatchString(got) {
		t.Errorf("%s: %s, expected %s", when, got, want)
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
		if got := conversation(t, stranger, port25, "MAIL FROM:<>", "RCPT TO:<"+to+">"); !strings.HasPrefix(got, want) {
			t.Errorf("%s reads %q, expected %s, with\n%s", to, got, want, text)
		}
	}
}
