// Command demo shows milterd at work. As root, on a machine with sendmail, it
// runs Debian's stock sendmail with milterd beside it in a network of its own,
// lets a dozen clients speak SMTP to it, and prints what was said and why
// milterd decided as it did. Otherwise, or with -check, it decides the same
// clients' recorded sessions with milterd -check.
//
// Its exit status is 0 if every verdict was the expected one.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"

	"milterd/integration/harness"
)

// clients are the dialogues to show, in this order.
var clients = []string{
	"good-mx",
	"no-ptr",
	"servfail",
	"forged",
	"rejected-network",
	"from-quarantine",
	"relay-network",
	"relay-25-denied",
	"relay-25-denied-by-milterd",
	"auth-25-refused",
	"auth-587-missing",
	"auth-587-plain",
	"ipv6-no-ptr",
	"postmaster",
}

const scene = "standard"

func main() {
	check := flag.Bool("check", false, "decide recorded sessions, without a server")
	flag.Parse()
	if flag.NArg() > 0 {
		fmt.Fprintf(os.Stderr, "demo: unexpected argument %q\n", flag.Arg(0))
		os.Exit(2)
	}
	if *check {
		os.Exit(report(recorded(os.Stdout)))
	}
	os.Exit(harness.Main(func(w *harness.World) int {
		if w.Missing != nil {
			fmt.Printf("The live demonstration cannot run here: %v.\n"+
				"So these are the same clients' recorded sessions, decided by milterd -check.\n", w.Missing)
			return report(recorded(os.Stdout))
		}
		return report(live(w, os.Stdout))
	}))
}

// report turns the outcome into an exit status.
func report(ok bool, err error) int {
	switch {
	case err != nil:
		fmt.Fprintf(os.Stderr, "demo: %v\n", err)
		return 1
	case !ok:
		return 1
	}
	return 0
}

// directory finds integration/ from anywhere in the module.
func directory() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return filepath.Join(dir, "integration"), nil
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "", errors.New("no go.mod above the working directory, run the demonstration inside milterd's source tree")
		}
		dir = parent
	}
}
