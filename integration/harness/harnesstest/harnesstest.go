// Package harnesstest runs the servers of package harness for tests. It is a package of its
// own so that the demonstration, which has no tests, does not hold what serves them.
package harnesstest

import (
	"errors"
	"fmt"
	"os"
	"testing"

	"go.uber.org/goleak"

	"milterd/integration/harness"
	"milterd/integration/testkit"
)

// Run runs the tests of a package, and then looks for goroutines that they have left. It
// returns the exit status.
func Run(m *testing.M) int {
	code := m.Run()
	if err := goleak.Find(); code == 0 && err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return code
}

// Need skips the test if the servers of a world cannot be started here, or if anything
// else is missing.
func Need(t testing.TB, world *harness.World, missing ...error) {
	t.Helper()
	if err := errors.Join(append(missing, world.Missing)...); err != nil {
		testkit.Missing(t, fmt.Sprintf("the servers cannot be started: %v", err))
	}
}

// Start runs a server until the test ends, and shows the logs if it fails.
func Start(t testing.TB, world *harness.World, o harness.Options, missing ...error) *harness.Env {
	t.Helper()
	Need(t, world, missing...)
	env, err := world.Start(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := env.Close(); err != nil {
			t.Errorf("stop servers: %v", err)
		}
		if t.Failed() {
			t.Logf("sendmail's log:\n%s", env.Syslog)
			if env.Milterd != nil {
				t.Logf("milterd's log:\n%s", env.Milterd.Log)
			}
		}
	})
	return env
}
