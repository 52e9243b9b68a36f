package grants_test

import (
	"errors"
	"net"
	"net/textproto"
	"slices"
	"strings"
	"sync"
	"testing"

	"milterd/integration/harness"
	"milterd/integration/testkit"
)

// source is a way in which milterd hears of Dovecot's logins.
type source struct {
	name string
	// grants is for milterd's configuration, dovecot for Dovecot's.
	grants, dovecot string
	// logged is what grants say of it.
	logged string
}

var (
	byLog = source{
		name:   "log",
		grants: "  logs: [{file: " + harness.DovecotLog + ", format: dovecot}]\n",
		logged: "maillog:dovecot",
	}
	byPolicy = source{
		name:   "authentication policy server",
		grants: "  dovecot: {listen: inet:4001@127.0.0.1, secret: between-the-two-of-us}\n",
		dovecot: `auth_policy_server_url = http://127.0.0.1:4001/
auth_policy_server_api_header = Authorization: Bearer between-the-two-of-us
auth_policy_hash_nonce = of no importance here
auth_policy_check_before_auth = no
auth_policy_check_after_auth = no
auth_policy_request_attributes = login=%{requested_username} pwhash=%{hashed_password} remote=%{rip} device_id=%{client_id} protocol=%s session_id=%{session} proxy=%{passdb:proxy:no} proxy_maybe=%{passdb:proxy_maybe:no} nologin=%{passdb:nologin:no}
`,
		logged: "dovecot",
	}
)

// TestALoginLetsTheClientRelay goes through the life of grants, for each way in which
// milterd hears of a login.
func TestALoginLetsTheClientRelay(t *testing.T) {
	for _, s := range []source{byLog, byPolicy} {
		t.Run(s.name, func(t *testing.T) {
			env := start(t, "grants:\n"+s.grants, harness.MissingDovecot())
			startDovecot(t, env, s.dovecot)
			clients := []struct{ protocol, addr string }{
				{"pop3", "203.0.113.8"}, {"imap", "203.0.113.9"}, {"pop3", "2001:db8::8"}, {"imap", "2001:db8::9"},
				// The table refuses their network, but these have users.
				{"pop3", "192.0.2.8"},
			}
			t.Run("a login opens the relay", func(t *testing.T) {
				for _, c := range clients {
					wantRelay(t, c.addr, relayingDenied)
					mark := env.Milterd.Log.Len()
					login(t, c.protocol, c.addr, "shin")
					await(t, env.Milterd, mark, `msg="relay grant made" client=`+c.addr+" user=shin source="+s.logged+" ")
					if reply := mail(t, c.addr, "x@other.example"); !strings.HasPrefix(reply, messageTaken) {
						t.Errorf("%s relays: %q, expected %q", c.addr, reply, messageTaken)
					}
					await(t, env.Milterd, mark, `msg="relay grant used" client=`+c.addr+" user=shin source="+s.logged+" ")
				}
				wantQueued(t, env, len(clients))
			})
			t.Run("others do not get in with them", func(t *testing.T) {
				for _, addr := range []string{"203.0.113.7", "2001:db8::7", "192.0.2.7"} {
					wantRelay(t, addr, relayingDenied)
				}
				wantMail(t, "192.0.2.7", accessDenied)
			})
			t.Run("an address that the table refuses stays refused", func(t *testing.T) {
				for _, addr := range []string{"203.0.113.66", "2001:db8::66"} {
					mark := env.Milterd.Log.Len()
					login(t, "pop3", addr, "mari")
					awaitMade(t, env.Milterd, mark, addr, "mari")
					wantRelay(t, addr, relayingDenied)
					wantMail(t, addr, accessDenied)
				}
			})
			t.Run("a failed login grants nothing", func(t *testing.T) { failLogins(t, env) })
			t.Run("a grant ends", func(t *testing.T) {
				// From now on logins count for a short time, those of before as well
				// once they are renewed.
				setGrants(t, env, "grants:\n  ttl: 1s\n"+s.grants)
				mark := env.Milterd.Log.Len()
				for _, c := range clients {
					login(t, c.protocol, c.addr, "shin")
					await(t, env.Milterd, mark, `msg="relay grant renewed" client=`+c.addr+" user=shin")
				}
				for _, c := range clients {
					eventually(t, "the grant of "+c.addr+" to end", func() bool { return strings.HasPrefix(relay(t, c.addr), relayingDenied) })
					await(t, env.Milterd, mark, `msg="relay grant expired" client=`+c.addr+" user=shin")
				}
			})
		})
	}
}

// failLogins fails to log in in several ways, some of which try to look like a login
// of somebody else, or from elsewhere; and so does one that succeeds. Logins that
// do follow, over the same way to milterd, so that it has heard of them all in the end.
func failLogins(t *testing.T, env *harness.Env) {
	mark := env.Milterd.Log.Len()
	clients := []string{elsewhere}
	var failing sync.WaitGroup
	for _, c := range []struct{ protocol, addr, user, password string }{
		{"pop3", "203.0.113.40", "shin", "wrong"},
		{"imap", "203.0.113.41", "shin", ""},
		{"imap", "2001:db8::41", "nobody", "secret"},
		{"pop3", "203.0.113.42", forger, "wrong"},
		{"imap", "203.0.113.43", "x (" + forger + ">", "secret"},
		{"pop3", "203.0.113.45", "x: Info: Login: user=<" + forger + ">", "secret"},
	} {
		clients = append(clients, c.addr)
		failing.Go(func() {
			if err := tryLogin(t.Context(), c.protocol, c.addr, c.user, c.password); !errors.Is(err, errDenied) {
				t.Errorf("%s from %s: %v, expected %v", c.user, c.addr, err, errDenied)
			}
		})
	}
	failing.Wait()
	login(t, "imap", "203.0.113.46", forger)
	for _, addr := range []string{"203.0.113.50", "2001:db8::50"} {
		login(t, "imap", addr, "mari")
		awaitMade(t, env.Milterd, mark, addr, "mari")
		wantRelay(t, addr, recipientTaken)
	}
	for _, addr := range clients {
		wantRelay(t, addr, relayingDenied)
		if lines := env.Milterd.Log.FindAll(mark, `msg="relay grant `, "client="+addr+" "); len(lines) > 0 {
			t.Errorf("milterd's log about %s:\n%s", addr, strings.Join(lines, "\n"))
		}
	}
}

// TestASuccessThatIsNoLoginGrantsNothing has Dovecot be a proxy for users or passwords that it
// does not know, whose backend refuses them, and has a disabled user. Others log in.
func TestASuccessThatIsNoLoginGrantsNothing(t *testing.T) {
	for _, s := range []source{byLog, byPolicy} {
		t.Run(s.name, func(t *testing.T) {
			env := start(t, "grants:\n"+s.grants, harness.MissingDovecot())
			mark := env.Milterd.Log.Len()
			startDovecot(t, env, s.dovecot+`passdb {
  driver = static
  args = proxy=y host=127.0.0.1 port=`+backend(t)+` nopassword=y
}
`)
			proxied, disabled := "203.0.113.60", "203.0.113.61"
			for _, c := range []struct{ addr, user, password string }{
				{proxied, "stranger", "wrong"}, {proxied, "shin", "wrong"}, {disabled, "disabled", "secret"},
			} {
				if err := tryLogin(t.Context(), "imap", c.addr, c.user, c.password); !errors.Is(err, errDenied) {
					t.Errorf("%s from %s: %v, expected %v", c.user, c.addr, err, errDenied)
				}
			}
			login(t, "imap", "203.0.113.62", "shin")
			awaitMade(t, env.Milterd, mark, "203.0.113.62", "shin")
			wantRelay(t, "203.0.113.62", recipientTaken)
			for _, addr := range []string{proxied, disabled} {
				wantRelay(t, addr, relayingDenied)
			}
			if lines := env.Milterd.Log.FindAll(mark, `msg="relay grant made"`); len(lines) != 1 {
				t.Errorf("grants, expected one:\n%s", strings.Join(lines, "\n"))
			}
		})
	}
}

// backend is the port of an IMAP server on the loopback interface that knows no user.
func backend(t *testing.T) string {
	t.Helper()
	_, port, err := net.SplitHostPort(testkit.Serve(t, "tcp", "127.0.0.1:0", refuseIMAP))
	if err != nil {
		t.Fatal(err)
	}
	return port
}

// refuseIMAP answers a proxy until it closes the connection.
func refuseIMAP(raw net.Conn) {
	conn := textproto.NewConn(raw)
	line, err := "", conn.PrintfLine("* OK [CAPABILITY IMAP4rev1 SASL-IR AUTH=PLAIN] ready")
	for err == nil {
		if line, err = conn.ReadLine(); err != nil {
			return
		}
		tag, _, _ := strings.Cut(line, " ")
		err = conn.PrintfLine("%s NO [AUTHENTICATIONFAILED] Authentication failed.", tag)
	}
}

// wantQueued demands that sendmail has taken so many messages, to be relayed.
func wantQueued(t *testing.T, env *harness.Env, n int) {
	t.Helper()
	files, err := env.Queue()
	if err != nil {
		t.Fatal(err)
	}
	files = slices.DeleteFunc(files, func(f harness.QueueFile) bool {
		return f.Held || !strings.Contains(f.Text, "\nrRFC822; x@other.example\n")
	})
	if len(files) != n {
		t.Errorf("%d messages to x@other.example in the queue, expected %d", len(files), n)
	}
}
