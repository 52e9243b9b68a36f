package integration_test

import (
	"fmt"
	"os"
	"testing"

	"milterd/integration/harness"
	"milterd/integration/testkit"
)

// world is where the tests of this package start their servers.
var world *harness.World

func TestMain(m *testing.M) {
	os.Exit(harness.Main(func(w *harness.World) int {
		world = w
		return m.Run()
	}))
}

// needWorld skips a test if a real sendmail cannot be started.
func needWorld(t testing.TB) {
	t.Helper()
	if world.Missing != nil {
		testkit.Missing(t, fmt.Sprintf("a real sendmail cannot be started: %v", world.Missing))
	}
}

// start runs a server for one test.
func start(t *testing.T, o harness.Options) *harness.Env {
	t.Helper()
	needWorld(t)
	env, err := world.Start(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := env.Close(); err != nil {
			t.Errorf("stop server: %v", err)
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
