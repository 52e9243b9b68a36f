package dnscheck

import (
	"cmp"
	"slices"
	"time"
)

// adopt gives a list the health of its zone.
func (h *Health) adopt(l *list) {
	h.mu.Lock()
	defer h.mu.Unlock()
	l.duration = h.duration.WithLabelValues(l.Name)
	for f := range families {
		if !l.asks(f) {
			continue
		}
		key := zoneKey{l.zone, f}
		zone := h.zones[key]
		if zone == nil {
			zone = &zoneHealth{zoneKey: key, health: h, list: l, probed: make(chan struct{})}
			h.zones[key] = zone
		}
		l.health[f] = zone
	}
}

// Watch probes these lists from now on, and no others; nil for none at all. The
// prober must be comparable. What is bypassed and is asked in another way than
// before, by another prober or with another key, is probed at once.
func (h *Health) Watch(lists *Lists, prober Prober) {
	var all []*list
	if lists != nil {
		all = lists.lists
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	keys := make(map[*zoneHealth]Secret)
	for key, zone := range h.zones {
		if slices.ContainsFunc(all, func(l *list) bool { return l.health[key.family] == zone }) {
			keys[zone] = zone.list.Key
		} else {
			// Lists of sessions that began before may still hold it; it stays as it
			// is for them.
			zone.dropped = true
			zone.setup++
			zone.firstProbeOver()
			delete(h.zones, key)
		}
		zone.watched = false
	}
	for _, l := range all {
		for _, zone := range l.health {
			if zone == nil {
				continue
			}
			if zone.dropped {
				// These lists are back, as after a change that was taken back.
				zone.dropped = false
				h.zones[zone.zoneKey], keys[zone] = zone, zone.list.Key
			}
			// Of several lists in one zone the most demanding rules apply.
			if !zone.watched || l.NoProbe || l.OnTemporary == TempFail && !zone.list.NoProbe {
				zone.list, zone.watched = l, true
			}
			if zone.list.NoProbe && !zone.isBypassed() {
				zone.proved.Store(true)
			}
		}
	}
	for zone, key := range keys {
		if zone.prober != nil && (key != zone.list.Key || zone.prober != prober) {
			zone.setup++
			zone.recheck()
		}
		zone.prober = prober
	}
	h.wakeRun()
}

// Recheck probes all lists that are bypassed at once, and has those that must
// not be probed asked again. It is for when something may have been mended.
func (h *Health) Recheck() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, zone := range h.zones {
		zone.recheck()
	}
	h.wakeRun()
}

// recheck makes the probe of a bypassed list due. One under way began before what may
// have been mended, and would put off the next.
func (z *zoneHealth) recheck() {
	if z.bypassed.Load() != nil {
		z.setup++
		z.next = time.Time{}
	}
}

// ListHealth is how a list is, for a status page or a gauge.
type ListHealth struct {
	List string
	// For is IPv4, IPv6 or names.
	For string
	// Problem is why the list is bypassed, empty while it works.
	Problem string
}

// States are the lists being watched and how they are, sorted.
func (h *Health) States() []ListHealth {
	h.mu.Lock()
	defer h.mu.Unlock()
	var states []ListHealth
	for _, zone := range h.zones {
		if !zone.watched {
			continue
		}
		s := ListHealth{List: zone.list.Name, For: zone.family.String()}
		if problem := zone.bypassed.Load(); problem != nil {
			s.Problem = *problem
		}
		states = append(states, s)
	}
	slices.SortFunc(states, func(a, b ListHealth) int {
		return cmp.Or(cmp.Compare(a.List, b.List), cmp.Compare(a.For, b.For))
	})
	return states
}
