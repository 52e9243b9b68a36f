package main

import (
	"bytes"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
)

// asMilterd makes the test binary run as milterd itself.
const asMilterd = "MILTERD_TEST_RUN_AS_MILTERD"

func TestMain(m *testing.M) {
	if os.Getenv(asMilterd) != "" {
		main()
	}
	goleak.VerifyTestMain(m)
}

func TestCommandLine(t *testing.T) {
	cases := []struct {
		name, line string
		want       options
		err        string
	}{
		{"nothing serves", "", options{}, ""},
		{"a configuration", "-config /etc/x.yaml", options{config: "/etc/x.yaml"}, ""},
		{"the version", "-version", options{version: true}, ""},
		{"validation", "-check -config x", options{check: true, config: "x", format: "text"}, ""},
		{"sessions", "-check -explain -json a.yaml b.jsonl", options{check: true, explain: true, format: "json", sessions: []string{"a.yaml", "b.jsonl"}}, ""},
		{"standard input", "-check -", options{check: true, format: "text", sessions: []string{"-"}}, ""},
		{"a report for another program", "-check -format tap dir", options{check: true, format: "tap", sessions: []string{"dir"}}, ""},
		{"another configuration", "-check -against b -format json a.yaml", options{check: true, against: "b", format: "json", sessions: []string{"a.yaml"}}, ""},
		{"one session", "-check -session x -explain a.yaml", options{check: true, session: "x", explain: true, format: "text", sessions: []string{"a.yaml"}}, ""},
		{"a typed session", "-check -client 203.0.113.8 -port 587 -helo h -auth PLAIN:shin -from a@b -to c@d,e@f", options{check: true, format: "text",
			typed: typedOptions{given: true, client: "203.0.113.8", port: 587, helo: "h", auth: "PLAIN:shin", from: "a@b", to: "c@d,e@f"}}, ""},
		{"a typed session without a sender", "-check -client 203.0.113.8", options{}, `-client: expected -from ADDRESS as well (-from "" is the null sender)`},
		{"a typed session on no port", "-check -client 203.0.113.8 -from a -port 0", options{}, "-port 0: expected a number from 1 to 65535"},
		{"a typed session on a port that cannot be", "-check -client 203.0.113.8 -from a -port 65536", options{}, "-port 65536: expected a number from 1 to 65535"},
		{"a typed session and files", "-check -client 203.0.113.8 -from a x.yaml", options{}, `-client describes a session: expected no file of sessions, found "x.yaml"`},
		{"a typed session against another configuration", "-check -client 203.0.113.8 -from a -against x", options{}, "-against and -session are for files of sessions, without -client"},
		{"a typed session as a test", "-check -client 203.0.113.8 -from a -format tap", options{}, "-format tap is for the expectations of sessions, without -explain, -against and -client"},
		{"facts without a client", "-check -from a@b", options{}, "-from describes a session: expected -client IP as well"},
		{"no client", "-check -client=", options{}, "-client: expected an IP address"},
		{"a format that there is not", "-check -format xml a.yaml", options{}, "-format xml: expected text, json, tap or junit"},
		{"two formats", "-check -json -format tap a.yaml", options{}, "-json is -format json: expected one of them"},
		{"-against without sessions", "-check -against x", options{}, "-against: expected files of sessions"},
		{"-session without sessions", "-check -session x", options{}, "-session: expected files of sessions"},
		{"-against without -check", "-against x", options{}, "-against goes with -check"},
		{"-against with -explain", "-check -explain -against x a.yaml", options{}, "-explain goes without -against: run each configuration with -session ID -explain"},
		{"-against without a file", "-check -against= a.yaml", options{}, "-against: expected the name of a file"},
		{"an unknown flag", "-verbose", options{}, "flag provided but not defined: -verbose"},
		{"a stray argument", "serve", options{}, `unexpected argument "serve"`},
		{"a stray argument behind a flag", "-config x y", options{}, `unexpected argument "y"`},
		{"-explain without -check", "-explain", options{}, "-explain and -json go with -check"},
		{"-json without -check", "-json", options{}, "-explain and -json go with -check"},
		{"a flag behind the sessions", "-check a.yaml -explain", options{}, "-explain: flags go before the session files (a file of that name is ./-explain)"},
		{"-check and -version", "-check -version", options{}, "-check and -version exclude each other"},
		{"-config without a file", "-config=", options{}, "-config: expected the name of a file"},
		{"-config as the last word", "-config", options{}, "flag needs an argument: -config"},
		{"a grant", "-grant 203.0.113.8", options{grants: grantOptions{grant: "203.0.113.8"}}, ""},
		{"a grant for a user", "-config x -grant 203.0.113.8 shin", options{config: "x", grants: grantOptions{grant: "203.0.113.8", user: "shin"}}, ""},
		{"a grant for two users", "-grant 203.0.113.8 shin x", options{}, "-grant IP [USER]: expected one user at most; a name with blanks goes between quotes"},
		{"a revocation", "-revoke shin", options{grants: grantOptions{revoke: "shin"}}, ""},
		{"a list of grants", "-grants", options{grants: grantOptions{list: true}}, ""},
		{"a list with an argument", "-grants x", options{}, `unexpected argument "x"`},
		{"a grant and a revocation", "-grant 203.0.113.8 -revoke 203.0.113.8", options{}, "-grant and -revoke: expected one of them"},
		{"no address to grant", "-grant=", options{}, "-grant: expected an IP address"},
		{"a grant and -check", "-check -grants", options{}, "-grants goes without -check and -version"},
		{"help", "-help", options{}, flag.ErrHelp.Error()},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			got, err := parseOptions(strings.Fields(c.line))
			if c.err != "" {
				if err == nil || err.Error() != c.err {
					t.Errorf("error %v, expected %q", err, c.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if len(got.sessions) == 0 {
				got.sessions = nil
			}
			if !got.typed.given {
				got.typed = typedOptions{}
			}
			if diff := cmp.Diff(c.want, got, cmp.AllowUnexported(options{}, typedOptions{}, grantOptions{})); diff != "" {
				t.Errorf("options (-want +got):\n%s", diff)
			}
		})
	}
}

func TestRunWithoutServing(t *testing.T) {
	cases := []struct {
		name, line     string
		status         int
		stdout, stderr string
	}{
		{"help goes to stdout", "-help", 0, "Usage:", ""},
		{"the version names the program", "-version", 0, "milterd ", ""},
		{"a bad command line shows the usage", "-nope", 2, "", "milterd: flag provided but not defined: -nope\n\nUsage:"},
		{"a missing configuration is a bad one", "-config /no/such/milterd.yaml", 2, "", "milterd: read configuration: stat /no/such/milterd.yaml: no such file"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			var stdout, stderr bytes.Buffer
			if status := run(strings.Fields(c.line), &stdout, &stderr); status != c.status {
				t.Errorf("exit status %d, expected %d", status, c.status)
			}
			if !strings.HasPrefix(stdout.String(), c.stdout) || !strings.HasPrefix(stderr.String(), c.stderr) {
				t.Errorf("stdout %q, stderr %q", stdout.String(), stderr.String())
			}
		})
	}
}

func TestWithoutAFlagTheDefaultConfigurationCountsIfThereIsOne(t *testing.T) {
	dir := t.TempDir()
	from := place{fallback: filepath.Join(dir, "milterd.yaml")}
	load := func(want, wantWarning string) {
		t.Helper()
		config, warning, err := from.load()
		if err != nil {
			t.Fatal(err)
		}
		if warning = strings.ReplaceAll(warning, dir, "DIR"); config.Name() != want || warning != wantWarning {
			t.Errorf("configuration %q, warning %q; expected %q, %q", config.Name(), warning, want, wantWarning)
		}
	}
	load("", "no configuration file DIR/milterd.yaml, the built-in one is in force")
	write(t, dir, "milterd.yml", "mode: shadow\n")
	load("", "no configuration file DIR/milterd.yaml, the built-in one is in force; DIR/milterd.yml is there, but not read: rename it, or use -config")
	write(t, dir, "milterd.yaml", "mode: shadow\n")
	load(from.fallback, "")
	write(t, dir, "milterd.yaml", "mode: shadoww\n")
	if _, _, err := from.load(); err == nil {
		t.Error("a bad configuration was passed over")
	}
	from.flag = filepath.Join(dir, "other.yaml")
	if _, _, err := from.load(); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a named file that is missing: %v", err)
	}
}

// write puts a file into a directory in one go.
func write(t *testing.T, dir, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}
