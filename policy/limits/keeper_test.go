package limits

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"milterd/integration/testkit"
	"milterd/policy"
)

func TestCountsAndBlocksOutlastARestart(t *testing.T) {
	file := filepath.Join(t.TempDir(), "limits")
	l := byLogin(t, "l", "10/1h")
	k, clock := keeper(t, Config{File: file})
	send(k, 8, "a", l)
	hostile := "a:{b}\r\n\x00\xff\"" + strings.Repeat("x", 1000)
	send(k, 10, hostile, l)
	if err := k.Block(t.Context(), hostile, time.Hour); err != nil {
		t.Fatal(err)
	}
	send(k, 1, "a", l)
	if err := k.Close(); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		// passes is how far the machine's clock has gone on since.
		passes  time.Duration
		a       int
		blocked bool
	}{
		{"at once", 0, 1, true},
		{"after the time of one message", 6 * time.Minute, 2, true},
		{"after the block", 61 * time.Minute, 10, false},
		{"with a clock that went back a day", -24 * time.Hour, 1, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			now := clock.Now().Add(c.passes)
			again, err := New(Config{File: file, Now: func() time.Time { return now }})
			if err != nil {
				t.Fatal(err)
			}
			if n := send(again, 20, "a", l); n != c.a {
				t.Errorf("%d taken, want %d", n, c.a)
			}
			if got := again.Count(t.Context(), hostile, nil); got != c.blocked {
				t.Errorf("blocked: %t, want %t", got, c.blocked)
			}
		})
	}
}

func TestADamagedFileIsSetAside(t *testing.T) {
	file := filepath.Join(t.TempDir(), "limits")
	l := byLogin(t, "l", "10/1h")
	k, _ := keeper(t, Config{File: file})
	for i := range 20 {
		send(k, 5, fmt.Sprint("login", i), l)
	}
	if err := k.Close(); err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	damages := map[string][]byte{"a byte": append([]byte{}, whole...), "another kind": []byte("milterd relay grants 1\n"), "no end": []byte("milterd limits 1 5\n"), "a line without an end": []byte("milterd limits 1 5")}
	damages["a byte"][len(whole)/2] ^= 1
	for i := 1; i < len(whole); i += 97 {
		damages[fmt.Sprint("cut at ", i)] = whole[:i]
	}
	for name, data := range damages {
		if err := os.WriteFile(file, data, 0o600); err != nil {
			t.Fatal(err)
		}
		log := new(testkit.Log)
		k, err := New(Config{File: file, Logger: log.Logger()})
		if err != nil || k.memory.Len() != 0 || !log.Has("was set aside") {
			t.Errorf("%s: %v, %d counts, log %s", name, err, k.memory.Len(), log)
		}
		if aside, err := os.ReadFile(file + ".damaged"); err != nil || string(aside) != string(data) {
			t.Errorf("%s: set aside: %v", name, err)
		}
	}
}

func TestALimitTellsOnceThatItBeginsAndOnceThatItEnds(t *testing.T) {
	log := new(testkit.Log)
	l := byLogin(t, "logins", "10/1h")
	k, clock := keeper(t, Config{Logger: log.Logger()})
	lines := func(text string) int { return strings.Count(log.String(), text) }
	send(k, 9, "shin\n", l)
	if near := k.Near(); len(near) != 1 || !near[0].Since.IsZero() || near[0].Used != 8 {
		t.Errorf("near: %+v", near)
	}
	// For hours it goes on trying, and gets one message through at a time.
	taken := 0
	for range 100 {
		taken += send(k, 3, "shin\n", l)
		clock.Advance(time.Minute)
		k.calm()
	}
	if taken < 10 || lines("a limit is reached, mail is put off") != 1 || lines("a limit has room again") != 0 {
		t.Errorf("%d taken, log:\n%s", taken, log)
	}
	if !log.Has(`limit=logins login=shin? rate=10/1h wait=6m0s`) {
		t.Errorf("log:\n%s", log)
	}
	near := k.Near()
	if len(near) != 1 || near[0].Since != began || near[0].Refused < 100 || near[0].Of != 10 {
		t.Errorf("near: %+v", near)
	}
	clock.Advance(time.Hour)
	k.calm()
	if lines("a limit has room again") != 1 || len(k.Near()) != 0 {
		t.Errorf("log:\n%s", log)
	}
	l.Mode = policy.ModeShadow
	send(k, 12, "shin\n", l)
	if lines("a limit is reached, mail would be put off") != 1 {
		t.Errorf("log:\n%s", log)
	}
}

func TestWhatIsWatchedIsBounded(t *testing.T) {
	l := byLogin(t, "l", "1/1h")
	k, _ := keeper(t, Config{})
	for i := range maxWatched + 100 {
		send(k, 2, fmt.Sprint("login", i), l)
	}
	if n := len(k.Near()); n != maxWatched {
		t.Errorf("%d are watched, want %d", n, maxWatched)
	}
}

func TestBlockAndRelease(t *testing.T) {
	l := byLogin(t, "l", "2/1h")
	k, clock := keeper(t, Config{})
	k.Use([]policy.Limit{*l}, nil)
	if err := k.Block(t.Context(), "Shin", time.Hour); err != nil {
		t.Fatal(err)
	}
	if n := send(k, 1, "shin", l); n != 0 {
		t.Error("taken from a blocked login")
	}
	if n := send(k, 1, "who", l); n != 1 {
		t.Error("another login is blocked, too")
	}
	blocks, err := k.Blocks(t.Context())
	if diff := cmp.Diff(map[string]time.Duration{"shin": time.Hour}, blocks); diff != "" || err != nil {
		t.Errorf("blocks (-want +got): %s %v", diff, err)
	}
	if was, err := k.Release(t.Context(), "sHin"); !was || err != nil {
		t.Errorf("release: %t %v", was, err)
	}
	if n := send(k, 5, "shin", l); n != 2 {
		t.Errorf("%d taken after the release, want 2", n)
	}
	// A login that has used its limit up begins anew, too.
	if was, err := k.Release(t.Context(), "shin"); !was || err != nil {
		t.Errorf("release of one over its limit: %t %v", was, err)
	}
	if n := send(k, 5, "shin", l); n != 2 {
		t.Errorf("%d taken after the second release, want 2", n)
	}
	if was, err := k.Release(t.Context(), "nobody"); was || err != nil {
		t.Errorf("release of one that is free: %t %v", was, err)
	}
	if err := k.Block(t.Context(), "short", time.Minute); err != nil {
		t.Fatal(err)
	}
	clock.Advance(time.Minute)
	if n := send(k, 1, "short", l); n != 1 {
		t.Error("a block does not end")
	}
	// One without a realm is blocked with any; one with a realm, with that alone.
	if err := k.Block(t.Context(), "oka", time.Hour); err != nil {
		t.Fatal(err)
	}
	if err := k.Block(t.Context(), "ito@good.example", time.Hour); err != nil {
		t.Fatal(err)
	}
	for login, want := range map[string]int{"oka": 0, "oka@good.example": 0, "ito@good.example": 0, "ito": 1, "ito@other.example": 1} {
		if n := send(k, 1, login, l); n != want {
			t.Errorf("%d taken from %s, want %d", n, login, want)
		}
	}
	for _, login := range []string{"", strings.Repeat("x", maxLogin+1)} {
		if err := k.Block(t.Context(), login, time.Hour); err == nil {
			t.Errorf("a login of %d octets is blocked", len(login))
		}
	}
}

func TestALoginIsSeenIfItIsCountedOrKnown(t *testing.T) {
	l := byLogin(t, "l", "2/1h")
	l.Exceptions = map[string][]policy.Rate{"ito": rates(t, "5/24h")}
	k, _ := keeper(t, Config{Seen: func(login string) bool { return login == "oka" }})
	k.Use([]policy.Limit{*l}, nil)
	send(k, 1, "shin", l)
	k.Count(t.Context(), "ito", []policy.LimitQuery{{Limit: l, Key: "ito", Rates: l.RatesOf("ito"), N: 1}})
	for login, want := range map[string]bool{"Shin": true, "ito": true, "OKA": true, "shim": false} {
		if got := k.Seen(login); got != want {
			t.Errorf("%s: %t, expected %t", login, got, want)
		}
	}
	if ignorant, _ := keeper(t, Config{}); !ignorant.Seen("shim") {
		t.Error("without a way to know")
	}
}

func TestRunWritesSnapshotsAndEnds(t *testing.T) {
	file := filepath.Join(t.TempDir(), "limits")
	k, err := New(Config{File: file})
	if err != nil {
		t.Fatal(err)
	}
	send(k, 1, "a", byLogin(t, "l", "1/1h"))
	done := make(chan struct{})
	ctx, cancel := context.WithCancel(t.Context())
	go func() { k.Run(ctx); close(done) }()
	testkit.Eventually(t, "a snapshot", func() bool { _, err := os.Stat(file); return err == nil })
	cancel()
	<-done
	if err := k.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestAFileThatCannotBeWrittenIsToldOnce(t *testing.T) {
	dir := t.TempDir()
	log := new(testkit.Log)
	k, _ := keeper(t, Config{File: filepath.Join(dir, "gone", "limits"), Logger: log.Logger()})
	l := byLogin(t, "l", "10/1h")
	for range 3 {
		send(k, 1, "a", l)
		if err := k.flush(); err == nil {
			t.Fatal("written without a directory")
		}
	}
	if err := k.Block(t.Context(), "a", time.Hour); err == nil || !strings.HasPrefix(err.Error(), "blocked, but not on disk") {
		t.Errorf("block: %v", err)
	}
	if was, err := k.Release(t.Context(), "a"); !was || err == nil || !strings.HasPrefix(err.Error(), "released, but not on disk") {
		t.Errorf("release: %v, %v", was, err)
	}
	send(k, 1, "a", l)
	if err := os.Mkdir(filepath.Join(dir, "gone"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := k.flush(); err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(log.String(), "cannot be written to disk"); n != 1 || !log.Has("are written to disk again") {
		t.Errorf("log:\n%s", log)
	}
}

// A symbolic link stays, whatever it leads to.
func TestAFileBehindALink(t *testing.T) {
	for name, text := range map[string]string{"damaged": "milterd limits 1 5", "not there yet": ""} {
		dir := t.TempDir()
		target, link := filepath.Join(dir, "target"), filepath.Join(dir, "limits")
		if err := os.Symlink("target", link); err != nil {
			t.Fatal(err)
		}
		if text != "" {
			if err := os.WriteFile(target, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		k, _ := keeper(t, Config{File: link})
		send(k, 5, "shin", byLogin(t, "l", "10/1h"))
		if err := k.Close(); err != nil {
			t.Fatal(err)
		}
		leads, err := os.Readlink(link)
		if saved, _ := os.ReadFile(target); leads != "target" || !strings.Contains(string(saved), "\ncount ") {
			t.Errorf("%s: the link leads to %q, %v; there is %q", name, leads, err, saved)
		}
		if aside, _ := os.ReadFile(target + ".damaged"); string(aside) != text {
			t.Errorf("%s: set aside: %q", name, aside)
		}
	}
}

func TestWhatIsNoFileIsLeftAlone(t *testing.T) {
	pipe := filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{pipe, "/dev/zero", t.TempDir()} {
		if _, err := New(Config{File: name}); err == nil || !strings.Contains(err.Error(), "is not a regular file") {
			t.Errorf("%s: error %v", name, err)
		}
	}
}
