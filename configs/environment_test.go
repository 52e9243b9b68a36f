package configs

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"milterd/policy"
)

// everyVariable sets each variable there is.
var everyVariable = []string{
	"MILTERD_MODE=shadow", "MILTERD_LOG_LEVEL=warn", "MILTERD_LOG_FORMAT=json",
	"MILTERD_LISTEN_MILTER=inet:8893", "MILTERD_LISTEN_MAP=", "MILTERD_LISTEN_HTTP=local:/run/milterd/http.sock",
	"MILTERD_ACCESS_FILE=/tables/access", "MILTERD_HOSTNAME=mx.example.test",
}

func TestTheEnvironmentWinsOverTheFile(t *testing.T) {
	if len(everyVariable) != len(variables) {
		t.Fatalf("%d variables are tried, of %d", len(everyVariable), len(variables))
	}
	want, err := Default()
	if err != nil {
		t.Fatal(err)
	}
	want.Mode = policy.ModeShadow
	want.Log = Log{To: LogStderr, Level: "warn", Format: "json"}
	want.Listen.Milter, want.Listen.Map, want.Listen.HTTP = []string{"inet:8893"}, nil, "local:/run/milterd/http.sock"
	want.Access.File, want.Domains.Hostname = "/tables/access", "mx.example.test"
	file := []byte("mode: enforce\nlog: {level: debug, format: text}\nlisten: {milter: inet:1, map: inet:2, http: inet:3}\naccess: {file: a}\ndomains: {hostname: other.example.test}\n")
	for name, data := range map[string][]byte{"": nil, "milterd.yaml": file} {
		got, err := Parse(name, data, everyVariable...)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got, sameConfig()); diff != "" {
			t.Errorf("file %q (-want +got):\n%s", name, diff)
		}
		for _, v := range variables {
			if !got.explicit(v.key) {
				t.Errorf("%s is not explicit, so sendmail.cf would win over it", v.key)
			}
		}
		if got, want := got.Environment(), `mode: "shadow" (environment MILTERD_MODE)`; len(got) != len(everyVariable) || got[0] != want {
			t.Errorf("Environment: %q, expected %d entries from %s on", got, len(everyVariable), want)
		}
	}
}

func TestBadVariablesGiveTheirExactMessages(t *testing.T) {
	const known = "MILTERD_MODE, MILTERD_LOG_LEVEL, MILTERD_LOG_FORMAT, MILTERD_LISTEN_MILTER, MILTERD_LISTEN_MAP, MILTERD_LISTEN_HTTP, MILTERD_ACCESS_FILE, MILTERD_HOSTNAME"
	for _, tt := range []struct{ name, entry, file, want string }{
		{"a value that cannot be", "MILTERD_MODE=off", "", `environment MILTERD_MODE: mode: "off", expected enforce or shadow`},
		{"no value", "MILTERD_ACCESS_FILE=", "", `environment MILTERD_ACCESS_FILE: access.file: no file name`},
		{"a socket that cannot be", "MILTERD_LISTEN_MILTER=/run/x", "", `environment MILTERD_LISTEN_MILTER: listen.milter: "/run/x" is not an address, expected local:/path, inet:port@host or inet6:port@host`},
		{"a hostile value", "MILTERD_HOSTNAME=a\nb\x1b[2J", "", `environment MILTERD_HOSTNAME: domains.hostname: "a\nb\x1b[2J", expected a host name such as mx.example.test`},
		{"a variable that nothing is like", "MILTERD_WORKERS=4", "", "environment MILTERD_WORKERS: unknown variable, expected one of " + known},
		{"a misspelt variable", "MILTERD_LOGLEVEL=info", "", "environment MILTERD_LOGLEVEL: unknown variable, did you mean MILTERD_LOG_LEVEL? Known are " + known},
		{"one address for two doors", "MILTERD_LISTEN_MAP=inet:8891", "listen: {milter: inet:8891}\n",
			"environment MILTERD_LISTEN_MAP: listen.map: inet:8891 (listen.milter) and inet:8891 (listen.map) are one address, expected one for each"},
		{"a line of the file beside it", "MILTERD_MODE=on", "log: {level: x}\n",
			"milterd.yaml:1: log.level: \"x\", expected debug, info, warn or error\n" + `environment MILTERD_MODE: mode: "on", expected enforce or shadow`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			file := tt.file
			if file == "" {
				file = "mode: enforce\n"
			}
			_, err := Parse("milterd.yaml", []byte(file), tt.entry)
			if err == nil || err.Error() != tt.want {
				t.Errorf("got  %v\nwant %s", err, tt.want)
			}
		})
	}
}

func TestVariablesOfOthersAreLeftAlone(t *testing.T) {
	for _, entry := range []string{
		"PATH=/bin", "milterd_mode=x", "MILTERD=x",
		"MILTERD_TEST_SEED=1", "MILTERD_SERVICE_HOST=10.0.0.1", "MILTERD_SERVICE_PORT=25", "MILTERD_SERVICE_PORT_SMTP=25",
		"MILTERD_PORT=tcp://10.0.0.1:25", "MILTERD_PORT_25_TCP=tcp://10.0.0.1:25", "MILTERD_PORT_25_TCP_ADDR=10.0.0.1",
		"MILTERD_METRICS_SERVICE_HOST=10.0.0.1", "MILTERD_METRICS_PORT_9180_TCP_PROTO=tcp",
	} {
		if c, err := Default(entry); err != nil || len(c.Environment()) > 0 {
			t.Errorf("%s: %v", entry, err)
		}
	}
}

func TestAFileThatAVariableNamesIsMissedByItsName(t *testing.T) {
	none := filepath.Join(t.TempDir(), "none")
	c, err := Default("MILTERD_ACCESS_FILE="+none, "MILTERD_LISTEN_MAP=inet:8893@0.0.0.0")
	if err != nil {
		t.Fatal(err)
	}
	c.machine = testMachine("127.0.0.1 localhost\n")
	_, warnings, err := c.Policy()
	if want := "environment MILTERD_ACCESS_FILE: access table: stat " + none + ": no such file or directory"; err == nil || !strings.HasPrefix(err.Error(), want) {
		t.Errorf("got  %v\nwant %s", err, want)
	}
	if all, want := strings.Join(warnings, "\n"), "environment MILTERD_LISTEN_MAP: listen.map: inet:8893@0.0.0.0 can be reached"; !strings.Contains(all, want) {
		t.Errorf("warnings lack %q:\n%s", want, all)
	}
}

func TestTheReferenceNamesEveryVariable(t *testing.T) {
	for _, v := range variables {
		if want := v.name + " (" + v.key + ")"; !strings.Contains(strings.ReplaceAll(string(reference), "\n# ", " "), want) {
			t.Errorf("the reference does not say %s", want)
		}
	}
}

func TestAGroupHasANameOrANumber(t *testing.T) {
	for text, want := range map[string]string{"smmsp": "smmsp", "115": "115", "'115'": "115", "0": "0", `""`: ""} {
		c := parse(t, t.TempDir(), "listen: {socket_group: "+text+"}\n")
		if c.Listen.SocketGroup != want {
			t.Errorf("%s: %q, expected %q", text, c.Listen.SocketGroup, want)
		}
	}
	for _, text := range []string{"-1", "0115", "0x10", "99999999999"} {
		if _, err := Parse("m.yaml", []byte("listen: {socket_group: "+text+"}\n")); err == nil || err.Error() != "m.yaml:1: listen.socket_group: "+text+", expected the name or the number of a group" {
			t.Errorf("%s: %v", text, err)
		}
	}
}
