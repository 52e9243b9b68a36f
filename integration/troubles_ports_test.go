package integration_test

import (
	"fmt"
	"net"
	"testing"
	"time"

	"milterd/integration/harness"
	"milterd/integration/testkit"
)

// demanding has port 25 demand AUTH, under a key of ports.
func demanding(key string) string { return following25 + "ports: {" + key + ": {auth: require}}\n" }

const (
	following25 = "sendmail: {cf: " + stockCF + "}\n" + enforced
	openMap     = "listen: {map: ['local:/run/milterd/map.sock', 'inet:8891@0.0.0.0']}\n"
	closedMap   = "listen: {map: local:/run/milterd/map.sock}\n"
	// stockPorts are those that m4 makes by itself.
	stockPorts = "include(`/usr/share/sendmail/cf/m4/cf.m4')dnl\nOSTYPE(`debian')dnl\nDOMAIN(`debian-mta')dnl\ndefine(`confDOMAIN_NAME', `" + harness.Hostname + "')dnl\n" +
		"define(`confDONT_PROBE_INTERFACES', `true')dnl\nFEATURE(`use_cw_file')dnl\nFEATURE(`access_db', , `skip')dnl\nMAILER(`local')dnl\nMAILER(`smtp')dnl\n"
	// relaying hides the client of all that is relayed.
	relaying = enforced + "received: {whose: [relayed]"
)

// portTroubles are about rules that milterd has for what is not there, and doors that
// stand open.
var portTroubles = []trouble{
	{name: "the stock port 587", about: "port 587 does not demand AUTH", options: harness.Options{Whole: stockPorts, Config: settled(shadow)},
		cures: func(t *testing.T, env *harness.Env, f finding) { addLine(t, env, f.Cure) },
		observe: func(t *testing.T, _ *harness.Env) string {
			return conversation(t, stranger, submission, "MAIL FROM:<>")
		},
		bad: "^250 ", good: "^530 5.7.0"},
	{name: "a port that takes no more connections", about: "so it could not be asked", live: true, options: harness.Options{Access: "ClientRate:" + harness.ServerAddr4 + "\t1\n", Config: settled(shadow)},
		cured: harness.Options{Access: "ClientRate:" + harness.ServerAddr4 + "\t0\n", Config: settled(shadow)},
		observe: func(t *testing.T, _ *harness.Env) string {
			conversation(t, harness.ServerAddr4, port25, "greeting")
			return conversation(t, harness.ServerAddr4, port25, "greeting")
		}, bad: "^421 4.3.2 Connection rate limit exceeded", good: "^220 "},
	{name: "rules for the name of a port", about: "ports.smtp: taken for the name of a daemon", options: harness.Options{Config: demanding("smtp")},
		cures: reconfigures(demanding("25")), lines: []string{"MAIL FROM:<>"}, bad: "^250 ", good: "^530 5.7.0"},
	{name: "rules for a daemon that is not there", about: "has Name=MTB, so these rules never apply", options: harness.Options{Config: demanding("MTB")},
		cures: reconfigures(demanding("MTA")), lines: []string{"MAIL FROM:<>"}, bad: "^250 ", good: "^530 5.7.0"},
	{name: "a map door that is open to the world", about: "learns who may relay; keep it local", options: harness.Options{Config: settled(enforced + openMap), Files: map[string]string{"access": mayRelay}},
		cures: reconfigures(settled(enforced + closedMap)),
		observe: func(*testing.T, *harness.Env) string {
			return askedOver(harness.ServerAddr4+":8891", "28:access connect:"+clientAddr+",")
		},
		bad: "OK RELAY", good: "refused"},
	{name: "a status page that is open to the world", about: "they can read /metrics and /healthz", options: harness.Options{Config: settled(shadow + "listen: {http: 'inet:8890@0.0.0.0'}\n")},
		cures: reconfigures(settled(shadow + "listen: {http: 'inet:8890@127.0.0.1'}\n")),
		observe: func(*testing.T, *harness.Env) string {
			return askedOver(harness.ServerAddr4+":8890", "GET /healthz HTTP/1.0\r\n\r\n")
		}, bad: "HTTP/1.0 200", good: "refused"},
	{name: "a map door that sendmail does not ask", about: "so sendmail's own rules do not ask milterd", options: harness.Options{Config: settled(enforced + closedMap), Files: map[string]string{"access": mayRelay}},
		cured: harness.Options{Config: settled(enforced + closedMap), Files: map[string]string{"access": mayRelay}, Include: include + "\n"},
		lines: foreign, bad: "^550 5.7.1", good: "^250 "},
	{name: "a Received field with the client that is to be hidden", about: "shows the client of all mail, also of the mail that received is about", options: harness.Options{Config: settled(relaying + "}\n"), Access: mayRelay, Files: map[string]string{"access": mayRelay}},
		cured:   harness.Options{Config: settled(relaying + "}\n"), Include: include + "\n", Files: map[string]string{"access": mayRelay}},
		observe: ownReceived, bad: "from client.example", good: "^Received: from SMTP\\s"},
	{name: "a Received field whose rules are not called", about: "shows the client of all mail: no ruleset calls milterd_rcpt", options: harness.Options{Config: settled(relaying + "}\n"), Files: map[string]string{"access": mayRelay}, Include: "define(`MILTERD_NO_RULESETS')dnl\n" + include + "\n"},
		cured:   harness.Options{Config: settled(relaying + "}\n"), Include: include + "\n", Files: map[string]string{"access": mayRelay}},
		observe: ownReceived, bad: "from client.example", good: "^Received: from SMTP\\s"},
	{name: "a Received field that says another thing in place of the client", about: "in place of the client (MILTERD_FROM)", options: harness.Options{Config: settled(relaying + ", from: from home}\n"), Files: map[string]string{"access": mayRelay}, Include: include + "\n"},
		cured:   harness.Options{Config: settled(relaying + ", from: from home}\n"), Files: map[string]string{"access": mayRelay}, Include: "define(`MILTERD_FROM', `from home')dnl\n" + include + "\n"},
		observe: ownReceived, bad: "^Received: from SMTP\\s", good: "^Received: from home\\s"},
	{name: "a Received field that says another thing in place of the version", about: "in place of its version (MILTERD_BY)", options: harness.Options{Config: settled(relaying + ", by: (mail)}\n"), Files: map[string]string{"access": mayRelay}, Include: include + "\n"},
		cured:   harness.Options{Config: settled(relaying + ", by: (mail)}\n"), Files: map[string]string{"access": mayRelay}, Include: "define(`MILTERD_BY', `(mail)')dnl\n" + include + "\n"},
		observe: ownReceived, bad: `by mx.example.test \(SMTP server\)`, good: `by mx.example.test \(mail\)`},
}

// reconfigures is a cure that is a configuration.
func reconfigures(config string) func(*testing.T, *harness.Env, finding) {
	return func(t *testing.T, env *harness.Env, _ finding) { t.Helper(); reconfigure(t, env, config) }
}

// ownReceived is the header of a message that the stranger has relayed.
func ownReceived(t *testing.T, env *harness.Env) string {
	t.Helper()
	conversation(t, stranger, port25, "mail x@victim.example")
	queue, err := env.Queue()
	if err != nil || len(queue) != 1 {
		t.Fatalf("queue %v, %v", queue, err)
	}
	return queue[0].Header()
}

// askedOver is the beginning of what a server of the machine answers over the network.
func askedOver(address, request string) string {
	conn, err := net.Dial("tcp", address)
	if err != nil {
		return err.Error()
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(testkit.Patience))
	if _, err := fmt.Fprint(conn, request); err != nil {
		return err.Error()
	}
	answer := make([]byte, 100)
	n, _ := conn.Read(answer)
	return string(answer[:n])
}
