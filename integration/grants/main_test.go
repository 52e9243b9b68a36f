package grants_test

import (
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"milterd/integration/harness"
	"milterd/integration/harness/harnesstest"
)

const (
	// patience bounds every wait that is expected to be short.
	patience = 20 * time.Second

	control = "/run/milterd/control.sock"

	// The beginnings of replies.
	recipientTaken = "250 2.1.5"
	messageTaken   = "250 2.0.0"
	relayingDenied = "550 5.7.1 <x@other.example>... Relaying denied"
	accessDenied   = "550 5.7.1"
	putOff         = "451 4."
)

// forger has a name that makes the log say, at the first glance, that shin has logged in
// from elsewhere.
const (
	elsewhere = "203.0.113.44"
	forger    = "shin>, method=PLAIN, rip=" + elsewhere + ", lip=203.0.113.25, mpid=7, session=<AAAAAAAA"
)

// users are those of Dovecot, name and password.
// What follows the password is an extra field of Dovecot's.
var users = map[string]string{"shin": "secret", "mari": "also secret", forger: "secret", "disabled": "secret::::::nologin=y"}

// world is where the servers are started.
var world *harness.World

func TestMain(m *testing.M) {
	os.Exit(harness.Main(func(w *harness.World) int {
		world = w
		return harnesstest.Run(m)
	}))
}

// start runs sendmail and a milterd with a section grants, where this machine has
// what the test needs.
func start(t *testing.T, grants string, missing ...error) *harness.Env {
	t.Helper()
	harnesstest.Need(t, world, missing...)
	options, err := harness.ReadScene("scene")
	if err != nil {
		t.Fatal(err)
	}
	options.Config += grants
	return harnesstest.Start(t, world, options)
}

// setGrants replaces the section grants of the running milterd.
func setGrants(t *testing.T, env *harness.Env, grants string) {
	t.Helper()
	options, err := harness.ReadScene("scene")
	if err != nil {
		t.Fatal(err)
	}
	mark := env.Milterd.Log.Len()
	if err := env.WriteFile("milterd.yaml", options.Config+grants); err != nil {
		t.Fatal(err)
	}
	if err := env.Milterd.Reload(); err != nil {
		t.Fatal(err)
	}
	await(t, env.Milterd, mark, `msg="policy in force"`, "reason=SIGHUP")
}

// startDovecot starts Dovecot with more lines for its configuration.
func startDovecot(t *testing.T, env *harness.Env, lines string) *harness.Dovecot {
	t.Helper()
	d, err := env.StartDovecot(users, lines)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			text, err := os.ReadFile(harness.DovecotLog)
			t.Logf("Dovecot's log: %v\n%s", err, text)
		}
	})
	return d
}

// await waits for a line of milterd's log after a mark.
func await(t *testing.T, m *harness.Milterd, mark int, texts ...string) {
	t.Helper()
	if _, err := m.Log.Wait(patience, mark, texts...); err != nil {
		t.Fatalf("%v; there is:\n%s", err, strings.Join(m.Log.Since(mark), "\n"))
	}
}

// awaitMade waits until milterd has made a grant.
func awaitMade(t *testing.T, m *harness.Milterd, mark int, client, user string) {
	t.Helper()
	await(t, m, mark, `msg="relay grant made" client=`+client+" user="+user)
}

func eventually(t *testing.T, what string, ready func() bool) {
	t.Helper()
	if err := harness.Poll(patience, what, func() (bool, error) { return ready(), nil }); err != nil {
		t.Fatal(err)
	}
}

// mail tries to send a message to one recipient from an address and returns the reply
// that refused it, or else the last one.
func mail(t *testing.T, client, to string) string {
	t.Helper()
	return talk(t, client, "EHLO laptop.lan", "MAIL FROM:<a@good.example>", "RCPT TO:<"+to+">",
		"DATA", "Subject: hello\r\n\r\nHello\r\n.")
}

// relay tries to relay from an address, and returns the reply that refused it, or else
// the one to RCPT.
func relay(t *testing.T, client string) string {
	t.Helper()
	return talk(t, client, "EHLO laptop.lan", "MAIL FROM:<a@good.example>", "RCPT TO:<x@other.example>")
}

// talk connects and gives commands until one is refused. It returns the last reply.
func talk(t *testing.T, client string, commands ...string) string {
	t.Helper()
	conn, err := harness.Dial(client, serverAddr(client, "25"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	reply, err := conn.ReadReply()
	for _, command := range commands {
		if err != nil || reply.Code >= 400 {
			break
		}
		reply, err = conn.Command(command)
	}
	if err != nil {
		t.Fatalf("%s: %v", client, err)
	}
	return reply.First()
}

// wantRelay demands how an attempt to relay ends.
func wantRelay(t *testing.T, client, want string) {
	t.Helper()
	if got := relay(t, client); !strings.HasPrefix(got, want) {
		t.Errorf("%s relays: %q, expected %q", client, got, want)
	}
}

// wantMail demands how an attempt to send mail to a user of the host ends.
func wantMail(t *testing.T, client, want string) {
	t.Helper()
	if got := mail(t, client, "shin@example.test"); !strings.HasPrefix(got, want) {
		t.Errorf("%s sends mail to this host: %q, expected %q", client, got, want)
	}
}

// serverAddr is the server's address in the family of a client's.
func serverAddr(client, port string) string {
	if netip.MustParseAddr(client).Is4() {
		return net.JoinHostPort(harness.ServerAddr4, port)
	}
	return net.JoinHostPort(harness.ServerAddr6, port)
}
