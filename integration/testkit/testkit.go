// Package testkit holds what the tests of many packages need: waiting for a condition,
// a log to look into, a clock to set, golden files, and what to do when this machine
// lacks something. Only tests import it.
package testkit

import (
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"testing"
	"time"
)

// Patience bounds every wait. It is long, because test machines are shared and noisy.
const Patience = 20 * time.Second

// Eventually polls until the condition holds. After Patience the test fails and names
// what never came true.
func Eventually(t testing.TB, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(Patience); !holds(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("never came true: %s", what)
		}
	}
}

// Number is that of an environment variable, or else the usual one.
func Number(t testing.TB, name string, usual uint64) uint64 {
	t.Helper()
	text := os.Getenv(name)
	if text == "" {
		return usual
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		t.Fatalf("%s=%s: %v", name, text, err)
	}
	return n
}

// Need skips the test if one of the commands is not installed.
func Need(t testing.TB, commands ...string) {
	t.Helper()
	for _, command := range commands {
		if _, err := exec.LookPath(command); err != nil {
			Missing(t, err.Error())
		}
	}
}

// NeedRoot skips the test if it does not run as root.
func NeedRoot(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		Missing(t, "this test needs root")
	}
}

// Missing skips the test with a reason. With CI=true it fails instead: there, nothing is
// left out silently.
func Missing(t testing.TB, reason string) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatal(reason)
	}
	t.Skip(reason)
}

// OwnLoopback is a loopback address that no other process has a reason to listen on.
func OwnLoopback() string {
	pid := os.Getpid()
	return fmt.Sprintf("127.%d.%d.%d", 100+pid>>16&0x3f, pid>>8&0xff, 1+pid&0x7f)
}
