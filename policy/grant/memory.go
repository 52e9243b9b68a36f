package grant

import (
	"container/heap"
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"
)

// Memory is the Store of one process: everything is gone with it.
//
// Go's times hold the monotonic clock as well, so a step of the machine's clock
// neither ends a grant nor makes it longer.
type Memory struct {
	max int
	now func() time.Time

	mu    sync.RWMutex
	addrs map[[16]byte]*held
	users map[string][]*held // a user's grants, the oldest login first
	queue byExpiry
}

// held is a grant in a Memory.
type held struct {
	Grant
	// queued is its place in the queue, negative once it is removed.
	queued int
}

// NewMemory makes a store for so many grants (default a million); now is its
// clock (default time.Now).
func NewMemory(max int, now func() time.Time) *Memory {
	if max <= 0 {
		max = 1_000_000
	}
	if now == nil {
		now = time.Now
	}
	return &Memory{max: max, now: now, addrs: make(map[[16]byte]*held), users: make(map[string][]*held)}
}

func (m *Memory) Put(_ context.Context, login Login, ttl time.Duration, maxPerUser int) (Change, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := m.now()
	var old Grant
	h, ok := m.addrs[login.Addr.As16()]
	if ok {
		old = h.Grant
		// A grant that has expired is not renewed, even before it is removed.
		ok = old.Expires.After(now)
	}
	change := Succeed(old, ok, login, now, ttl)
	if err := m.put(change.Grant); err != nil {
		return Change{}, err
	}
	if maxPerUser > 0 && change.Grant.User != "" {
		change.Displaced = m.limit(change.Grant.User, maxPerUser)
	}
	return change, nil
}

// Restore puts a grant back as it was, such as one read from a file, and says
// whether it still holds. A user's grants have to come in the order of their logins.
func (m *Memory) Restore(g Grant) (bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := m.now()
	left := g.Expires.Sub(now)
	if left <= 0 {
		return false, nil
	}
	// From here on the monotonic clock decides.
	g.Expires = now.Add(left)
	return true, m.put(g)
}

func (m *Memory) Get(_ context.Context, addr netip.Addr) (Grant, bool, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	h, ok := m.addrs[addr.As16()]
	if !ok || !h.Expires.After(m.now()) {
		return Grant{}, false, nil
	}
	return h.Grant, true, nil
}

func (m *Memory) Delete(_ context.Context, addr netip.Addr) (bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	h, ok := m.addrs[addr.As16()]
	if !ok || !h.Expires.After(m.now()) {
		return false, nil
	}
	m.remove(h)
	return true, nil
}

func (m *Memory) DeleteUser(_ context.Context, user string) ([]netip.Addr, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.limit(user, 0), nil
}

// listed is how many grants List copies at a time: logins wait only that long.
const listed = 1000

// List calls fn for each grant. The store is not locked meanwhile.
func (m *Memory) List(ctx context.Context, fn func(Grant) bool) error {
	m.mu.RLock()
	all := slices.Clone(m.queue)
	m.mu.RUnlock()
	buf := make([]Grant, 0, listed)
	for part := range slices.Chunk(all, listed) {
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("list relay grants: %w", err)
		}
		buf = m.unexpired(buf[:0], part)
		for _, g := range buf {
			if !fn(g) {
				return nil
			}
		}
	}
	return nil
}

// unexpired appends the grants that are still there.
func (m *Memory) unexpired(buf []Grant, some []*held) []Grant {
	m.mu.RLock()
	defer m.mu.RUnlock()
	now := m.now()
	for _, h := range some {
		if h.queued >= 0 && h.Expires.After(now) {
			buf = append(buf, h.Grant)
		}
	}
	return buf
}

// Expire removes grants that have expired, the oldest first.
func (m *Memory) Expire(_ context.Context, max int) ([]Grant, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := m.now()
	var gone []Grant
	for len(m.queue) > 0 && len(gone) < max && !m.queue[0].Expires.After(now) {
		gone = append(gone, m.queue[0].Grant)
		m.remove(m.queue[0])
	}
	return gone, nil
}

// Len is the number of grants, those included that have just expired.
func (m *Memory) Len() int {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return len(m.addrs)
}

// Known knows no one: a Memory can always be asked.
func (*Memory) Known(netip.Addr) bool { return false }
func (*Memory) Failures() uint64      { return 0 }
func (*Memory) Close() error          { return nil }

// put sets the grant of an address, as its user's newest.
func (m *Memory) put(g Grant) error {
	key := g.Addr.As16()
	h := m.addrs[key]
	switch {
	case h == nil && len(m.addrs) >= m.max:
		return ErrFull
	case h == nil:
		h = &held{Grant: g}
		m.addrs[key] = h
		heap.Push(&m.queue, h)
	default:
		m.leaveUser(h)
		h.Grant = g
		heap.Fix(&m.queue, h.queued)
	}
	if g.User != "" {
		// The name may be a part of a whole line of a log.
		h.User = strings.Clone(g.User)
		m.users[h.User] = append(m.users[h.User], h)
	}
	return nil
}

func (m *Memory) remove(h *held) {
	m.leaveUser(h)
	heap.Remove(&m.queue, h.queued)
	delete(m.addrs, h.Addr.As16())
	if len(m.addrs) == 0 {
		// Go's maps never shrink.
		m.addrs, m.users, m.queue = make(map[[16]byte]*held), make(map[string][]*held), nil
	}
}

// leaveUser takes a grant from its user, if it has one.
func (m *Memory) leaveUser(h *held) {
	if h.User == "" {
		return
	}
	theirs := m.users[h.User]
	if len(theirs) == 1 {
		delete(m.users, h.User)
		return
	}
	at := slices.Index(theirs, h)
	m.users[h.User] = slices.Delete(theirs, at, at+1)
}

// limit removes a user's grants with the oldest logins until keep are left. Expired
// ones do not count, and are left for Expire to report.
func (m *Memory) limit(user string, keep int) []netip.Addr {
	if len(m.users[user]) <= keep {
		return nil
	}
	now := m.now()
	theirs := slices.DeleteFunc(slices.Clone(m.users[user]), func(h *held) bool { return !h.Expires.After(now) })
	var gone []netip.Addr
	for ; len(theirs) > keep; theirs = theirs[1:] {
		gone = append(gone, theirs[0].Addr)
		m.remove(theirs[0])
	}
	return gone
}

type byExpiry []*held

func (q byExpiry) Len() int           { return len(q) }
func (q byExpiry) Less(i, j int) bool { return q[i].Expires.Before(q[j].Expires) }

func (q byExpiry) Swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	q[i].queued, q[j].queued = i, j
}

func (q *byExpiry) Push(x any) {
	h := x.(*held)
	h.queued = len(*q)
	*q = append(*q, h)
}

func (q *byExpiry) Pop() any {
	last := len(*q) - 1
	h := (*q)[last]
	(*q)[last] = nil
	*q = (*q)[:last]
	h.queued = -1
	return h
}
