package probe

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"milterd/integration/testkit"
)

// pseudoTerminal opens both ends of one.
func pseudoTerminal(t *testing.T) (keyboard, terminal *os.File) {
	t.Helper()
	open := func(name string) *os.File {
		f, err := os.OpenFile(name, os.O_RDWR|unix.O_NOCTTY, 0)
		if err != nil {
			testkit.Missing(t, err.Error())
		}
		t.Cleanup(func() { _ = f.Close() })
		return f
	}
	keyboard = open("/dev/ptmx")
	number, err := unix.IoctlGetInt(int(keyboard.Fd()), unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(int(keyboard.Fd()), unix.TIOCSPTLCK, 0)
	}
	if err != nil {
		testkit.Missing(t, err.Error())
	}
	return keyboard, open(fmt.Sprintf("/dev/pts/%d", number))
}

func TestThePasswordIsAskedForAtATerminal(t *testing.T) {
	for typed, want := range map[string]string{"secret words\n": "secret words", "\n": ""} {
		keyboard, terminal := pseudoTerminal(t)
		if _, err := keyboard.WriteString(typed); err != nil {
			t.Fatal(err)
		}
		var prompt bytes.Buffer
		got, err := AskPassword(terminal, &prompt, "shin")
		if got != want || (err != nil) != (want == "") || !strings.HasPrefix(prompt.String(), "Password of shin: ") {
			t.Errorf("typed %q: got %q, %v, prompt %q", typed, got, err, prompt.String())
		}
	}
	none, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer none.Close()
	if got, err := AskPassword(none, &bytes.Buffer{}, "shin"); err == nil {
		t.Errorf("without a terminal: %q", got)
	}
}
