package integration_test

import (
	"context"
	"maps"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"milterd/integration/harness"
	"milterd/integration/probe"
)

// probeFrom probes a port of the server as a stranger at 198.51.100.77 would.
func probeFrom(t *testing.T, port string, o probe.Options) *probe.Report {
	t.Helper()
	dialer := net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(netip.MustParseAddrPort("198.51.100.77:0"))}
	o.Targets = []string{net.JoinHostPort(harness.ServerAddr4, port)}
	o.Owned, o.Delay, o.Dial = true, time.Millisecond, dialer.DialContext
	reports, err := probe.Run(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	return reports[0]
}

// TestTheProbeFindsOpenRelays makes a sendmail relay in each way that old guides
// recommend, and then lets milterd stand in front of it.
func TestTheProbeFindsOpenRelays(t *testing.T) {
	const off = "mode: shadow\n"
	for _, c := range []struct {
		name, mc, access string
		// form is one that the probe must have found, empty for none at all.
		form string
		// domain is one that the server is known for, empty for its own name.
		domain string
	}{
		{"stock", "", "", "", ""},
		{"promiscuous_relay", "FEATURE(`promiscuous_relay')dnl\n", "", "plain", ""},
		{"relay_local_from", "FEATURE(`relay_local_from')dnl\n", "", "our domain as sender", ""},
		{"a network that is too wide", "", "Connect:198\tRELAY\n", "plain", ""},
		{"loose_relay_check", "FEATURE(`loose_relay_check')dnl\n", "", "percent", "partner.example"},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, config := range []string{off, "domains: {hostname: " + harness.Hostname + ", local: [" + harness.Hostname + ", example.test], relay: []}\naccess: {file: access}\n"} {
				options := harness.Options{
					MC: c.mc, Access: c.access, LocalHostNames: "example.test\n", RelayDomains: "partner.example\n",
					Config: config, Files: map[string]string{"access": ""},
				}
				if config == off {
					options.Config += "access: {file: access}\ndomains: {local: [], relay: []}\n"
				}
				env := start(t, options)
				report := probeFrom(t, "25", probe.Options{Domain: c.domain})
				if err := env.Close(); err != nil {
					t.Fatal(err)
				}
				var accepted []string
				for _, a := range report.Attempts {
					if a.Outcome == probe.Accepted {
						accepted = append(accepted, a.Form+" ("+a.Rcpt+")")
					}
				}
				var text strings.Builder
				if err := report.Write(&text, true); err != nil {
					t.Fatal(err)
				}
				t.Logf("with %q:\n%s", config, text.String())
				if report.Error != "" {
					t.Errorf("ended early: %s", report.Error)
				}
				if config == off && c.form != "" {
					if !strings.Contains(strings.Join(accepted, "\n"), c.form+" (") {
						t.Errorf("accepted %q, the probe should have found %q", accepted, c.form)
					}
				} else if len(accepted) > 0 {
					t.Errorf("accepted with %q: %q", config, accepted)
				}
			}
		})
	}
}

// TestTheProbeLogsIn with each mechanism on 587 and, where TLS begins with the connection,
// on 465; it may relay there, and not on port 25. The message that it sends is judged as it
// stands in the queue.
func TestTheProbeLogsIn(t *testing.T) {
	const config = "sendmail: {cf: " + stockCF + "}\nchecks: {rdns: {mode: off}}\nports: {25: {auth: refuse}}\n"
	env := start(t, harness.Options{
		Include: include + "\n", MC: "DAEMON_OPTIONS(`Name=MSAS, Family=inet, Addr=" + harness.ServerAddr4 + ", Port=465, M=Eas')dnl\n",
		Config: config, Files: map[string]string{"access": ""}, LocalHostNames: "example.test\n", Users: map[string]string{"shin": "secret"},
	})
	user := probe.Options{User: "shin", Password: "secret", AnyCertificate: true}
	for port, relays := range map[string]bool{"25": false, "587": true, "465": true} {
		report := probeFrom(t, port, user)
		logins := make(map[string]bool)
		for _, l := range report.Logins {
			logins[l.Mechanism] = l.LoggedIn && l.Relays
			if l.LoggedIn != true || l.Relays != relays {
				t.Errorf("port %s: %+v, expected to relay: %v", port, l, relays)
			}
		}
		for _, mechanism := range []string{"PLAIN", "LOGIN", "CRAM-MD5"} {
			if _, tried := logins[mechanism]; !tried {
				t.Errorf("port %s: %s was not tried, of %q", port, mechanism, report.Mechanisms.TLS)
			}
		}
		if len(report.Attempts) < 40 || report.Error != "" || report.TLS == nil || !strings.HasPrefix(report.Verdict, "no relay") {
			t.Errorf("port %s: %d attempts, TLS %v, %s %s", port, len(report.Attempts), report.TLS, report.Error, report.Verdict)
		}
	}
	for _, scrubbed := range []bool{false, true} {
		if scrubbed {
			reconfigure(t, env, config+"received: {whose: [authenticated], fields: {X-Mailer: remove}}\n")
		}
		user.Send = "root@example.test"
		if report := probeFrom(t, "587", user); !strings.Contains(strings.Join(report.Notes, "\n"), "-judge FILE") {
			t.Errorf("nothing was sent: %q", report.Notes)
		}
		queue, err := env.Queue()
		if err != nil || len(queue) == 0 {
			t.Fatalf("queue %v, %v", queue, err)
		}
		told := make(map[bool]int)
		for _, message := range queue {
			leaks, err := probe.Judge(strings.NewReader(message.Header()+"\n"), harness.Hostname)
			if err != nil {
				t.Fatal(err)
			}
			told[len(leaks) == 0]++
			t.Logf("%+v\n%s", leaks, message.Header())
		}
		if want := map[bool]int{false: 1}; !scrubbed && !maps.Equal(told, want) || scrubbed && told[true] != 1 {
			t.Errorf("scrubbed %v: messages without leaks, and with: %v", scrubbed, told)
		}
	}
}
