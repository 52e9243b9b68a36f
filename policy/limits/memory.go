package limits

import (
	"errors"
	"slices"
	"strings"
	"sync"
	"time"

	"milterd/policy"
)

// The bounds of a Memory.
const (
	DefaultMax = 1_000_000
	maxBlocks  = 10_000
	// maxLogin is the longest login that can be blocked, in octets.
	maxLogin = 1024
)

// ErrTooManyBlocks is returned if there is no room for another blocked login.
var ErrTooManyBlocks = errors.New("too many logins are blocked")

// Memory keeps the counts of one host, and the logins that are blocked on it. It is safe
// for concurrent use.
type Memory struct {
	max   int
	now   func() time.Time
	start time.Time

	mu     sync.Mutex
	counts counts
	// alone is what was taken of some of these counts while the shared store was away, in
	// microseconds.
	alone map[Key]int64
	// blocks is until when logins are blocked, and untoldBlocks those of which the shared
	// store has not heard.
	blocks       map[string]int64
	untoldBlocks map[string]bool
	// changes counts what a snapshot would tell.
	changes uint64
}

// NewMemory makes a Memory for so many counts (default DefaultMax); now is its clock
// (default time.Now).
func NewMemory(max int, now func() time.Time) *Memory {
	if max <= 0 {
		max = DefaultMax
	}
	if now == nil {
		now = time.Now
	}
	return &Memory{max: max, now: now, start: now(), counts: counts{make(map[Key]int64), make(map[Key]int64)}, alone: make(map[Key]int64), blocks: make(map[string]int64), untoldBlocks: make(map[string]bool)}
}

// clock is the time in microseconds. It goes on evenly, whatever is done to the
// machine's clock.
func (m *Memory) clock() int64 { return m.start.UnixMicro() + m.now().Sub(m.start).Microseconds() }

// Take answers the buckets, unless the login is blocked: blocked is then for how much
// longer, in microseconds.
func (m *Memory) Take(login string, all []Bucket) (blocked int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.take(login, all)
}

// takeAlone is Take while the shared store is away.
func (m *Memory) takeAlone(login string, all []Bucket) (blocked int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	blocked = m.take(login, all)
	for i := range all {
		if b := &all[i]; b.Taken {
			m.alone[b.Key] += b.N * b.Interval
		}
	}
	return blocked
}

func (m *Memory) take(login string, all []Bucket) (blocked int64) {
	now := m.clock()
	if b := m.block(login, now); b.Left > 0 {
		return b.Left
	}
	for i := range all {
		b := &all[i]
		b.Left = max(m.counts.empty(b.Key)-now, 0)
		if full := b.full(); b.Left > full {
			b.Left = full
			m.set(b.Key, now+full, now, b.Invented)
		}
	}
	decide(all)
	for i := range all {
		if b := &all[i]; b.Taken {
			m.set(b.Key, now+b.after(), now, b.Invented)
		}
	}
	return 0
}

// block is that of a login: by itself, or as one that has no realm.
func (m *Memory) block(login string, now int64) Block {
	user, _, _ := strings.Cut(login, "@")
	for _, name := range []string{login, user} {
		if until := m.blocks[name]; until > now {
			return Block{name, until - now, m.untoldBlocks[name]}
		}
	}
	return Block{}
}

// blockOf is the block of a login.
func (m *Memory) blockOf(login string) Block {
	now := m.clock()
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.block(login, now)
}

// Count answers queries by what is kept here.
func (m *Memory) Count(queries []policy.LimitQuery) {
	all := buckets(queries)
	m.Take("", all)
	answer(queries, all)
}

// note keeps what a server has answered that was told what was known, and when. The time is
// that of the question, so that what is kept is never more than the server has.
func (m *Memory) note(all []Bucket, known []Known, asked int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for i := range all {
		b := &all[i]
		empty := asked + b.after()
		if b.Left >= known[i].Left {
			// Answers come in any order. One that is less than the server was told means that
			// the count was begun anew.
			empty = max(empty, m.counts.empty(b.Key))
		}
		m.set(b.Key, empty, asked, b.Invented)
	}
}

// tell is what is known here of each bucket's count. What was taken alone is told once.
func (m *Memory) tell(all []Bucket, now int64) []Known {
	m.mu.Lock()
	defer m.mu.Unlock()
	known := make([]Known, len(all))
	for i := range all {
		key := all[i].Key
		known[i] = Known{max(m.counts.empty(key)-now, 0), m.alone[key]}
		delete(m.alone, key)
	}
	return known
}

// untold keeps what was taken alone for another time.
func (m *Memory) untold(all []Bucket, known []Known) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for i, k := range known {
		if m.counts.empty(all[i].Key) > 0 && k.Alone > 0 {
			m.alone[all[i].Key] += k.Alone
		}
	}
}

// remove forgets a count.
func (m *Memory) remove(key Key) {
	m.counts.remove(key)
	delete(m.alone, key)
}

// set keeps a count. If there is no room, another one makes way.
func (m *Memory) set(key Key, empty, now int64, invented bool) {
	if m.counts.empty(key) == 0 && m.counts.len() >= m.max {
		m.evict(now)
	}
	m.counts.set(key, empty, invented)
	m.changes++
}

// counts is when each count will be empty, in microseconds of Unix time. The maps have no
// pointers, so that a million of them cost the garbage collector nothing.
type counts struct{ kept, invented map[Key]int64 }

// empty is 0 for a count that there is not.
func (c *counts) empty(key Key) int64 {
	if empty, ok := c.kept[key]; ok {
		return empty
	}
	return c.invented[key]
}

func (c *counts) set(key Key, empty int64, invented bool) {
	to, from := c.kept, c.invented
	if invented {
		to, from = from, to
	}
	delete(from, key)
	to[key] = empty
}

func (c *counts) remove(key Key) {
	delete(c.kept, key)
	delete(c.invented, key)
}

func (c *counts) len() int { return len(c.kept) + len(c.invented) }

// evicted is how many counts are looked at to find one that makes way: one that is empty
// soon, of those for invented names if there are any.
const evicted = 8

func (m *Memory) evict(now int64) {
	among := m.counts.invented
	if len(among) == 0 {
		among = m.counts.kept
	}
	var least Key
	soonest, seen := int64(-1), 0
	for key, empty := range among {
		if empty <= now {
			m.remove(key)
			return
		}
		if soonest < 0 || empty < soonest {
			least, soonest = key, empty
		}
		if seen++; seen == evicted {
			break
		}
	}
	m.remove(least)
}

// Len is the number of counts.
func (m *Memory) Len() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.counts.len()
}

// has reports whether there is any of these counts.
func (m *Memory) has(keys []Key) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.ContainsFunc(keys, func(key Key) bool { return m.counts.empty(key) > 0 })
}

// forget makes counts empty.
func (m *Memory) forget(keys []Key) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, key := range keys {
		m.remove(key)
	}
	m.changes++
}

// Block blocks a login for a time.
func (m *Memory) Block(login string, length time.Duration) error {
	now := m.clock()
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, ok := m.blocks[login]; !ok && len(m.blocks) >= maxBlocks {
		return ErrTooManyBlocks
	}
	delete(m.untoldBlocks, login)
	if until := now + length.Microseconds(); m.blocks[login] != until {
		m.blocks[login] = until
		m.changes++
	}
	return nil
}

// BlockAlone is Block while the shared store is away.
func (m *Memory) BlockAlone(login string, length time.Duration) error {
	err := m.Block(login, length)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.untoldBlocks[login] = err == nil
	return err
}

// Unblock ends the block of a login, if there is one.
func (m *Memory) Unblock(login string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	until, ok := m.blocks[login]
	if ok {
		delete(m.blocks, login)
		delete(m.untoldBlocks, login)
		m.changes++
	}
	return ok && until > m.clock()
}

// Blocks are the blocked logins, and for how much longer.
func (m *Memory) Blocks() map[string]time.Duration {
	now := m.clock()
	m.mu.Lock()
	defer m.mu.Unlock()
	all := make(map[string]time.Duration, len(m.blocks))
	for login, until := range m.blocks {
		if until > now {
			all[login] = time.Duration(until-now) * time.Microsecond
		}
	}
	return all
}

// swept is how many counts are looked at before mail gets a turn.
const swept = 1000

// count is one that is not empty yet, and the time it has left.
type count struct {
	key      Key
	left     int64
	invented bool
}

// sweep calls each with all counts that are not empty yet, some at a time; mail does not
// wait for it. It removes counts that are empty, and blocks that are over.
func (m *Memory) sweep(each func([]count)) {
	now := m.clock()
	m.mu.Lock()
	defer m.mu.Unlock()
	for login, until := range m.blocks {
		if until <= now {
			delete(m.blocks, login)
			delete(m.untoldBlocks, login)
		}
	}
	n, some := 0, make([]count, 0, swept)
	for i, counts := range []map[Key]int64{m.counts.kept, m.counts.invented} {
		for key, empty := range counts {
			if empty <= now {
				m.remove(key)
			} else {
				some = append(some, count{key, empty - now, i == 1})
			}
			if n++; n%swept == 0 {
				m.mu.Unlock()
				each(some)
				some = some[:0]
				m.mu.Lock()
			}
		}
	}
	m.mu.Unlock()
	each(some)
	m.mu.Lock()
}

// changed counts the changes so far.
func (m *Memory) changed() uint64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.changes
}
