package integration_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"

	"milterd/configs"
	"milterd/configs/advice"
	"milterd/integration/harness"
	"milterd/integration/testkit"
)

// stockCF is where the server's sendmail.cf is.
const stockCF = "/etc/mail/sendmail.cf"

// finding is what the doctor prints with -json.
type finding struct {
	Severity, File, Text, Cure string
	Line                       int
}

// severities of findings, at the exit status that the worst of them has.
var severities = []string{"note", "warning", "error"}

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
	worst := 0
	for i, f := range findings {
		severity := slices.Index(severities, f.Severity)
		if severity < 0 || f.Text == "" || f.File == "" || i > 0 && severity > slices.Index(severities, findings[i-1].Severity) {
			t.Errorf("-doctor -json: finding %d of\n%s", i, out)
		}
		worst = max(worst, severity)
	}
	if got := doctor.ProcessState.ExitCode(); got != worst {
		t.Errorf("-doctor: exit status %d, the worst finding is %s", got, severities[worst])
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

var daemonLine = regexp.MustCompile("(?m)^DAEMON_OPTIONS.*\n")

// recommended is the stock sendmail.mc with the lines of -mc -both, as their comments say.
func recommended(t *testing.T, config string) string {
	t.Helper()
	needWorld(t)
	file := t.TempDir() + "/milterd.yaml"
	writeFile(t, file, config)
	lines, err := exec.Command(world.Binary, "-mc", "-both", "-config", file, "-cf", makeCF(t, accessLine, "").path).Output()
	if err != nil {
		t.Fatal(err)
	}
	stock, err := os.ReadFile(stockMC)
	if err != nil {
		t.Fatal(err)
	}
	return strings.Replace(daemonLine.ReplaceAllString(string(stock), ""), accessLine, string(lines), 1)
}

// TestTheDoctorIsContentWithWhatMilterdRecommends: of a running sendmail with the lines of
// -mc it has nothing to say but that HELP tells the version, which no line of them changes.
// AUTH is offered there as soon as TLS has begun, and not before.
func TestTheDoctorIsContentWithWhatMilterdRecommends(t *testing.T) {
	const (
		ports  = "sendmail: {cf: " + stockCF + "}\nports: {25: {auth: refuse}}\n"
		config = ports + "checks: {relay: {trust_auth_mech: [PLAIN, LOGIN]}}\n"
	)
	env := start(t, harness.Options{Whole: recommended(t, config), Config: config, LocalHostNames: "example.test\n", Users: map[string]string{"shin": "secret"}})
	healthy := func(status int, want string) {
		t.Helper()
		findings, got := examine(t)
		var texts []string
		for _, f := range findings {
			if !strings.Contains(f.Text, "HELP: tells the version") {
				texts = append(texts, f.Severity+": "+f.Text)
			}
		}
		if all := strings.Join(texts, "\n"); got != status || want == "" && all != "" || !strings.Contains(all, want) {
			t.Errorf("exit status %d, expected %d, findings\n%s\nexpected %q", got, status, all, want)
		}
	}
	healthy(0, "")
	conn, err := harness.Dial(stranger, harness.ServerAddr4+":587")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_, err = conn.ReadReply()
	clear, err2 := conn.Command("EHLO client.example")
	_, err3 := conn.StartTLS()
	secure, err4 := conn.Command("EHLO client.example")
	if err := errors.Join(err, err2, err3, err4); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(clear.String(), "AUTH") || !strings.Contains(secure.String(), "PLAIN") {
		t.Errorf("before TLS %s\nwithin it %s", clear, secure)
	}
	reconfigure(t, env, ports+"checks: {relay: {trust_auth_mech: [PLAIN]}, dnsbl: {lists: {bl.example: {}}}}\nlisten: {http: 'inet:8890@127.0.0.1'}\n")
	testkit.Eventually(t, "the list is dead", func() bool {
		_, status := examine(t, "-offline")
		return status > 0
	})
	healthy(1, "bl.example does not work")
	if err := env.Milterd.Stop(); err != nil {
		t.Fatal(err)
	}
	healthy(2, "filter door local:/run/milterd/milter.sock")
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
