package tally

import "container/heap"

// table finds the most frequent names of a stream with a fixed number of counters: the
// Space-Saving algorithm (Metwally, Agrawal and El Abbadi, ICDT 2005). A name that there
// is no room for takes the place of the least frequent one and goes on from its count, so
// a count is never too low, and too high by over at most. Every name with more than one
// size-th of all is in it.
type table struct {
	items map[string]*item
	order leastFirst
}

type item struct {
	name        string
	count, over uint64
	// example is of the last line that counted, as Tally.exemplify makes it.
	example []byte
	place   int
}

func (t *table) clear() { t.items, t.order = nil, nil }

// add counts a name n times, with room for size names. It keeps copies only.
func (t *table) add(name, example []byte, n uint64, size int) {
	it := t.items[string(name)]
	switch {
	case it != nil:
	case len(t.order) < size:
		if t.items == nil {
			t.items = make(map[string]*item)
		}
		it = &item{name: string(name), place: len(t.order)}
		t.items[it.name] = it
		t.order = append(t.order, it)
	default:
		it = t.order[0]
		delete(t.items, it.name)
		it.name, it.over = string(name), it.count
		t.items[it.name] = it
	}
	it.count += n
	it.example = append(it.example[:0], example...)
	heap.Fix(&t.order, it.place)
}

// leastFirst is a heap.Interface.
type leastFirst []*item

func (l leastFirst) Len() int           { return len(l) }
func (l leastFirst) Less(i, j int) bool { return l[i].count < l[j].count }
func (l leastFirst) Swap(i, j int) {
	l[i], l[j] = l[j], l[i]
	l[i].place, l[j].place = i, j
}

// Push and Pop are there for heap.Interface alone: items change their places only.
func (l leastFirst) Push(any) {}
func (l leastFirst) Pop() any { return nil }
