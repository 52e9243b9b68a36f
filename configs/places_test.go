package configs

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestPlacesThatMilterdNeeds(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ name, text, want string }{
		{"a directory for grants", "grants: {file: DIR/grants.db, control: local:/run/c.sock}\nlimits: {file: DIR/limits}\n", ""},
		{"blocks in memory only", "grants: {control: local:/run/c.sock}\n", "milterd.yaml:1: grants.control: limits.file is empty, so a login that milterd -block has stopped can send again when milterd is started anew; expected, for example, /var/lib/milterd/limits"},
		{"blocks in a shared store", "grants: {control: local:/run/c.sock}\nredis: {address: 192.0.2.1:6379}\n", ""},
		{"none", "grants: {file: DIR/none/grants.db, control: local:/run/c.sock}\nlimits: {file: DIR/limits}\n", "milterd.yaml:1: grants.file: there is no directory DIR/none, and milterd does not start without"},
		{"grants that nothing makes", "grants: {file: DIR/grants.db}\n", "milterd.yaml:1: grants.file: nothing makes grants here: expected control, dovecot, logs or drac as well"},
		{"a directory of recordings that can be made", "record: {dir: DIR/sessions}\n", ""},
		{"one that cannot", "record: {dir: DIR/none/sessions}\n", "milterd.yaml:1: record.dir: there is no directory DIR/none, so nothing will be recorded"},
		{"a file in its place", "record: {dir: DIR/file}\n", "milterd.yaml:1: record.dir: DIR/file is not a directory, so nothing will be recorded"},
		{"a log that is there", "grants: {logs: [{file: DIR/file, format: dovecot}]}\n", ""},
		{"a log that is not", "grants: {logs: [{file: DIR/mail.log, format: dovecot}]}\n", "milterd.yaml:1: grants.logs: DIR/mail.log: no such file (yet)"},
		{"a status page for this machine", "listen: {http: 'inet:9180@127.0.0.1'}\n", ""},
		{"one for everybody", "listen: {http: 'inet:9180@0.0.0.0'}\n", "milterd.yaml:1: listen.http: inet:9180@0.0.0.0 can be reached from other machines: they can read /metrics and /healthz; the page is for this machine alone, as there is no status.token"},
		{"sockets for everybody", "listen: {socket_mode: \"0666\"}\n", "milterd.yaml:1: listen.socket_mode: 0666, and so every user of this machine reads the access table, and can use up the limits of others; expected 0660, and the group of sendmail in listen.socket_group"},
		{"one for those who have a token", "listen: {http: 'inet:9180@0.0.0.0'}\nstatus: {token: a-token-of-the-page}\n", "milterd.yaml:1: listen.http: inet:9180@0.0.0.0 can be reached from other machines: they can read /metrics and /healthz; the page asks for status.token, which is sent in the clear"},
	} {
		t.Run(c.name, func(t *testing.T) {
			name := filepath.Join(dir, "milterd.yaml")
			text := strings.ReplaceAll(c.text, "DIR", dir) + "access: {file: file}\ndomains: {local: [], relay: []}\n"
			if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			config, err := Load(name)
			if err != nil {
				t.Fatal(err)
			}
			_, warnings, err := config.Policy()
			if err != nil {
				t.Fatal(err)
			}
			want := ""
			if c.want != "" {
				want = dir + "/" + strings.ReplaceAll(c.want, "DIR", dir)
			}
			if got := strings.Join(warnings, "\n"); got != want {
				t.Errorf("warnings %q, expected %q", got, want)
			}
		})
	}
}

func TestSocketsThatSendmailDoesNotUse(t *testing.T) {
	dir := write(t, map[string]string{"access": "", "sendmail.cf": cf, "access-of-sendmail": "", "names": ""})
	for name, mode := range map[string]os.FileMode{"open": 0o777, "sticky": 0o777 | os.ModeSticky} {
		if err := os.Mkdir(filepath.Join(dir, name), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(filepath.Join(dir, name), mode); err != nil {
			t.Fatal(err)
		}
	}
	text := strings.ReplaceAll("sendmail: {cf: sendmail.cf}\nlisten: {milter: 'local:DIR/sticky/a', map: ['local:DIR/open/c']}\n", "DIR", dir)
	c := parse(t, dir, text)
	_, findings, err := c.Examine()
	if err != nil {
		t.Fatal(err)
	}
	findings = append(findings, c.UnsafeSockets(true)...)
	var got []string
	for _, f := range findings {
		if f.Severity != Note {
			got = append(got, strings.ReplaceAll(f.String()+"; "+f.Cure, dir, "DIR"))
		}
	}
	equal(t, "errors", got, []string{
		"DIR/sendmail.cf: no INPUT_MAIL_FILTER leads to listen.milter (local:DIR/sticky/a), so sendmail does not ask milterd; there is milterd (S=local:/run/milterd/milter.sock); ",
		"DIR/sendmail.cf: no socket map leads to listen.map (local:DIR/open/c), so sendmail's own rules do not ask milterd; milterd -mc -both   prints the lines for sendmail.mc",
		"DIR/milterd.yaml:2: listen.milter: every user of this machine can make files in DIR/sticky, and so, while milterd is down, a DIR/sticky/a that sendmail asks in its place; listen: {milter: local:/run/milterd/milter.sock, map: local:/run/milterd/map.sock}",
		"DIR/milterd.yaml:2: listen.map: every user of this machine can write to DIR/open, so sendmail calls DIR/open/c unsafe and does not use it; chmod o-w DIR/open",
	})
}

// TestAFileThatIsTakenForAName: only a whole path is a file's.
func TestAFileThatIsTakenForAName(t *testing.T) {
	dir := write(t, map[string]string{"access": "", "local-host-names": "example.test\n", "relay-domains": "example.org\n"})
	p, warnings := build(t, dir, "access: {file: access}\ndomains:\n  local: [local-host-names, example.net]\n  relay: [relay-domains, DIR/relay-domains]\n")
	if p.Local.Has("example.test") || !p.Relay.Has("example.org") {
		t.Error("local-host-names was read, or DIR/relay-domains was not")
	}
	equal(t, "warnings", warnings, []string{
		`DIR/milterd.yaml:4: class R: "relay-domains" relays for everything below it`,
		`DIR/milterd.yaml:3: domains.local: "local-host-names" is taken for a name, and there is a file DIR/local-host-names; for the names in it write domains.local: [DIR/local-host-names]`,
		`DIR/milterd.yaml:4: domains.relay: "relay-domains" is taken for a name, and there is a file DIR/relay-domains; for the names in it write domains.relay: [DIR/relay-domains]`,
	})
}

func TestPlacesOfTheDaemonsUser(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ name, text, want string }{
		{"the defaults", "mode: shadow\n", ""},
		{"directories that are there", "listen: {milter: local:DIR/a, map: local:DIR/b}\ngrants: {file: DIR/g, control: local:DIR/c, control_group: '0'}\nrecord: {dir: DIR/new}\n", ""},
		{"no directory for a socket", "listen: {milter: local:DIR/none/a}\n", "milterd.yaml:1: listen.milter: there is no directory DIR/none"},
		{"a file in its place", "listen: {map: [local:DIR/file/a]}\n", "milterd.yaml:1: listen.map: the user that milterd runs as ("},
		{"a group that there is not", "listen: {socket_group: no-such-group}\n", "milterd.yaml:1: listen.socket_group: group: unknown group no-such-group"},
		{"another one", "grants: {control: local:DIR/c, control_group: no-such-group}\n", "milterd.yaml:1: grants.control_group: group: unknown group no-such-group"},
		{"no directory for grants", "grants: {file: DIR/none/g, control: local:DIR/c}\n", "milterd.yaml:1: grants.file: there is no directory DIR/none"},
	} {
		t.Run(c.name, func(t *testing.T) {
			config, err := Parse(filepath.Join(dir, "milterd.yaml"), []byte(strings.ReplaceAll(c.text, "DIR", dir)))
			if err != nil {
				t.Fatal(err)
			}
			err = config.CheckPlaces()
			if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(strings.ReplaceAll(err.Error(), dir, "DIR"), c.want)) {
				t.Errorf("error %v, expected %q", err, c.want)
			}
		})
	}
}
