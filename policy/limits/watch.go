package limits

import (
	"cmp"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"milterd/policy"
	"milterd/policy/printable"
)

// maxWatched bounds the counts that are watched, maxShown what is kept of a name to show
// it, in octets.
const (
	maxWatched = 10_000
	maxShown   = 320
)

// Near is a count that is nearly, or wholly, used up.
type Near struct {
	// Limit is the name of the limit, By and Key are what is counted for.
	Limit string         `json:"limit"`
	By    policy.LimitBy `json:"by"`
	Key   string         `json:"key"`
	// Rate is that with the least room, Used how much of its burst is used.
	Rate string `json:"rate"`
	Used int    `json:"used"`
	Of   int    `json:"of"`
	// Since is when the limit began to refuse, zero if it does not.
	Since time.Time `json:"since,omitzero"`
	// Refused is how many recipients it has refused since then; in shadow mode it would have.
	Refused uint64 `json:"refused"`
	Shadow  bool   `json:"shadow,omitempty"`
}

// State says how a login, client or sender stands.
type State string

// The states, the worst first. Shadow would be Over if the limit were enforced.
const (
	StateBlocked State = "blocked"
	StateOver    State = "over"
	StateShadow  State = "shadow"
	StateNear    State = "near"
)

// State is how the count stands.
func (n *Near) State() State {
	switch {
	case n.Since.IsZero():
		return StateNear
	case n.Shadow:
		return StateShadow
	}
	return StateOver
}

// watched is a Near, with the time at which it will no longer be one, in microseconds on
// the clock of memory.
type watched struct {
	Near
	calm int64
	// invented: see policy.LimitQuery.
	invented bool
}

// watch knows the counts that are nearly used up, and those whose limit refuses.
type watch struct {
	mu      sync.Mutex
	watched map[Key]*watched
	// invented is how many of them are.
	invented int
	// some: there are any. It spares the lock.
	some atomic.Bool
}

// threshold is how much of a burst has to be used for a count to be watched: four fifths,
// and no more than leaves it watched for a while after it was used up.
func threshold(burst int64) int64 { return min(4*burst/5, burst-1) }

// tell notes what came of queries: what is watched, and which limits begin to refuse.
func (k *Keeper) tell(queries []policy.LimitQuery, all []Bucket) {
	now := k.memory.clock()
	for i := 0; i < len(all); {
		first := i
		q := &queries[all[i].Limit]
		calm := now
		for ; i < len(all) && all[i].Limit == all[first].Limit; i++ {
			calm = max(calm, now+all[i].after()-threshold(all[i].Burst)*all[i].Interval)
		}
		k.count.asked(q)
		if calm > now || k.watch.some.Load() {
			k.note(q, all[first].Key, calm, now)
		}
	}
}

// note notes the answer to one query.
func (k *Keeper) note(q *policy.LimitQuery, key Key, calm, now int64) {
	w := &k.watch
	w.mu.Lock()
	seen := w.watched[key]
	if seen == nil {
		if calm <= now || !w.room(q) {
			w.mu.Unlock()
			return
		}
		if w.watched == nil {
			w.watched = make(map[Key]*watched)
		}
		seen = &watched{Near: Near{Limit: q.Limit.Name, By: q.Limit.By, Key: printable.Short(q.Key, maxShown, "…")}, invented: q.Invented}
		w.watched[key] = seen
		if q.Invented {
			w.invented++
		}
		w.some.Store(true)
	}
	seen.calm = calm
	seen.Rate, seen.Used, seen.Of, seen.Shadow = q.Answer.Rate.String(), q.Answer.Used, q.Answer.Rate.Burst, !q.Enforced
	begins := false
	if q.Answer.Wait > 0 {
		begins = seen.Since.IsZero()
		if begins {
			seen.Since, seen.Refused = k.memory.now(), 0
		}
		seen.Refused++
	}
	near := seen.Near
	w.mu.Unlock()
	if begins {
		k.begins(beginning{near, q.Limit.Count, q.Answer.Wait, q.Invented})
	}
}

// room makes room for a count. Those of invented names have half of it, and make way for
// others; one that is only near makes way for one that refuses.
func (w *watch) room(q *policy.LimitQuery) bool {
	if len(w.watched) < maxWatched && (!q.Invented || w.invented < maxWatched/2) {
		return true
	}
	const looked = 100
	n := 0
	for key, seen := range w.watched {
		if n++; n > looked {
			break
		}
		near := seen.Since.IsZero() && q.Answer.Wait > 0
		if mayTake := seen.invented || !q.Invented; mayTake && (near || seen.invented != q.Invented) {
			w.forget(key)
			return true
		}
	}
	return false
}

func (w *watch) forget(key Key) {
	if w.watched[key].invented {
		w.invented--
	}
	delete(w.watched, key)
}

// begins tells that a limit begins to refuse.
func (k *Keeper) begins(b beginning) {
	text := "a limit is reached, mail is put off"
	if b.Shadow {
		text = "a limit is reached, mail would be put off"
	}
	k.count.began(b.Limit)
	k.logger.Warn(text, append(b.attrs(), "wait", time.Duration(b.wait)*time.Second)...)
	k.notify.tell(b)
}

// calm tells of limits that refuse no more: enough has become free.
func (k *Keeper) calm() {
	now := k.memory.clock()
	w := &k.watch
	var over []Near
	w.mu.Lock()
	for key, seen := range w.watched {
		if seen.calm <= now {
			w.forget(key)
			if !seen.Since.IsZero() {
				over = append(over, seen.Near)
			}
		}
	}
	w.some.Store(len(w.watched) > 0)
	w.mu.Unlock()
	for _, n := range over {
		k.ends(n)
	}
}

// ends tells that a limit refuses no more.
func (k *Keeper) ends(n Near) {
	k.logger.Info("a limit has room again", append(n.attrs(), "refused", n.Refused, "lasted", k.memory.now().Sub(n.Since).Round(time.Second))...)
}

// attrs are what the log tells of it. A key comes from outside, and is printable.
func (n Near) attrs() []any {
	return []any{slog.String("limit", n.Limit), slog.String(string(n.By), n.Key), slog.String("rate", n.Rate)}
}

// release forgets what is watched of counts, and says whether any was refused.
func (w *watch) release(keys []Key) (refused bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, key := range keys {
		if seen := w.watched[key]; seen != nil {
			refused = refused || !seen.Since.IsZero()
			w.forget(key)
		}
	}
	return refused
}

// Near lists the counts that are nearly used up, those that refuse first, then the
// fullest.
func (k *Keeper) Near() []Near {
	w := &k.watch
	w.mu.Lock()
	all := make([]Near, 0, len(w.watched))
	for _, seen := range w.watched {
		all = append(all, seen.Near)
	}
	w.mu.Unlock()
	refusing := func(n Near) int {
		if n.Since.IsZero() {
			return 0
		}
		return 1
	}
	slices.SortFunc(all, func(a, b Near) int {
		return cmp.Or(cmp.Compare(refusing(b), refusing(a)), cmp.Compare(b.Used*a.Of, a.Used*b.Of),
			cmp.Compare(a.Limit, b.Limit), cmp.Compare(a.Key, b.Key))
	})
	return all
}
