package door

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
)

func TestAStackIsLoggedOnceForEachPlace(t *testing.T) {
	var text bytes.Buffer
	logger := slog.New(slog.NewTextHandler(&text, nil))
	var panics PanicLog
	survive := func(f func()) {
		defer func() { panics.Log(logger, "it panicked", recover(), "key", "value") }()
		f()
	}
	for range 3 {
		survive(func() { panic("here") })
		survive(func() { _ = (map[string][]int)(nil)["there"][1] })
	}
	log := text.String()
	for what, want := range map[string]int{
		`msg="it panicked" key=value panic=here place=milterd/milter/door.TestAStack`:                      3,
		`panic="runtime error: index out of range [1] with length 0" place=milterd/milter/door.TestAStack`: 3,
		"stack=": 2,
	} {
		if n := strings.Count(log, what); n != want {
			t.Errorf("%q is %d times in the log, expected %d:\n%s", what, n, want, log)
		}
	}
}
