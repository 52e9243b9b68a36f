package configs

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// wantWarnings compares warnings with those expected, one a line.
func wantWarnings(t *testing.T, warnings []string, want string) {
	t.Helper()
	if diff := cmp.Diff(want, strings.Join(warnings, "\n")); diff != "" {
		t.Errorf("warnings (-want +got):\n%s", diff)
	}
}

// filterReached is what is said of a filter door on the network.
const filterReached = " can be reached from other machines, and whoever can connect can claim to be any client or login: use up its limits, have relaying suspended for it, and learn what is refused; keep it local"

func TestAFilterThatMailCouldPassByIsWarnedAbout(t *testing.T) {
	const filter = "Xmilterd, S=local:/run/milterd/milter.sock, F=T\n"
	const asked = "O InputMailFilters=milterd\n"
	cases := []struct {
		name, listen, cf, want string
	}{
		{"as it should be", "", filter + asked, ""},
		{"F=4 will do", "", strings.Replace(filter, "F=T", "F=4", 1) + asked, ""},
		{"one of two addresses", "[inet:8891@127.0.0.1, unix:/run/milterd/milter.sock]", filter + asked, ""},
		{"a port, with a name for an address", "inet:8891@127.0.0.1", "Xm, S=inet:8891@localhost, F=T\nO InputMailFilters=m\n", ""},
		{"a port on all addresses", "inet:8891@0.0.0.0", "Xm, S=inet:8891@127.0.0.1, F=T\nO InputMailFilters=m\n",
			"DIR/milterd.yaml:3: listen.milter: inet:8891@0.0.0.0" + filterReached},
		{"no filter", "", "",
			"DIR/sendmail.cf: no INPUT_MAIL_FILTER leads to listen.milter (local:/run/milterd/milter.sock), so sendmail does not ask milterd; there is none"},
		{"another socket", "", "Xmilterd, S=local:/run/milter.sock, F=T\n" + asked,
			"DIR/sendmail.cf: no INPUT_MAIL_FILTER leads to listen.milter (local:/run/milterd/milter.sock), so sendmail does not ask milterd; there is milterd (S=local:/run/milter.sock)"},
		{"another port", "inet:8891@127.0.0.1", "Xm, S=inet:8892@127.0.0.1, F=T\nO InputMailFilters=m\n",
			"DIR/sendmail.cf: no INPUT_MAIL_FILTER leads to listen.milter (inet:8891@127.0.0.1), so sendmail does not ask milterd; there is m (S=inet:8892@127.0.0.1)"},
		{"another address", "inet:8891@127.0.0.1", "Xm, S=inet:8891@127.0.0.2, F=T\nO InputMailFilters=m\n",
			"DIR/sendmail.cf: no INPUT_MAIL_FILTER leads to listen.milter (inet:8891@127.0.0.1), so sendmail does not ask milterd; there is m (S=inet:8891@127.0.0.2)"},
		{"a path in another spelling", "", "Xm, S=Local:/run//milterd/milter.sock, F=T\nO InputMailFilters=m\n", ""},
		{"an address with its mark", "inet6:8891@2001:db8::1", "Xm, S=inet6:8891@[IPv6:2001:db8:0::1], F=T\nO InputMailFilters=m\n",
			"DIR/milterd.yaml:3: listen.milter: inet6:8891@2001:db8::1" + filterReached},
		{"an address that milterd without a host does not listen on", "inet:8891", "Xm, S=inet:8891@127.0.0.2, F=T\nO InputMailFilters=m\n",
			"DIR/sendmail.cf: no INPUT_MAIL_FILTER leads to listen.milter (inet:8891), so sendmail does not ask milterd; there is m (S=inet:8891@127.0.0.2)"},
		{"another kind of address", "inet:8891@127.0.0.1", "Xm, S=inet6:8891, F=T\nO InputMailFilters=m\n",
			"DIR/sendmail.cf: no INPUT_MAIL_FILTER leads to listen.milter (inet:8891@127.0.0.1), so sendmail does not ask milterd; there is m (S=inet6:8891)"},
		{"a filter that is not asked", "", filter,
			"DIR/sendmail.cf:1: the filter milterd is defined, but not in InputMailFilters, so sendmail does not ask milterd; write INPUT_MAIL_FILTER in place of MAIL_FILTER"},
		{"no flag", "", strings.Replace(filter, ", F=T", "", 1) + asked,
			"DIR/sendmail.cf:1: the filter milterd has no F=T: mail is taken unfiltered while milterd is down"},
		{"two of one name, that lead to milterd or not", "", filter + asked + "XMilterd, S=local:/run/milterd/milter.sock, F=T\nXmilterd, S=local:/run/other.sock\n",
			"DIR/sendmail.cf:3: a second filter has the name Milterd: with two of one name sendmail does not start (duplicate filter definition)\n" +
				"DIR/sendmail.cf:4: a second filter has the name milterd: with two of one name sendmail does not start (duplicate filter definition)"},
		{"F=R", "", strings.Replace(filter, "F=T", "F=R", 1) + asked,
			"DIR/sendmail.cf:1: the filter milterd has F=R: mail is refused for good while milterd is down; F=T defers it"},
		{"a daemon with filters of its own", "", filter + asked + "O DaemonPortOptions=Name=MTA\nO DaemonPortOptions=Name=MTA-b, Port=2525, InputMailFilters=other\n",
			"DIR/sendmail.cf:4: the daemon MTA-b asks other filters than milterd, so what comes to it is taken unfiltered: its InputMailFilters=, or if it has none the file's, does not name milterd"},
		{"a daemon with no filter at all", "", filter + asked + "O DaemonPortOptions=Name=MTA\nO DaemonPortOptions=Port=2525, I=\n",
			"DIR/sendmail.cf:4: the daemon Daemon1 asks other filters than milterd, so what comes to it is taken unfiltered: its InputMailFilters=, or if it has none the file's, does not name milterd"},
		{"a daemon that alone asks milterd", "", filter + "O DaemonPortOptions=Name=MTA, I=milterd\nO DaemonPortOptions=Name=MSA, Port=587\n",
			"DIR/sendmail.cf:3: the daemon MSA asks other filters than milterd, so what comes to it is taken unfiltered: its InputMailFilters=, or if it has none the file's, does not name milterd"},
		{"daemons that all ask milterd among others", "", filter + "O InputMailFilters=x\nO DaemonPortOptions=Name=MTA, I=other;milterd\nO DaemonPortOptions=Name=MSA, I=milterd\n", ""},
		{"no daemon uses the file's list", "", filter + asked + "O DaemonPortOptions=Name=MTA, I=other\n",
			"DIR/sendmail.cf:1: the filter milterd is defined, but not in InputMailFilters, so sendmail does not ask milterd; write INPUT_MAIL_FILTER in place of MAIL_FILTER"},
		{"a submission program's file", "", "O UseMSP=True\n" + filter + asked,
			"DIR/sendmail.cf: a submission program's file (FEATURE(msp)), which decides about no client; the server's is usually /etc/mail/sendmail.cf"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			dir := write(t, map[string]string{"sendmail.cf": c.cf + "C{TrustAuthMech}PLAIN\nScheck_rcpt\n", "access": ""})
			text := "sendmail: {cf: sendmail.cf}\naccess: {file: access}\n"
			if c.listen != "" {
				text += "listen: {milter: " + c.listen + "}\n"
			}
			_, warnings := build(t, dir, text)
			wantWarnings(t, warnings, c.want)
		})
	}
}

func TestAMapThatLeadsPastMilterdIsWarnedAbout(t *testing.T) {
	const ours = "Kaccess socket -T<TMPF> local:/run/milterd/map.sock\n"
	const grants = "grants: {control: local:/run/milterd/control.sock}\nlimits: {file: /var/lib/milterd/limits}\n"
	cases := []struct {
		name, config, cf, want string
	}{
		{"the access map is milterd", "", ours, ""},
		{"two maps are milterd", grants, ours + "Kreceived socket -T<TMPF> unix:/run/milterd/map.sock\n", ""},
		{"one of two addresses, with a name for the host", "listen: {map: [local:/run/milterd/map.sock, inet:8893@127.0.0.1]}\n",
			"Kaccess socket -T<TMPF> inet:8893@localhost\n", ""},
		{"another map that is milterd beside a file", "", "Kaccess hash -T<TMPF> DIR/access\nKreceived socket -TX local:/run/milterd/map.sock\n", ""},
		{"somebody else's socket map beside a file", "", "Kaccess hash -T<TMPF> DIR/access\nKusers socket local:/run/users.sock\n", ""},
		{"no socket map, and nothing that needs one", "", "Kaccess hash DIR/access\n", ""},
		{"the access map without -T: sendmail itself says 451", "", "Kaccess socket local:/run/milterd/map.sock\n", ""},
		{"the access map with a mark that its rules do not know", "", "Kaccess socket -TTEMP local:/run/milterd/map.sock\n",
			"DIR/sendmail.cf:1: the map access has -TTEMP, a mark that its rules do not know, so while milterd is down nobody can tell what they make of it: expected -T<TMPF>"},
		{"an optional access map", "", "Kaccess socket -o -T<TMPF> local:/run/milterd/map.sock\n",
			"DIR/sendmail.cf:1: the map access has -o: a sendmail that cannot connect to milterd takes the map for empty, so what it refuses (REJECT) is taken"},
		{"an access map at another socket", "", "Kaccess socket -T<TMPF> local:/run/other.sock\n",
			"DIR/sendmail.cf:1: the access map is the socket local:/run/other.sock, which is not listen.map (local:/run/milterd/map.sock), so sendmail's own rules do not look into milterd's access table (DIR/access)"},
		{"an access map at milterd's socket, and the door is closed", "listen: {map: []}\n", ours,
			"DIR/sendmail.cf:1: the access map is the socket local:/run/milterd/map.sock, which is not listen.map (empty), so sendmail's own rules do not look into milterd's access table (DIR/access)"},
		{"grants, and no map that sendmail would ask", grants, "Kaccess hash DIR/access\n",
			"DIR/sendmail.cf: no socket map leads to listen.map (local:/run/milterd/map.sock), so sendmail's own rules know nothing of grants and go on refusing to relay"},
		{"a door that is asked for, and no map that leads to it", "listen: {map: inet:8893}\n", "Kaccess hash DIR/access\nKx socket inet:8894@127.0.0.1\n",
			"DIR/sendmail.cf: no socket map leads to listen.map (inet:8893), so sendmail's own rules do not ask milterd"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			dir := write(t, map[string]string{"sendmail.cf": c.cf + filters + "C{TrustAuthMech}PLAIN\nScheck_rcpt\n", "access": "Connect:203.0.113.5\tREJECT\n"})
			p, warnings := build(t, dir, "sendmail: {cf: sendmail.cf}\naccess: {file: access}\n"+c.config)
			wantWarnings(t, warnings, c.want)
			if p.Access.Len() != 1 {
				t.Errorf("%d entries in the access table", p.Access.Len())
			}
		})
	}
}

// TestWhatLeadsAnAccessMapToTheDoor: a line of milterd.m4 if that is there, and
// without a door the key that opens it where sendmail asks already.
func TestWhatLeadsAnAccessMapToTheDoor(t *testing.T) {
	const other, question = "Kaccess socket -T<TMPF> local:/run/other.sock\n", "Kmilterd socket local:/run/milterd/map.sock\n"
	for _, c := range []struct{ name, config, cf, want string }{
		{"one's own", "", other, "FEATURE(`access_db', `socket -T<TMPF> local:/run/milterd/map.sock')dnl"},
		{"that of milterd.m4", "", other + question, "define(`MILTERD_MAP', `local:/run/milterd/map.sock')dnl"},
		{"without a door", "listen: {map: []}\n", other, ""},
		{"the usual place, without a door there", "listen: {map: []}\n", "Kaccess socket -T<TMPF> local:/run/milterd/map.sock\n" + question, "listen: {map: 'local:/run/milterd/map.sock'}"},
	} {
		dir := write(t, map[string]string{"sendmail.cf": c.cf + filters + "C{TrustAuthMech}PLAIN\nScheck_rcpt\n", "access": ""})
		_, findings, err := parse(t, dir, "sendmail: {cf: sendmail.cf}\naccess: {file: access}\n"+c.config).Examine()
		if err != nil {
			t.Fatal(err)
		}
		told := false
		for _, f := range findings {
			if strings.Contains(f.Text, "the access map is the socket") {
				told = true
				equal(t, c.name, []string{f.Cure}, []string{c.want})
			}
		}
		if !told {
			t.Errorf("%s: not told, in %v", c.name, findings)
		}
	}
}

func TestWithMilterdAsTheAccessMapTheDefaultTableStays(t *testing.T) {
	dir := write(t, map[string]string{"sendmail.cf": "Kaccess socket -T<TMPF> local:/run/milterd/map.sock\n" + filters + "Scheck_rcpt\n"})
	c := parse(t, dir, "sendmail: {cf: sendmail.cf}\n")
	if got := c.sources().access.path; got != "/etc/mail/access" {
		t.Errorf("access table %s", got)
	}
}

func TestWhatOthersCouldReachAndWhatNothingComesOfIsWarnedAbout(t *testing.T) {
	cases := []struct {
		name, config, want string
	}{
		{"nothing by default", "mode: shadow", ""},
		{"maps on loopback addresses", "listen: {map: [inet:8893, inet:8894@127.0.0.2, inet6:8893@::1, inet:8895@localhost]}", ""},
		{"filters on loopback addresses", "listen: {milter: [inet:8893, inet:8894@127.0.0.2, inet6:8893@::1, inet:8895@localhost]}", ""},
		{"a filter on the network", "listen: {milter: [inet:8893@127.0.0.1, inet:8894@0.0.0.0]}",
			"DIR/milterd.yaml:3: listen.milter: inet:8894@0.0.0.0" + filterReached},
		{"maps on the network", "listen: {map: [inet:8893, inet:8893@203.0.113.25]}",
			"DIR/milterd.yaml:3: listen.map: inet:8893@203.0.113.25 can be reached from other machines, and whoever can connect reads the access table and learns who may relay; keep it local"},
		{"maps on a host whose address is not known", "listen: {map: inet6:8893@mx.example.test}",
			"DIR/milterd.yaml:3: listen.map: inet6:8893@mx.example.test can be reached from other machines, and whoever can connect reads the access table and learns who may relay; keep it local"},
		{"scrubbing for grants that there are", "received: {whose: [granted]}\ngrants: {control: local:/run/c.sock}\nlimits: {file: limits}", ""},
		{"scrubbing for grants that there are not", "received: {whose: [granted]}",
			"DIR/milterd.yaml:3: received.whose: granted, but grants has no source, store or control socket, so there are none"},
		{"no scrubbing for grants that there are not", "received: {mode: off, whose: [granted]}", ""},
		{"grants that sendmail does not learn of", "listen: {map: \"\"}\ngrants: {control: local:/run/c.sock}\nlimits: {file: limits}",
			"DIR/milterd.yaml:3: listen.map: empty, so sendmail's own rules know nothing of grants and go on refusing to relay"},
		{"DRAC for root of this machine", "grants: {drac: {listen: 'inet:0@0.0.0.0'}}", ""},
		{"DRAC for every user of this machine", "grants: {drac: {listen: 'inet:0@0.0.0.0', allow: [203.0.113.0/24, '::/64'], reserved_port: false}}",
			"DIR/milterd.yaml:3: grants.drac.reserved_port: false, and grants.drac.allow has addresses of this machine: every user of it can grant a relay to any address"},
		{"DRAC for every user of this machine, by its other address", "grants: {drac: {listen: 'inet:0@0.0.0.0', allow: [192.0.2.40], reserved_port: false}}",
			"DIR/milterd.yaml:3: grants.drac.reserved_port: false, and grants.drac.allow has addresses of this machine: every user of it can grant a relay to any address"},
		{"DRAC for every user of another machine", "grants: {drac: {listen: 'inet:0@0.0.0.0', allow: [203.0.113.25], reserved_port: false}}", ""},
		{"DRAC for every user of this machine, switched off", "grants: {drac: {reserved_port: false}}", ""},
		{"DRAC for everybody, switched off", "grants: {drac: {allow: ['::/0']}}", ""},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			dir := write(t, map[string]string{"access": ""})
			config := parse(t, dir, "access: {file: access}\ndomains: {local: [], relay: []}\n"+c.config+"\n")
			config.machine = testMachine("", "lo 127.0.0.1", "192.0.2.40")
			_, warnings, err := config.Policy()
			if err != nil {
				t.Fatal(err)
			}
			for i := range warnings {
				warnings[i] = strings.ReplaceAll(warnings[i], dir, "DIR")
			}
			wantWarnings(t, warnings, c.want)
		})
	}
}

func TestAFilterThatWaitsTooShortIsWarnedOf(t *testing.T) {
	for _, c := range []struct{ name, times, config, want string }{
		{"long enough", ", T=S:10s;R:10s;E:1m", "", ""},
		{"sendmail's default", "", "", ""},
		{"too short", ", T=R:2s", "", "the filter milterd has T=R:2s, and dns.deadline is 8s: "},
		{"too short by nothing", ", T=S:1s;R:8s", "", "write T=`S:10s;R:10s;E:1m' in INPUT_MAIL_FILTER"},
		{"a deadline that is lower", ", T=R:2s", "dns: {deadline: 1500ms}\n", ""},
		{"no check that asks", ", T=R:2s", "checks: {sender_domain: {mode: off}}\n", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := write(t, map[string]string{"access": "", "sendmail.cf": "Xmilterd, S=local:/run/milterd/milter.sock, F=T" + c.times +
				"\nO InputMailFilters=milterd\nKaccess hash DIR/access\nC{TrustAuthMech}PLAIN\nScheck_rcpt\n"})
			text := "sendmail: {cf: sendmail.cf}\naccess: {file: access}\n" + c.config
			if !strings.Contains(text, "checks:") {
				text += "checks: {sender_domain: {mode: enforce}}\n"
			}
			_, warnings := build(t, dir, text)
			got := strings.Join(warnings, "\n")
			if c.want == "" && strings.Contains(got, "dns.deadline") || !strings.Contains(got, c.want) {
				t.Errorf("warnings:\n%s\nexpected %q", got, c.want)
			}
		})
	}
}

// TestATableThatSendmailAsksMilterdForHasToBeThere: without it nothing is refused.
func TestATableThatSendmailAsksMilterdForHasToBeThere(t *testing.T) {
	const asked = "Kaccess socket OPTION-T<TMPF> local:/run/milterd/map.sock\nScheck_rcpt\n"
	for option, want := range map[string]string{"": "sendmail.cf:1: access table: ", "-o ": ""} {
		dir := write(t, map[string]string{"sendmail.cf": strings.Replace(asked, "OPTION", option, 1)})
		config, err := Parse(filepath.Join(dir, "milterd.yaml"), []byte("sendmail: {cf: sendmail.cf}\ndomains: {local: [], relay: []}\n"))
		if err != nil {
			t.Fatal(err)
		}
		// The default, on this machine, may be there.
		config.Access.File = filepath.Join(dir, "access")
		_, _, err = config.Policy()
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("options %q: error %v, expected %q", option, err, want)
		}
	}
}
