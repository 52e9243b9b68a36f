package grants_test

import (
	"errors"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"milterd/integration/harness"
	"milterd/policy/grant"
)

// grantsFile is where grants outlast a restart.
const grantsFile = "/run/milterd/grants.db"

// administer runs milterd with flags about grants, and returns what it prints.
func administer(t *testing.T, flags ...string) (output string, err error) {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), world.Binary, append([]string{"-config", harness.ConfigFile}, flags...)...).CombinedOutput()
	if exit := new(exec.ExitError); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return string(out), err
}

// command is administer where it has to succeed.
func command(t *testing.T, flags ...string) string {
	t.Helper()
	out, err := administer(t, flags...)
	if err != nil {
		t.Fatalf("milterd %s: %v\n%s", strings.Join(flags, " "), err, out)
	}
	return out
}

func TestGrantsOutlastARestart(t *testing.T) {
	if err := os.Remove(grantsFile); err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	env := start(t, "grants:\n  file: "+grantsFile+"\n  control: local:"+control+"\n"+byLog.grants, harness.MissingDovecot())
	startDovecot(t, env, "")
	granted := []string{"203.0.113.8", "2001:db8::8"}
	for _, addr := range append(granted, "203.0.113.9") {
		mark := env.Milterd.Log.Len()
		login(t, "pop3", addr, "shin")
		awaitMade(t, env.Milterd, mark, addr, "shin")
	}
	wantRelay(t, "203.0.113.9", recipientTaken)
	command(t, "-revoke", "203.0.113.9")
	check := func(when string) {
		t.Helper()
		for _, addr := range granted {
			if got := relay(t, addr); !strings.HasPrefix(got, recipientTaken) {
				t.Errorf("%s: %s relays: %q, expected %q", when, addr, got, recipientTaken)
			}
		}
		for _, addr := range []string{"203.0.113.7", "203.0.113.9"} {
			if got := relay(t, addr); !strings.HasPrefix(got, relayingDenied) {
				t.Errorf("%s: %s relays: %q, expected %q", when, addr, got, relayingDenied)
			}
		}
	}
	check("before")

	if err := env.Milterd.Stop(); err != nil {
		t.Fatal(err)
	}
	if err := env.Milterd.Start(); err != nil {
		t.Fatal(err)
	}
	check("after a restart")

	// Logins are written within a second, and what is written outlasts a crash.
	mark := env.Milterd.Log.Len()
	granted = append(granted, "203.0.113.10")
	login(t, "imap", "203.0.113.10", "mari")
	awaitMade(t, env.Milterd, mark, "203.0.113.10", "mari")
	eventually(t, "the login to be in the file", func() bool { return slices.Contains(written(t), "203.0.113.10") })
	if err := env.Milterd.Kill(); err != nil {
		t.Fatal(err)
	}
	if reply := relay(t, "203.0.113.8"); !strings.HasPrefix(reply, putOff) {
		t.Errorf("without milterd: %q, expected %q", reply, putOff)
	}
	if err := env.Milterd.Start(); err != nil {
		t.Fatal(err)
	}
	check("after SIGKILL")
	// What the log held at the start is history: nobody is granted for it again.
	login(t, "imap", "203.0.113.11", "mari")
	awaitMade(t, env.Milterd, mark, "203.0.113.11", "mari")
	if lines := env.Milterd.Log.FindAll(mark, "relay grant made", "user=shin"); len(lines) > 0 {
		t.Errorf("granted again:\n%s", strings.Join(lines, "\n"))
	}
}

// written are the addresses in a copy of the file, which milterd has open. A copy that
// was taken while milterd wrote may be unreadable: then there are none.
func written(t *testing.T) []string {
	t.Helper()
	text, err := os.ReadFile(grantsFile)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "copy.db")
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	store, err := grant.OpenFile(grant.FileConfig{Path: path, Max: 1000})
	if err != nil {
		return nil
	}
	defer store.Close()
	var addrs []string
	if err := store.List(t.Context(), func(g grant.Grant) bool {
		addrs = append(addrs, g.Addr.String())
		return true
	}); err != nil {
		t.Fatal(err)
	}
	return addrs
}

// TestGrantsByHand: what an administrator says holds for the next look-up.
func TestGrantsByHand(t *testing.T) {
	env := start(t, "grants:\n  max_per_user: 2\n  control: local:"+control+"\n")
	const addr4, addr6, other = "203.0.113.8", "2001:db8::8", "203.0.113.9"
	for range 2 {
		for _, addr := range []string{addr4, addr6, other} {
			wantRelay(t, addr, relayingDenied)
		}
		command(t, "-grant", addr4, "shin")
		wantRelay(t, addr4, recipientTaken)
		wantRelay(t, addr6, relayingDenied)
		command(t, "-grant", addr6, "shin")
		command(t, "-grant", other)
		for _, addr := range []string{addr4, addr6, other} {
			wantRelay(t, addr, recipientTaken)
		}
		list := command(t, "-grants")
		for _, words := range [][]string{{addr4, "shin", "control"}, {addr6, "shin", "control"}, {other, "control"}} {
			if !slices.ContainsFunc(strings.Split(list, "\n"), func(line string) bool {
				fields := strings.Fields(line)
				return !slices.ContainsFunc(words, func(w string) bool { return !slices.Contains(fields, w) })
			}) {
				t.Errorf("no line with %q in:\n%s", words, list)
			}
		}
		command(t, "-revoke", addr4)
		wantRelay(t, addr4, relayingDenied)
		wantRelay(t, addr6, recipientTaken)
		command(t, "-revoke", "shin")
		wantRelay(t, addr6, relayingDenied)
		command(t, "-revoke", other)
		wantRelay(t, other, relayingDenied)
	}

	for _, flags := range [][]string{
		{"-revoke", addr4},              // has none
		{"-revoke", "mari"},             // has none either
		{"-grant", "127.0.0.1"},         // excluded: loopback
		{"-grant", "10.0.0.8", "shin"},  // excluded: private
		{"-grant", harness.ServerAddr4}, // excluded: this host
		{"-grant", "shin"},              // no address
	} {
		if out, err := administer(t, flags...); err == nil {
			t.Errorf("milterd %s succeeds:\n%s", strings.Join(flags, " "), out)
		}
	}
	wantRelay(t, "10.0.0.8", "550 5.7.1")
	list := command(t, "-grants")
	for word := range strings.FieldsSeq(list) {
		if _, err := netip.ParseAddr(word); err == nil {
			t.Errorf("there is a grant:\n%s", list)
		}
	}
	if err := env.Milterd.Stop(); err != nil {
		t.Fatal(err)
	}
	if out, err := administer(t, "-grants"); err == nil {
		t.Errorf("without milterd, milterd -grants succeeds:\n%s", out)
	}
}
