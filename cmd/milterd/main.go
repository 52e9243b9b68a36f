// Command milterd is a relay and reverse-DNS policy daemon for sendmail. Without
// -check it serves: sendmail asks it through the milter protocol at every step of
// an SMTP dialogue. With -check it validates its configuration, or decides
// recorded sessions, and exits.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strings"

	"milterd/configs"
)

// defaultConfig is read where no -config is given, if there is such a file.
const defaultConfig = "/etc/milterd/milterd.yaml"

// Exit statuses.
const (
	exitOK      = 0
	exitFailure = 1 // something failed at run time
	exitUsage   = 2 // a bad command line or configuration
)

func main() {
	os.Exit(run(os.Args[1:], os.Stdout, os.Stderr))
}

func run(args []string, stdout, stderr io.Writer) int {
	o, err := parseOptions(args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		fmt.Fprint(stdout, usage)
		return exitOK
	case err != nil:
		fmt.Fprintf(stderr, "milterd: %v\n\n%s", err, usage)
		return exitUsage
	case o.version:
		fmt.Fprintln(stdout, version())
		return exitOK
	case o.check:
		return runCheck(o, stdout, stderr)
	case o.grants.given():
		return runGrants(o, stdout, stderr)
	case o.health:
		return runHealth(o, stdout, stderr)
	}
	return runServe(place{flag: o.config, fallback: defaultConfig}, stderr)
}

// version says what this binary was built from.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "milterd, unknown version, " + runtime.Version()
	}
	text := "milterd " + info.Main.Version
	for _, s := range info.Settings {
		switch {
		case s.Key == "vcs.revision":
			text += " " + s.Value
		case s.Key == "vcs.modified" && s.Value == "true":
			text += " (modified)"
		}
	}
	return text + ", " + info.GoVersion
}

// place is where the configuration is.
type place struct {
	// flag is the -config flag, empty without one.
	flag string
	// fallback is read without a flag, if there is such a file.
	fallback string
}

// file is the file that is, or would be, read.
func (p place) file() string {
	if p.flag != "" {
		return p.flag
	}
	return p.fallback
}

// load reads the configuration. Where no file is named and there is none, it is
// the embedded one, with a warning: whoever has written a file means it.
func (p place) load() (config *configs.Config, warning string, err error) {
	config, err = configs.Load(p.file())
	if p.flag != "" || !errors.Is(err, fs.ErrNotExist) {
		return config, "", err
	}
	warning = "no configuration file " + p.fallback + ", the built-in one is in force"
	// A pattern without special characters but the last cannot be malformed.
	others, _ := filepath.Glob(strings.TrimSuffix(p.fallback, filepath.Ext(p.fallback)) + ".*")
	if len(others) > 0 {
		warning += "; " + others[0] + " is there, but not read: rename it, or use -config"
	}
	config, err = configs.Default()
	return config, warning, err
}

// complaints are the lines of an error: a bad configuration has one for each
// problem.
func complaints(err error) []string {
	return strings.Split(err.Error(), "\n")
}
