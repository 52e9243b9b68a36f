package integration_test

import (
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"testing"

	"milterd/integration/harness"
	"milterd/integration/testkit"
)

// TestEveryMechanismOfTheOldGuides logs in on port 587 and relays, if it is one of
// TRUST_AUTH_MECH, which milterd reads from sendmail.cf. One that is not logs in all the
// same, and may not relay.
func TestEveryMechanismOfTheOldGuides(t *testing.T) {
	needWorld(t)
	testkit.Need(t, "swaks")
	mechanisms := []string{"PLAIN", "LOGIN", "CRAM-MD5", "DIGEST-MD5"}
	for trusted, relays := range map[string]bool{strings.Join(mechanisms, " "): true, "GSSAPI": false} {
		t.Run("TRUST_AUTH_MECH "+trusted, func(t *testing.T) {
			env := start(t, harness.Options{
				TrustAuthMech: trusted, Users: map[string]string{"shin": "secret"}, LocalHostNames: "example.test\n",
				Config: "sendmail: {cf: " + stockCF + "}\nchecks: {rdns: {mode: off}}\n", Access: "",
				DNS: []string{"good.example. A 203.0.113.5", "victim.example. A 198.51.100.80"},
			})
			for _, mechanism := range mechanisms {
				to := strings.ToLower(mechanism) + "@victim.example"
				said, err := sendAs(mechanism, to)
				if err != nil {
					t.Errorf("%s: %v\n%s", mechanism, err, said)
				}
				if !strings.Contains(said, "235 2.0.0 OK Authenticated") {
					t.Errorf("%s does not log in:\n%s", mechanism, said)
				}
				if denied := strings.Contains(said, "550 5.7.1 <"+to+">... Relaying denied"); denied == relays {
					t.Errorf("%s, relaying denied %v:\n%s", mechanism, denied, said)
				}
				queue, err := env.Queue()
				if err != nil {
					t.Fatal(err)
				}
				queued := false
				for _, message := range queue {
					queued = queued || strings.Contains(message.Text, "<"+to+">")
				}
				if queued != relays {
					t.Errorf("%s: in the queue %v, expected %v:\n%s", mechanism, queued, relays, said)
				}
			}
		})
	}
}

// sendAs sends a message to a stranger on port 587 as a user who logs in, and returns what
// was said. DIGEST-MD5 is spoken by swaks, the others by go-sasl.
func sendAs(mechanism, to string) (said string, err error) {
	const client, server = "198.51.100.77", harness.ServerAddr4 + ":587"
	if mechanism == "DIGEST-MD5" {
		out, err := exec.Command("swaks", "--server", server, "--local-interface", client, "--ehlo", "client.example", "--auth", mechanism,
			"--auth-user", "shin", "--auth-password", "secret", "--from", "a@good.example", "--to", to, "--hide-informational").CombinedOutput()
		const noRecipientTaken = 24
		if exit := new(exec.ExitError); errors.As(err, &exit) && exit.ExitCode() == noRecipientTaken {
			err = nil
		}
		return string(out), err
	}
	conn, err := harness.Dial(client, server)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	reply, err := conn.ReadReply()
	for _, line := range []string{"EHLO client.example", "AUTH", "MAIL FROM:<a@good.example>", "RCPT TO:<" + to + ">", "DATA", "Subject: x\r\n\r\nx\r\n."} {
		said += reply.String() + "\n"
		switch {
		case err != nil:
			return said, fmt.Errorf("before %q: %w", line, err)
		case reply.Code >= 400:
			return said, nil
		case line == "AUTH":
			reply, err = conn.Auth(mechanism, "shin", "secret")
		default:
			reply, err = conn.Command(line)
		}
	}
	return said + reply.String() + "\n", err
}
