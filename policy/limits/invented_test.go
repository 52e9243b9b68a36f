package limits

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"milterd/integration/testkit"
	"milterd/policy"
)

// invent asks for room for invented senders.
func invent(k *Keeper, l *policy.Limit, from, to, each int) {
	for i := from; i < to; i++ {
		queries := ask(fmt.Sprint("u", i, "@x.example (from strangers)"), l)
		queries[0].Invented = true
		for range each {
			k.Count(context.Background(), "", queries)
		}
	}
}

// TestInventedNamesTakeNoCountOfALogin: their counts drain slower, and are many more than
// fit.
func TestInventedNamesTakeNoCountOfALogin(t *testing.T) {
	const room = 100
	login, sender := byLogin(t, "logins", "5/1h"), byLogin(t, "senders", "5/24h")
	sender.By = policy.BySender
	file := filepath.Join(t.TempDir(), "limits")
	k, clock := keeper(t, Config{Max: room, File: file})
	if n := send(k, 8, "tom", login); n != 5 {
		t.Fatalf("%d taken", n)
	}
	invent(k, sender, 0, 2*room, 1)
	if n := send(k, 8, "tom", login); n != 0 {
		t.Errorf("%d more taken, after many senders", n)
	}
	if n := k.memory.Len(); n != room {
		t.Errorf("%d counts", n)
	}
	if err := k.Close(); err != nil {
		t.Fatal(err)
	}
	k, err := New(Config{Max: room, File: file, Now: clock.Now})
	if err != nil {
		t.Fatal(err)
	}
	invent(k, sender, 3*room, 6*room, 3)
	if n := send(k, 8, "tom", login); n != 0 {
		t.Errorf("%d more taken, after a restart", n)
	}
	// Among themselves they make way as before.
	if n := k.memory.Len(); n != room {
		t.Errorf("%d counts after a restart", n)
	}
	clock.Advance(time.Hour)
	if n := send(k, 8, "tom", login); n != 5 {
		t.Errorf("%d taken an hour later", n)
	}
}

// TestALoginIsToldOfAmongInventedNames fills what is watched with senders.
func TestALoginIsToldOfAmongInventedNames(t *testing.T) {
	for each, name := range map[int]string{5: "that are near", 9: "that are over"} {
		login, sender := byLogin(t, "logins", "3/1h"), byLogin(t, "senders", "5/1h")
		sender.By = policy.BySender
		log := new(testkit.Log)
		k, _ := keeper(t, Config{Logger: log.Logger()})
		k.notify.command.Store(&[]string{"/bin/true"})
		for i := range maxWatched / 2 {
			send(k, 3, fmt.Sprint("login", i), login) // near
		}
		invent(k, sender, 0, maxWatched+50, each)
		send(k, 4, "tom", login)
		if !strings.Contains(log.String(), "limit=logins login=tom ") {
			t.Errorf("senders %s: the login was not told of", name)
		}
		if near := k.Near(); len(near) != maxWatched || near[0].Since.IsZero() {
			t.Errorf("senders %s: %d are watched, the first %+v", name, len(near), near[0])
		}
		if k.watch.invented > maxWatched/2 {
			t.Errorf("senders %s: %d are watched", name, k.watch.invented)
		}
		queued := false
		for len(k.notify.waiting) > 0 {
			queued = (<-k.notify.waiting).Key == "tom" || queued
		}
		if !queued {
			t.Errorf("senders %s: no program runs for the login", name)
		}
	}
}
