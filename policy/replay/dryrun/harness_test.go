package dryrun

import (
	"bytes"
	"flag"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"milterd/configs"
	"milterd/integration/testkit/dnstest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// baseConfig decides at MAIL, by the access table alone.
const baseConfig = `listen: {milter: local:/run/milterd/milter.sock}
access: {file: access, features: []}
domains: {hostname: mx.example.test, local: [example.test], relay: []}
checks: {rdns: {mode: off}}
`

const rejectsBad = "From:bad.example\tREJECT\n"

// newDir makes a directory with a configuration and an access table.
func newDir(t *testing.T, config, access string) string {
	t.Helper()
	dir := t.TempDir()
	write(t, dir, "milterd.yaml", strings.ReplaceAll(config, "DIR", dir))
	write(t, dir, "access", access)
	return dir
}

func write(t *testing.T, dir, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func load(file string, stderr io.Writer) (*Rules, error) {
	config, err := configs.Load(file)
	if err != nil {
		return nil, err
	}
	return NewRules(config, stderr)
}

// dry does what milterd -check does with these arguments in the current directory.
func dry(args []string, stdout, stderr io.Writer) (status int) {
	o := Options{Format: Text, Stdin: strings.NewReader(""), Stdout: stdout, Stderr: stderr}
	typed := Typed{Port: 25}
	f := flag.NewFlagSet("", flag.PanicOnError)
	f.BoolVar(&o.Explain, "explain", false, "")
	f.BoolFunc("json", "", func(string) error { o.Format = JSON; return nil })
	f.StringVar((*string)(&o.Format), "format", "text", "")
	f.StringVar(&o.Session, "session", "", "")
	f.Func("client", "", func(s string) error { o.Typed, typed.Client = &typed, s; return nil })
	f.StringVar(&typed.From, "from", "", "")
	f.StringVar(&typed.To, "to", "", "")
	f.StringVar(&typed.HELO, "helo", "", "")
	f.StringVar(&typed.Auth, "auth", "", "")
	f.Func("port", "", func(string) error { typed.Port = 587; return nil })
	config := f.String("config", "milterd.yaml", "")
	against := f.String("against", "", "")
	_ = f.Parse(args) // it panics
	o.Sessions = f.Args()
	rules, err := load(*config, stderr)
	if err == nil && *against != "" {
		o.Against, err = load(*against, stderr)
	}
	if err != nil {
		Complain(stderr, err)
		return BadInput
	}
	return Run(rules, o)
}

// runDry does so in a directory.
func runDry(t *testing.T, dir string, args ...string) (status int, stdout, stderr string) {
	t.Helper()
	t.Chdir(dir)
	var out, complaints bytes.Buffer
	status = dry(args, &out, &complaints)
	return status, out.String(), complaints.String()
}

func startDNS(t *testing.T, lines []string) *dnstest.Server {
	t.Helper()
	server, err := dnstest.Start(dnstest.Options{Lines: lines})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Close(); err != nil {
			t.Error(err)
		}
	})
	return server
}
