package attack

import (
	"os"
	"testing"

	"milterd/integration/harness"
	"milterd/integration/harness/harnesstest"
)

// world is where the servers are started.
var world *harness.World

func TestMain(m *testing.M) {
	os.Exit(harness.Main(func(w *harness.World) int {
		world = w
		return m.Run()
	}))
}

// busy makes sendmail not slow down for bad recipients.
const busy = "define(`confBAD_RCPT_THROTTLE', `0')dnl\ndefine(`confMIN_QUEUE_AGE', `0')dnl\n"

// start runs a server for one test.
func start(t *testing.T, o harness.Options) *harness.Env {
	t.Helper()
	o.MC += busy
	return harnesstest.Start(t, world, o)
}
