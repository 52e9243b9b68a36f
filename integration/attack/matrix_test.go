package attack

import (
	"math/rand/v2"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"milterd/integration/harness"
	"milterd/integration/testkit"
)

// The mail hosts inside the world.
const (
	partnerHost = "198.51.100.81"
	senderHost  = "203.0.113.5"
)

// relays is the access table, milterd's and sendmail's own. Debian's has the first line as well.
const relays = "Connect:127\tRELAY\nConnect:198.51.100.33\tRELAY\nTo:" + partner + "\tRELAY\n"

// limits lift those of the FEATUREs that ask the table.
const limits = "GreetPause:192.0.2\t0\nGreetPause:198.51.100\t0\nGreetPause:203.0.113\t0\nGreetPause:IPv6:2001:db8\t0\nClientRate:\t0\nClientConn:\t0\n"

const config = `
access: {file: access}
domains: {hostname: mx.example.test, local: [example.test], relay: [partner.example]}
grants: {control: "local:/run/milterd/control.sock"}
checks: {rdns: {mode: "off"}, relay: {trust_auth_mech: [PLAIN]}}
`

// bothDoors is the set-up of the manual.
const bothDoors = "include(`/etc/mail/m4/milterd.m4')dnl\n"

// Parts of it are left out so.
const (
	noAccess = "define(`MILTERD_NO_ACCESS', `')dnl\n"
	noFilter = "define(`MILTERD_NO_FILTER', `')dnl\n"
	// limitsAlone is a table for FEATUREs that have nothing to do with relaying.
	limitsAlone = "FEATURE(`access_db')dnl\n"
)

// doors are the set-ups that are attacked.
var doors = []struct {
	name                       string
	include, mc, access, extra string
	// shadow: sendmail alone decides, by milterd's access table.
	shadow bool
	// noGrants: sendmail does not ask for any.
	noGrants bool
}{
	{name: "both doors", include: bothDoors},
	{name: "both doors without the table", include: noAccess + bothDoors + limitsAlone},
	{name: "one question", include: noFilter + bothDoors},
	{name: "one question without the table", include: noFilter + noAccess + bothDoors + limitsAlone},
	{name: "filter only", access: relays, noGrants: true},
	// Nothing but the filter is between a stranger and the world.
	{name: "filter of an open sendmail", mc: "FEATURE(`promiscuous_relay')dnl\n", access: relays},
	{name: "shadow", include: bothDoors, extra: "mode: shadow\n", shadow: true},
}

var records = []string{
	"good.example. MX 10 mx.good.example.", "mx.good.example. A " + senderHost,
	"example.test. MX 10 mx.example.test.",
	"partner.example. MX 10 mx.partner.example.", "mx.partner.example. A " + partnerHost,
	"victim.example. A 198.51.100.80", "victim.example. AAAA 2001:db8::80",
	"8.113.0.203.in-addr.arpa. PTR dialup.good.example.", "dialup.good.example. A 203.0.113.8",
	// A name below a domain that we relay for, which does not lead back.
	"9.113.0.203.in-addr.arpa. PTR office.partner.example.", "office.partner.example. A " + partnerHost,
	"60.113.0.203.in-addr.arpa. PTR granted.good.example.", "granted.good.example. A " + granted,
	"33.100.51.198.in-addr.arpa. PTR relay.good.example.", "relay.good.example. A 198.51.100.33",
}

func TestNoTrickRelays(t *testing.T) {
	for _, d := range doors {
		t.Run(d.name, func(t *testing.T) {
			env := start(t, harness.Options{
				Include: d.include, Access: d.access, DNS: records, Config: config + d.extra, Files: map[string]string{"access": relays + limits},
				LocalHostNames: own + "\n", RelayDomains: partner + "\n", Mailboxes: []string{"shin"}, Users: map[string]string{"shin": "secret"},
				MC: d.mc,
			})
			mailHosts := startSinks(t, "198.51.100.80", "2001:db8::80", partnerHost, senderHost)
			if out, err := exec.Command(world.Binary, "-config", harness.ConfigFile, "-grant", granted).CombinedOutput(); err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			seed := testkit.Number(t, "MILTERD_TEST_SEED", uint64(time.Now().UnixNano()))
			t.Logf("MILTERD_TEST_SEED=%d", seed)
			g := grammar{rand.New(rand.NewPCG(seed, 0))}
			var random []string
			for range testkit.Number(t, "MILTERD_TEST_ATTACKS", 1000) {
				random = append(random, g.argument())
			}
			a := attack{door: d.name, shadow: d.shadow, grants: !d.noGrants, random: random, tried: make(map[string]attempt), ofThisHost: make(map[string]bool)}
			a.run(t)
			a.deliver(t, env)
			a.judge(t, env, mailHosts.taken())
			if !env.Milterd.Running() {
				t.Error("milterd has ended")
			}
		})
	}
}

// attack is one run of all callers against a door.
type attack struct {
	door   string
	shadow bool
	// grants: sendmail asks for them.
	grants bool
	// random are recipients that some callers try, besides the tricks.
	random []string

	mu    sync.Mutex
	tried map[string]attempt // by mark
	// ofThisHost is what sendmail has said of recipients.
	ofThisHost map[string]bool
}

// run lets all callers try. A caller that may relay shows that relaying works.
func (a *attack) run(t *testing.T) {
	t.Helper()
	var calling sync.WaitGroup
	begun := time.Now()
	for _, c := range callers {
		if c.hasGrant && !a.grants {
			continue // milterd lets it relay, sendmail does not
		}
		rcpts := tricks
		if c.tries {
			rcpts = slices.Concat(tricks, a.random)
		}
		relays := c.mayRelay || a.shadow && c.inShadow || c.hasGrant
		if relays {
			rcpts = []string{"<x@" + victim + ">", "<x@" + partner + ">", "<shin@" + own + ">"}
		}
		calling.Go(func() {
			tried, err := c.try(a.door, rcpts)
			if err != nil {
				t.Error(err)
			}
			accepted := 0
			for _, one := range tried {
				if one.accepted() {
					accepted++
				} else if relays {
					t.Errorf("%s: %s gets %q", c.name, one.rcpt, one.reply)
				}
				if one.accepted() && !relays {
					a.mu.Lock()
					a.tried[one.mark] = one
					a.mu.Unlock()
				}
			}
			t.Logf("%s: %d recipients, %d accepted", c.name, len(tried), accepted)
		})
	}
	calling.Wait()
	t.Logf("%d tricks, %d random recipients, %d callers: %v", len(tricks), len(a.random), len(callers), time.Since(begun).Round(time.Second))
}

// deliver lets sendmail deliver until nothing waits for another host.
func (a *attack) deliver(t *testing.T, env *harness.Env) {
	t.Helper()
	deadline := time.Now().Add(2 * testkit.Patience)
	for time.Now().Before(deadline) && len(a.waiting(t, env)) > 0 {
		// It fails for mail to users of this host, whose mailbox there is not.
		out, _ := exec.Command("/usr/sbin/sendmail", "-v", "-q").CombinedOutput()
		for _, to := range toThisHost.FindAllStringSubmatch(string(out), -1) {
			a.ofThisHost[to[1]] = true
		}
		// A queue run may go on behind the command.
		_ = harness.Poll(2*time.Second, "the queue run", func() (bool, error) { return len(a.waiting(t, env)) == 0, nil })
	}
}

// queued finds the recipients in a queue file that have a domain, marked the mark.
var (
	queued = regexp.MustCompile(`(?m)^R[^:]*:(.*@.*)$`)
	// toThisHost finds the recipients that a queue run delivers to users of this host; that of
	// an address with errors may be the postmaster, "via local".
	toThisHost = regexp.MustCompile(`(?m)^(.*)\.\.\. Connecting to (?:\S+ via )?local\.`)
	marked     = regexp.MustCompile(`(?m)^H\?\?X-Attack: (.*)$`)
)

// waiting returns the recipients at other hosts that messages of the attack wait for,
// by mark.
func (a *attack) waiting(t *testing.T, env *harness.Env) map[string]string {
	t.Helper()
	files, err := env.Queue()
	if err != nil {
		t.Fatal(err)
	}
	all := make(map[string]string)
	for _, f := range files {
		mark := marked.FindStringSubmatch(f.Text)
		if mark == nil {
			continue // a bounce
		}
		for _, to := range queued.FindAllStringSubmatch(f.Text, -1) {
			if !a.local(to[1]) {
				all[mark[1]] = to[1]
			}
		}
	}
	return all
}

// local asks sendmail whether a recipient is a user of this host. The queue run knows
// best, as -bv splits recipients at commas; it tells 8-bit characters without the eighth.
func (a *attack) local(to string) bool {
	to = string(sevenBit([]byte(to)))
	is, known := a.ofThisHost[to]
	if !known {
		// It fails for an address that it cannot deliver to.
		out, _ := exec.Command("/usr/sbin/sendmail", "-bv", "--", to).Output()
		is = strings.Contains(string(out), "mailer local")
		a.ofThisHost[to] = is
	}
	return is
}

func sevenBit(text []byte) []byte {
	for i := range text {
		text[i] &= 0x7f
	}
	return text
}

// quotedColon finds recipients that sendmail itself, which alone decides in shadow mode,
// takes for the name below a partner's, and sends to each host in a list of them. The name
// stands behind any operator: a host of ours that is behind it is taken off.
var quotedColon = regexp.MustCompile(`[@%].*"[^"]*:[^"]*"|"[^"]*:[^"]*".*!`)

// carries finds the victim behind an operator in a local part that a partner may read.
var carries = regexp.MustCompile(`(?i)[@%!:].*victim\.example.*@|victim\.example!.*@`)

// judge looks at where everything has gone.
func (a *attack) judge(t *testing.T, env *harness.Env, arrived []delivery) {
	t.Helper()
	strangers, atVictim := 0, 0
	for _, d := range arrived {
		one, ofStranger := a.tried[d.mark]
		if !ofStranger {
			if d.mark != "" && slices.Contains(aliases, d.host) {
				atVictim++
			}
			continue
		}
		strangers++
		if d.host != partnerHost && a.shadow && quotedColon.MatchString(one.rcpt) {
			t.Logf("%s: %q is relayed to %s: sendmail takes the domain for a list of hosts", d.mark, one.rcpt, d.host)
		} else if d.host != partnerHost {
			t.Errorf("%s: %q was accepted (%s) and is relayed to %s as %s; refused before it: %q", d.mark, one.rcpt, one.reply, d.host, d.rcpt, one.refused)
		} else if to := strings.TrimPrefix(strings.ToUpper(d.rcpt), "TO:"); !a.shadow && carries.MatchString(to) {
			t.Errorf("%s: %q was accepted and is relayed to a partner as %s, who may send it on", d.mark, one.rcpt, d.rcpt)
		}
	}
	for mark, to := range a.waiting(t, env) {
		if one, ofStranger := a.tried[mark]; ofStranger {
			t.Errorf("%s: %q was accepted (%s) and waits for %q; refused before it: %q", mark, one.rcpt, one.reply, to, one.refused)
		}
	}
	t.Logf("%d recipients of strangers accepted, %d of them delivered to other hosts; %d deliveries judged", len(a.tried), strangers, len(arrived))
	if atVictim == 0 || strangers == 0 {
		t.Errorf("%d messages of those who may relay are at the victim's host, %d of strangers at the partner's: nothing was tried", atVictim, strangers)
	}
}
