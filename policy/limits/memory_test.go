package limits

import (
	"fmt"
	"math/big"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"milterd/integration/testkit"
	"milterd/policy"
)

// model counts as the algorithm is told in books: a bucket that leaks one in each
// interval, with fractions.
type model struct {
	level *big.Rat
	at    int64
}

// leak lets the bucket leak until a time.
func (m *model) leak(now, interval int64) {
	out := big.NewRat(now-m.at, interval)
	if m.level.Sub(m.level, out); m.level.Sign() < 0 {
		m.level.SetInt64(0)
	}
	m.at = now
}

func TestTheCounterEqualsANaiveModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var limits []*policy.Limit
		models := make(map[string][]*model)
		for i := range rapid.IntRange(1, 3).Draw(t, "limits") {
			l := &policy.Limit{Name: fmt.Sprint("l", i), Mode: rapid.SampledFrom([]policy.Mode{policy.ModeEnforce, policy.ModeShadow}).Draw(t, "mode"), By: policy.ByLogin}
			for j := range rapid.IntRange(1, 2).Draw(t, "rates") {
				l.Rates = append(l.Rates, policy.Rate{N: rapid.IntRange(1, 50).Draw(t, "n"), Period: 60 * (j + 1), Burst: rapid.IntRange(1, 20).Draw(t, "burst")})
			}
			limits = append(limits, l)
		}
		k, clock := keeper(t, Config{})
		now := int64(0)
		for range rapid.IntRange(1, 100).Draw(t, "messages") {
			step := rapid.Int64Range(0, 20_000_000).Draw(t, "pause")
			clock.Advance(time.Duration(step) * time.Microsecond)
			now += step
			login := rapid.SampledFrom([]string{"a", "b"}).Draw(t, "login")
			queries := ask(login, limits...)
			k.Count(t.Context(), login, queries)
			expect(t, models, queries, now)
		}
	})
}

// expect compares answers with the model's, and has it take what was taken.
func expect(t *rapid.T, models map[string][]*model, queries []policy.LimitQuery, now int64) {
	refused := false
	rooms := make([]bool, len(queries))
	for i, q := range queries {
		key := q.Limit.Name + " " + q.Key
		if models[key] == nil {
			for range q.Rates {
				models[key] = append(models[key], &model{level: new(big.Rat), at: now})
			}
		}
		rooms[i] = true
		for j, r := range q.Rates {
			m := models[key][j]
			m.leak(now, r.Interval())
			after := new(big.Rat).Add(m.level, big.NewRat(1, 1))
			rooms[i] = rooms[i] && after.Cmp(big.NewRat(int64(r.Burst), 1)) <= 0
		}
		if got := q.Answer.Wait == 0; got != rooms[i] {
			t.Fatalf("%s: room %t, want %t", key, got, rooms[i])
		}
		refused = refused || q.Enforced && !rooms[i]
	}
	for i, q := range queries {
		if !refused && rooms[i] {
			for _, m := range models[q.Limit.Name+" "+q.Key] {
				m.level.Add(m.level, big.NewRat(1, 1))
			}
		}
	}
}

func TestAHostileLoginCountsAsItselfAndNothingElse(t *testing.T) {
	l := byLogin(t, "l", "1/1h")
	logins := []string{"a", "a\x00", "a\x003600000", "l\x00a", "a:{b}", "a:{c}", "{a}", "a\r\n", "A\u2028", strings.Repeat("x", 10_000), strings.Repeat("x", 10_001), "*", ""}
	k, _ := keeper(t, Config{})
	for _, login := range logins {
		if n := send(k, 3, login, l); n != 1 {
			t.Errorf("%.20q: %d taken, want 1 of its own", login, n)
		}
	}
	if n := k.memory.Len(); n != len(logins) {
		t.Errorf("%d counts, want %d", n, len(logins))
	}
}

func TestNothingIsTakenUnlessAllEnforcedLimitsHaveRoom(t *testing.T) {
	small, large, shadow := byLogin(t, "small", "2/1h"), byLogin(t, "large", "10/1h", "100/24h"), byLogin(t, "shadow", "1/1h")
	shadow.Mode = policy.ModeShadow
	k, _ := keeper(t, Config{})
	if n := send(k, 20, "a", large, small, shadow); n != 2 {
		t.Errorf("%d taken, want 2", n)
	}
	queries := ask("a", large)
	k.Count(t.Context(), "a", queries)
	if a := queries[0].Answer; a.Used != 2 || a.Rate.String() != "10/1h" {
		t.Errorf("large: %d of %v used, want 2 of 10/1h", a.Used, a.Rate)
	}
}

func TestRoomComesBackOneByOne(t *testing.T) {
	l := byLogin(t, "l", "60/1h/3")
	k, clock := keeper(t, Config{})
	if n := send(k, 10, "a", l); n != 3 {
		t.Errorf("%d taken at once, want the burst of 3", n)
	}
	clock.Advance(59 * time.Second)
	if n := send(k, 1, "a", l); n != 0 {
		t.Error("taken before its time")
	}
	clock.Advance(time.Second)
	if n := send(k, 2, "a", l); n != 1 {
		t.Errorf("%d taken after a minute, want 1", n)
	}
	clock.Advance(time.Hour)
	if n := send(k, 10, "a", l); n != 3 {
		t.Errorf("%d taken after an hour, want the burst of 3", n)
	}
}

func TestAFullMemoryKeepsTheBusiest(t *testing.T) {
	l := byLogin(t, "l", "100/1h")
	k, _ := keeper(t, Config{Max: 1000})
	if n := send(k, 200, "busy", l); n != 100 {
		t.Fatalf("%d taken, want 100", n)
	}
	for i := range 5000 {
		send(k, 1, fmt.Sprint("invented", i), l)
	}
	if n := k.memory.Len(); n != 1000 {
		t.Errorf("%d counts, want 1000", n)
	}
	if n := send(k, 10, "busy", l); n != 0 {
		t.Errorf("%d taken from the busiest: it was forgotten", n)
	}
}

func TestSweepingRemovesWhatIsEmpty(t *testing.T) {
	short, long := byLogin(t, "short", "1/1s"), byLogin(t, "long", "1/1h")
	k, clock := keeper(t, Config{})
	for i := range 3000 {
		send(k, 1, fmt.Sprint("login", i), short)
	}
	send(k, 1, "other", long)
	if err := k.memory.Block("gone", time.Second); err != nil {
		t.Fatal(err)
	}
	clock.Advance(2 * time.Second)
	seen := 0
	k.memory.sweep(func(some []count) { seen += len(some) })
	if n := k.memory.Len(); n != 1 || seen != 1 || len(k.memory.blocks) != 0 {
		t.Errorf("%d counts, %d seen, %d blocks, want 1, 1, 0", n, seen, len(k.memory.blocks))
	}
}

// TestMemoryOfAMillionLogins states what a million of counts take, and that it is no more
// however much is sent.
func TestMemoryOfAMillionLogins(t *testing.T) {
	heap := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := heap()
	m := NewMemory(0, nil)
	var octets []uint64
	for range 2 {
		for i := range DefaultMax {
			m.Take("", []Bucket{{Key: newKey("l", 3600, fmt.Sprint("login", i)), Interval: 36_000_000, Burst: 100, N: 1, Enforced: true}})
		}
		octets = append(octets, (heap()-before)/DefaultMax)
	}
	t.Logf("%d octets a count", octets[0])
	if slices.Max(octets) > 64 || octets[1] > octets[0]+1 {
		t.Errorf("%v octets a count, want at most 64, and as many when more is sent", octets)
	}
	runtime.KeepAlive(m)
}

// TestAClockThatGoesBackDoesNotStopForThatLong: what is full stays full, and drains from then
// on.
func TestAClockThatGoesBackDoesNotStopForThatLong(t *testing.T) {
	l := byLogin(t, "l", "10/1h")
	k, clock := keeper(t, Config{})
	send(k, 10, "shin", l)
	clock.Advance(-24 * time.Hour)
	if n := send(k, 1, "shin", l); n != 0 {
		t.Error("forgotten")
	}
	clock.Advance(6 * time.Minute)
	if n := send(k, 5, "shin", l); n != 1 {
		t.Errorf("%d taken after the time of one", n)
	}
}

// TestAClockOfTheMachineThatJumpsChangesNothing: time that is read from the machine has a
// monotonic part, which goes on evenly.
func TestAClockOfTheMachineThatJumpsChangesNothing(t *testing.T) {
	m := NewMemory(0, nil)
	before, at := m.clock(), time.Now()
	if m.start.Round(0) == m.start || at.Round(0) == at {
		t.Fatal("no monotonic part")
	}
	if passed := m.clock() - before; passed < 0 || passed > testkit.Patience.Microseconds() {
		t.Errorf("%d passed", passed)
	}
}

// TestAnswersInAnyOrderTakeNothingBack: only one that has less than the shared store was told
// is news of a count that was begun anew.
func TestAnswersInAnyOrderTakeNothingBack(t *testing.T) {
	clock := testkit.NewClock(began)
	m := NewMemory(0, clock.Now)
	taken := func(left int64) []Bucket {
		return []Bucket{{Key: newKey("l", 10, "shin"), Interval: second, Burst: 10, N: 1, Left: left * second, Taken: true}}
	}
	holds := func(want int64) {
		t.Helper()
		if got := m.tell(taken(0), m.clock())[0].Left; got != want*second {
			t.Errorf("%d µs, expected %d s", got, want)
		}
	}
	asked, known := m.clock(), m.tell(taken(0), m.clock())
	clock.Advance(time.Second) // the answers take their time
	m.note(taken(5), known, asked)
	m.note(taken(3), known, asked)
	holds(5)
	known = m.tell(taken(0), m.clock())
	m.note(taken(1), known, m.clock())
	holds(2)
}
