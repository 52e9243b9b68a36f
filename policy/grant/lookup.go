package grant

import (
	"context"
	"log/slog"
	"net/netip"
	"sync"
	"time"
)

// State says whether an address holds a grant.
type State uint8

const (
	// Temporary: the store cannot be asked for now.
	Temporary State = iota
	// None: it holds none.
	None
	// Held: it holds one.
	Held
)

func (s State) String() string { return [...]string{"temporary", "none", "held"}[s] }

// Grant says whether a client may relay now, and by which grant. It is asked while
// the client waits.
func (k *Keeper) Grant(ctx context.Context, addr netip.Addr) (Grant, State) {
	k.count.lookups.Add(1)
	addr = Canonical(addr)
	r := k.rules.Load()
	if !addr.IsValid() || r.networks.excluded(addr) != "" {
		return Grant{}, None
	}
	g, ok, err := k.store.Get(ctx, addr)
	if k.stored(ctx, err) != nil {
		k.count.temporary.Add(1)
		return Grant{}, Temporary
	}
	if !ok {
		return Grant{}, None
	}
	k.count.used.Add(1)
	if k.uses.first(addr, k.now()) {
		k.log(ctx, slog.LevelInfo, "relay grant used", g.Addr, g.User, g.Source, slog.Time("since", g.Since), slog.Time("expires", g.Expires))
	}
	return g, Held
}

// Known says whether an address was seen to hold an unexpired grant when the store
// could last be asked. It asks for nothing, and is for clients about which Grant says
// Temporary: one that had a grant a moment ago is worth a temporary failure, a stranger
// is not. A store on this machine can always be asked, so it knows no one in this way.
func (k *Keeper) Known(addr netip.Addr) bool {
	addr = Canonical(addr)
	return addr.IsValid() && k.rules.Load().networks.excluded(addr) == "" && k.store.Known(addr)
}

// excluded says why an address can get no grant; empty if it can.
func (k *Keeper) excluded(r *rules, addr netip.Addr) string {
	if why := r.networks.excluded(addr); why != "" {
		return why
	}
	if r.own != nil {
		inner, _ := embedded(addr)
		for _, own := range r.own() {
			if own = Canonical(own); own == addr || own == inner {
				return "an address of this machine"
			}
		}
	}
	return ""
}

// The bounds of a once: how long it remembers, and how many addresses.
const (
	onceWindow = time.Minute
	onceAddrs  = 10_000
)

// once tells the first time for an address in a window of time. Beyond its bound of
// addresses it tells of no others until the next window: so long a log is not worth
// its memory.
type once struct {
	mu    sync.Mutex
	until time.Time
	seen  map[netip.Addr]struct{}
}

func (o *once) first(addr netip.Addr, now time.Time) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !now.Before(o.until) {
		o.seen, o.until = make(map[netip.Addr]struct{}), now.Add(onceWindow)
	}
	if _, ok := o.seen[addr]; ok || len(o.seen) >= onceAddrs {
		return false
	}
	o.seen[addr] = struct{}{}
	return true
}
