package integration_test

import (
	"os"
	"testing"

	"milterd/integration/harness"
	"milterd/integration/harness/harnesstest"
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
	harnesstest.Need(t, world)
}

// start runs a server for one test.
func start(t *testing.T, o harness.Options) *harness.Env {
	t.Helper()
	return harnesstest.Start(t, world, o)
}
