package main

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"go.uber.org/goleak"

	"milterd/integration/probe"
	"milterd/policy/replay/dryrun"
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
	files := func(o dryrun.Options, names ...string) *options {
		o.Sessions = names
		return &options{check: o}
	}
	typed := dryrun.Typed{Client: "203.0.113.8", Port: 587, HELO: "h", Auth: "PLAIN:shin", From: "a@b", To: "c@d,e@f"}
	cases := []struct {
		name, line string
		want       *options
		err        string
	}{
		{"nothing serves", "", &options{}, ""},
		{"a configuration", "-config /etc/x.yaml", &options{config: "/etc/x.yaml"}, ""},
		{"the version", "-version", &options{}, ""},
		{"health", "-config x.yaml -health", &options{config: "x.yaml"}, ""},
		{"validation as a user", "-check -user milterd -access d", &options{user: "milterd", access: "d"}, ""},
		{"sessions as a user", "-check -user milterd a.yaml", nil, "-user is for the configuration, without sessions"},
		{"a typed session as a user", "-check -user milterd -client 203.0.113.8 -from a", nil, "flag -user is not defined with -check -client, it goes with -check"},
		{"validation", "-check -config x", &options{config: "x"}, ""},
		{"sessions", "-check -explain -json a.yaml b.jsonl", files(dryrun.Options{Explain: true, Format: "json"}, "a.yaml", "b.jsonl"), ""},
		{"standard input", "-check -", files(dryrun.Options{}, "-"), ""},
		{"a report for another program", "-check -format tap dir", files(dryrun.Options{Format: "tap"}, "dir"), ""},
		{"another configuration", "-check -against b -format json a.yaml", &options{against: "b", check: dryrun.Options{Format: "json", Sessions: []string{"a.yaml"}}}, ""},
		{"one session", "-check -session x -explain a.yaml", files(dryrun.Options{Session: "x", Explain: true}, "a.yaml"), ""},
		{"a typed session", "-check -client 203.0.113.8 -port 587 -helo h -auth PLAIN:shin -from a@b -to c@d,e@f", &options{typed: typed, check: dryrun.Options{Typed: &typed}}, ""},
		{"a grant", "-grant 203.0.113.8", &options{grants: grantOptions{grant: "203.0.113.8"}}, ""},
		{"a grant for a user", "-config x -grant 203.0.113.8 shin", &options{config: "x", grants: grantOptions{grant: "203.0.113.8", user: "shin"}}, ""},
		{"a revocation", "-revoke shin", &options{grants: grantOptions{revoke: "shin"}}, ""},
		{"a list of grants", "-grants", &options{}, ""},
		{"the doctor", "-doctor -offline -json -cf x.cf", &options{advice: adviceOptions{cf: "x.cf", offline: true, json: true}}, ""},
		{"the lines for sendmail.mc", "-mc", &options{advice: adviceOptions{system: "debian"}}, ""},
		{"an import", "-import -cf x.cf", &options{advice: adviceOptions{cf: "x.cf"}}, ""},
		{"a probe, its servers before, between and behind flags", "-probe a -user u b:25 -password-file f c", &options{probe: probeOptions{
			Options: probe.Options{Targets: []string{"a", "b:25", "c"}, User: "u"}, passwordFile: "f"}}, ""},

		{"a system that there is not", "-mc -system vms", nil, `invalid value "vms" for flag -system: expected one of debian, freebsd, rhel`},
		{"a probe of nothing", "-probe", nil, "-probe: expected HOST or HOST:PORT"},
		{"a probe with half a login", "-probe a -password-file f", nil, "-password-file needs -user"},

		{"a typed session without a sender", "-check -client 203.0.113.8", nil, `-client: expected -from ADDRESS as well (-from "" is the null sender)`},
		{"a typed session on no port", "-check -client 203.0.113.8 -from a -port 0", nil, `invalid value "0" for flag -port: expected a number from 1 to 65535`},
		{"a typed session on a port that cannot be", "-check -client 203.0.113.8 -from a -port 65536", nil, `invalid value "65536" for flag -port: expected a number from 1 to 65535`},
		{"a typed session and files", "-check -client 203.0.113.8 -from a x.yaml", nil, `unexpected argument "x.yaml"`},
		{"a typed session against another configuration", "-check -client 203.0.113.8 -from a -against x", nil, "flag -client is not defined with -check -against, it goes with -check -client"},
		{"a typed session as a test", "-check -client 203.0.113.8 -from a -format tap", nil, `invalid value "tap" for flag -format: expected one of [text json]`},
		{"facts without a client", "-check -from a@b", nil, "flag -from is not defined with -check, it goes with -check -client"},
		{"no client", "-check -client= -from a", nil, `invalid value "" for flag -client: expected an IP address`},
		{"a format that there is not", "-check -format xml a.yaml", nil, `invalid value "xml" for flag -format: expected one of [text json tap junit]`},
		{"two formats", "-check -json -format tap a.yaml", nil, `invalid value "tap" for flag -format: expected one format, found json too`},
		{"a report on tests that explains", "-check -explain -format tap a.yaml", nil, "-format tap is for the expectations of sessions, without -explain"},
		{"-against without sessions", "-check -against x", nil, "expected files of sessions"},
		{"-session without sessions", "-check -session x", nil, "expected files of sessions"},
		{"-format without sessions", "-check -format json", nil, "expected files of sessions"},
		{"-against without -check", "-against x", nil, "flag -against is not defined, it goes with -check -against"},
		{"-against with -explain", "-check -explain -against x a.yaml", nil, "flag -explain is not defined with -check -against, it goes with -check"},
		{"-against without a file", "-check -against= a.yaml", nil, `invalid value "" for flag -against: expected a FILE`},
		{"an unknown flag", "-verbose", nil, "flag -verbose is not defined"},
		{"an unknown flag of a mode", "-check --verbose", nil, "flag -verbose is not defined with -check"},
		{"a stray argument", "serve", nil, `unexpected argument "serve"`},
		{"a stray argument behind a flag", "-config x y", nil, `unexpected argument "y"`},
		{"-explain without -check", "-explain", nil, "flag -explain is not defined, it goes with -check"},
		{"-json without -check", "-json", nil, "flag -json is not defined, it goes with -check"},
		{"a flag behind the sessions", "-check a.yaml -explain", nil, "-explain: flags go before the session files (a file of that name is ./-explain)"},
		{"-check and -version", "-check -version", nil, "flag -version is not defined with -check"},
		{"-config without a file", "-config=", nil, `invalid value "" for flag -config: expected the FILE of the configuration`},
		{"-config as the last word", "-config", nil, "flag needs an argument: -config"},
		{"a grant for two users", "-grant 203.0.113.8 shin x", nil, "-grant IP [USER]: expected one user at most; a name with blanks goes between quotes"},
		{"a list with an argument", "-grants x", nil, `unexpected argument "x"`},
		{"a grant and a revocation", "-grant 203.0.113.8 -revoke 203.0.113.8", nil, "flag -revoke is not defined with -grant"},
		{"no address to grant", "-grant=", nil, `invalid value "" for flag -grant: expected an IP address`},
		{"nothing to revoke", "-revoke=", nil, `invalid value "" for flag -revoke: expected an IP address or a user`},
		{"grants and -check", "-check -grants", nil, "flag -grants is not defined with -check"},
		{"health and -check", "-health -check", nil, "flag -health is not defined with -check"},
		{"health and the version", "-health -version", nil, "flag -version is not defined with -health"},
		{"health and grants", "-health -grants", nil, "flag -health is not defined with -grants"},
		{"health and an argument", "-health x", nil, `unexpected argument "x"`},
		{"health in another format", "-health -json", nil, "flag -json is not defined with -health, it goes with -check"},
		{"health of a client", "-health -from a -to b@c", nil, "flag -from is not defined with -health, it goes with -check -client"},
		{"help", "-help", nil, flag.ErrHelp.Error()},
		{"help on a mode", "-check -h", nil, flag.ErrHelp.Error()},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			_, got, err := parse(strings.Fields(c.line))
			if c.err != "" {
				if err == nil || err.Error() != c.err {
					t.Errorf("error %v, expected %q", err, c.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got.check.Typed == nil {
				got.typed = dryrun.Typed{}
			}
			if diff := cmp.Diff(c.want, got, cmp.AllowUnexported(options{}, grantOptions{}, limitOptions{}, adviceOptions{}, probeOptions{}), cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("options (-want +got):\n%s", diff)
			}
		})
	}
}

func TestEachFlagIsExplained(t *testing.T) {
	var help strings.Builder
	printUsage(&help)
	for _, m := range modes() {
		m.flagSet(new(options)).VisitAll(func(f *flag.Flag) {
			if !strings.Contains(help.String(), " -"+f.Name) {
				t.Errorf("nothing about -%s in\n%s", f.Name, help.String())
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
		{"a bad command line is one line", "-nope", 2, "", "milterd: flag -nope is not defined; milterd -h explains the flags\n"},
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

// write puts a file into a directory in one go.
func write(t *testing.T, dir, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}
