package grant

import (
	"container/heap"
	"context"
	"fmt"
	"net/netip"
	"sync"
	"time"
)

// DefaultMax is how many grants a Memory holds where nothing else is said.
const DefaultMax = 1_000_000

// Memory is the Store of one process: everything is gone with it.
//
// Its records have no pointers in them, and neither has the index, so that the
// garbage collector has only the names of users to follow. Times are kept relative to when the
// store was made, so that a step of the machine's clock neither
// ends grants nor makes them longer.
type Memory struct {
	max  int
	now  func() time.Time
	base time.Time

	mu      sync.RWMutex
	index   map[[16]byte]uint32 // the place in records
	records []record
	free    []uint32 // places in records that are not in use
	queue   []uint32 // a heap of places by expiry
	users   userTable
	sources []string // the few names of sources
}

// record is one grant.
type record struct {
	addr           [16]byte
	since, expires time.Duration // from base
	queued         uint32        // the place in queue
	user           uint32        // in users.entries; 0 is nobody
	newer, older   uint32        // the next of the user's grants, by login: place+1, or 0
	source         uint16
}

// maxSources bounds the names of sources that are told apart.
const maxSources = 1000

// maxPlaces bounds the records, whose places are 32 bits wide.
const maxPlaces = 1 << 30

// NewMemory makes a store for so many grants (default DefaultMax); now is its
// clock (default time.Now).
func NewMemory(max int, now func() time.Time) *Memory {
	if max <= 0 {
		max = DefaultMax
	}
	max = min(max, maxPlaces)
	if now == nil {
		now = time.Now
	}
	return &Memory{
		max: max, now: now, base: now(),
		index: make(map[[16]byte]uint32),
		users: newUserTable(),
	}
}

// Put grants or renews.
func (m *Memory) Put(_ context.Context, login Login, ttl time.Duration, maxPerUser int) (Change, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := m.now()
	var old Grant
	place, ok := m.index[login.Addr.As16()]
	if ok {
		old = m.grant(&m.records[place])
		// What has expired is not renewed, even before it is removed.
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
// whether it still holds.
func (m *Memory) Restore(g Grant) (bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !g.Expires.After(m.now()) {
		return false, nil
	}
	return true, m.put(g)
}

// Get finds the grant of an address.
func (m *Memory) Get(_ context.Context, addr netip.Addr) (Grant, bool, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	place, ok := m.index[addr.As16()]
	if !ok {
		return Grant{}, false, nil
	}
	g := m.grant(&m.records[place])
	if !g.Expires.After(m.now()) {
		return Grant{}, false, nil
	}
	return g, true, nil
}

// Delete ends the grant of an address.
func (m *Memory) Delete(_ context.Context, addr netip.Addr) (bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	place, ok := m.index[addr.As16()]
	if !ok || !m.at(m.records[place].expires).After(m.now()) {
		return false, nil
	}
	m.remove(place)
	return true, nil
}

// DeleteUser ends all grants of a user.
func (m *Memory) DeleteUser(_ context.Context, user string) ([]netip.Addr, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.limit(user, 0), nil
}

// listed is how many grants List copies at a time, so that nobody waits for long
// while it has the lock.
const listed = 1000

// List calls fn for each grant. The store is not locked meanwhile.
func (m *Memory) List(ctx context.Context, fn func(Grant) bool) error {
	buf := make([]Grant, 0, listed)
	for from := 0; ; from += listed {
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("list relay grants: %w", err)
		}
		var more bool
		buf, more = m.page(buf[:0], from)
		for _, g := range buf {
			if !fn(g) {
				return nil
			}
		}
		if !more {
			return nil
		}
	}
}

// page appends the grants in the records at from and behind it.
func (m *Memory) page(buf []Grant, from int) (grants []Grant, more bool) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	now := m.now()
	to := min(from+listed, len(m.records))
	for place := from; place < to; place++ {
		r := &m.records[place]
		if !m.inUse(uint32(place)) {
			continue
		}
		if g := m.grant(r); g.Expires.After(now) {
			buf = append(buf, g)
		}
	}
	return buf, to < len(m.records)
}

// Expire removes grants that have expired, the oldest first.
func (m *Memory) Expire(_ context.Context, max int) ([]Grant, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := m.now()
	var gone []Grant
	for len(m.queue) > 0 && len(gone) < max {
		g := m.grant(&m.records[m.queue[0]])
		if g.Expires.After(now) {
			break
		}
		gone = append(gone, g)
		m.remove(m.queue[0])
	}
	return gone, nil
}

// Len is the number of grants, those included that have just expired.
func (m *Memory) Len() int {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return len(m.index)
}

// Close does nothing.
func (m *Memory) Close() error { return nil }

// put writes a grant into its record.
func (m *Memory) put(g Grant) error {
	key := g.Addr.As16()
	place, ok := m.index[key]
	if !ok {
		if len(m.index) >= m.max {
			return ErrFull
		}
		place = m.place()
		m.index[key] = place
		m.records[place] = record{addr: key}
	}
	r := &m.records[place]
	m.users.unlink(m.records, place)
	r.since, r.expires = g.Since.Sub(m.base), g.Expires.Sub(m.base)
	r.source = m.sourceNumber(g.Source)
	m.users.link(m.records, place, g.User)
	if ok {
		heap.Fix((*byExpiry)(m), int(r.queued))
	} else {
		heap.Push((*byExpiry)(m), place)
	}
	return nil
}

// place is a record that is not in use.
func (m *Memory) place() uint32 {
	if n := len(m.free); n > 0 {
		place := m.free[n-1]
		m.free = m.free[:n-1]
		return place
	}
	m.records = append(m.records, record{})
	return uint32(len(m.records) - 1)
}

// remove takes a record out of everything.
func (m *Memory) remove(place uint32) {
	r := &m.records[place]
	m.users.unlink(m.records, place)
	heap.Remove((*byExpiry)(m), int(r.queued))
	delete(m.index, r.addr)
	*r = record{}
	m.free = append(m.free, place)
	if len(m.index) == 0 {
		// A peak is not held on to for ever.
		m.index, m.records, m.free, m.queue = make(map[[16]byte]uint32), nil, nil, nil
		m.users = newUserTable()
	}
}

// inUse says whether a record holds a grant: only then the queue leads back to it.
func (m *Memory) inUse(place uint32) bool {
	queued := m.records[place].queued
	return int(queued) < len(m.queue) && m.queue[queued] == place
}

// limit removes a user's grants with the oldest logins until keep are left. What has
// expired does not count, and is left for Expire to report.
func (m *Memory) limit(user string, keep int) []netip.Addr {
	if m.users.count(user) <= keep {
		return nil
	}
	now := m.now()
	var held []uint32
	for next := m.users.oldest(user); next != 0; next = m.records[next-1].newer {
		if m.at(m.records[next-1].expires).After(now) {
			held = append(held, next-1)
		}
	}
	var gone []netip.Addr
	for ; len(held) > keep; held = held[1:] {
		gone = append(gone, netip.AddrFrom16(m.records[held[0]].addr).Unmap())
		m.remove(held[0])
	}
	return gone
}

// grant is what a record says.
func (m *Memory) grant(r *record) Grant {
	return Grant{
		Addr:    netip.AddrFrom16(r.addr).Unmap(),
		User:    m.users.entries[r.user].name,
		Source:  m.sources[r.source],
		Since:   m.at(r.since),
		Expires: m.at(r.expires),
	}
}

func (m *Memory) at(d time.Duration) time.Time { return m.base.Add(d) }

// sourceNumber is the number of a source's name. There are a few, from the
// configuration; what comes after maxSources is not told apart.
func (m *Memory) sourceNumber(name string) uint16 {
	for i, s := range m.sources {
		if s == name {
			return uint16(i)
		}
	}
	switch len(m.sources) {
	case maxSources:
		return maxSources - 1
	case maxSources - 1:
		name = "other"
	}
	m.sources = append(m.sources, name)
	return uint16(len(m.sources) - 1)
}

// byExpiry makes a Memory's queue a container/heap.
type byExpiry Memory

func (m *byExpiry) Len() int { return len(m.queue) }

func (m *byExpiry) Less(i, j int) bool {
	return m.records[m.queue[i]].expires < m.records[m.queue[j]].expires
}

func (m *byExpiry) Swap(i, j int) {
	m.queue[i], m.queue[j] = m.queue[j], m.queue[i]
	m.records[m.queue[i]].queued, m.records[m.queue[j]].queued = uint32(i), uint32(j)
}

func (m *byExpiry) Push(x any) {
	place := x.(uint32)
	m.records[place].queued = uint32(len(m.queue))
	m.queue = append(m.queue, place)
}

func (m *byExpiry) Pop() any {
	last := len(m.queue) - 1
	place := m.queue[last]
	m.queue = m.queue[:last]
	return place
}
