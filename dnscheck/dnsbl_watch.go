package dnscheck

import (
	"reflect"
	"slices"
	"strings"
	"time"
)

// adopt gives a list the state of its zone.
func (h *Health) adopt(l *list) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, kind := range l.kinds() {
		key := healthKey{l.zone, kind}
		state := h.states[key]
		if state == nil {
			state = &zoneState{key: key, health: h, list: l}
			h.states[key] = state
		}
		l.health[kind] = state
	}
}

// Watch probes these lists from now on, and no others; nil for none at all. The
// resolver is one with their keys, as WithKeys makes it, and not a session's
// Recorder. What is bypassed and is asked in another way than before, by another
// resolver or with another key, is probed at once.
func (h *Health) Watch(lists *Lists, resolver Resolver) {
	var all []*list
	if lists != nil {
		all = lists.lists
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	old := make(map[*zoneState]*list)
	for key, state := range h.states {
		if !slices.ContainsFunc(all, func(l *list) bool { return l.health[key.kind] == state }) {
			// Lists of sessions that began before may still hold the state; it
			// stays as it is for them.
			state.watched, state.dropped = false, true
			state.setup++
			delete(h.states, key)
			continue
		}
		old[state] = state.list
		state.watched = false
	}
	for _, l := range all {
		for _, kind := range l.kinds() {
			state := l.health[kind]
			if state != nil && state.dropped {
				// These lists are back, as after a change that was taken back.
				state.dropped = false
				h.states[state.key], old[state] = state, state.list
			}
			// Of several lists in one zone the most demanding rules apply.
			if state != nil && (!state.watched || l.NoProbe || l.OnTemporary == TempFail && !state.list.NoProbe) {
				state.list, state.watched = l, true
			}
		}
	}
	now := h.options.Clock.Now()
	for state, before := range old {
		switch {
		case state.resolver == nil:
			// The first probes come soon, not all at once.
			state.next = now.Add(h.jitter(time.Second))
		case before.Key != state.list.Key || !sameResolver(state.resolver, resolver):
			state.setup++
			state.recheck(now)
		}
		state.resolver = resolver
	}
	h.poke()
}

// Recheck probes all lists that are bypassed at once, and has those that must
// not be probed asked again: for an administrator who has mended something.
func (h *Health) Recheck() {
	h.mu.Lock()
	defer h.mu.Unlock()
	now := h.options.Clock.Now()
	for _, state := range h.states {
		state.recheck(now)
	}
	h.poke()
}

// recheck makes the probe of a bypassed list due.
func (s *zoneState) recheck(now time.Time) {
	if s.bypassed.Load() != nil {
		s.next = now
	}
}

// sameResolver says that two resolvers ask the same servers in the same way, up
// to the keys of lists.
func sameResolver(a, b Resolver) bool {
	if k, ok := a.(*keyed); ok {
		a = k.resolver
	}
	if k, ok := b.(*keyed); ok {
		b = k.resolver
	}
	// A resolver may be of a type that Go cannot compare.
	return a != nil && b != nil && reflect.TypeOf(a).Comparable() && reflect.TypeOf(b).Comparable() && a == b
}

// ListHealth is the state of a list, for a status page or a gauge.
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
	for _, state := range h.states {
		if !state.watched {
			continue
		}
		s := ListHealth{List: state.list.Name, For: state.key.kind.String()}
		if problem := state.bypassed.Load(); problem != nil {
			s.Problem = *problem
		}
		states = append(states, s)
	}
	slices.SortFunc(states, func(a, b ListHealth) int {
		return strings.Compare(a.List+" "+a.For, b.List+" "+b.For)
	})
	return states
}
