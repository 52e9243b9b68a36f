package attack

import (
	"fmt"
	"os"
	"testing"

	"milterd/integration/harness"
	"milterd/integration/testkit"
)

// world is where the servers are started.
var world *harness.World

func TestMain(m *testing.M) {
	os.Exit(harness.Main(func(w *harness.World) int {
		world = w
		return m.Run()
	}))
}

// start runs a server for one test.
func start(t *testing.T, o harness.Options) *harness.Env {
	t.Helper()
	if world.Missing != nil {
		testkit.Missing(t, fmt.Sprintf("a real sendmail cannot be started: %v", world.Missing))
	}
	env, err := world.Start(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := env.Close(); err != nil {
			t.Errorf("stop server: %v", err)
		}
	})
	return env
}
