package integration_test

import (
	"context"
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
