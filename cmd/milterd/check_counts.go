package main

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// mostKinds bounds the kinds that are counted apart: an access table may have any
// number of lines. mostListed is how many of them are shown.
const (
	mostKinds  = 10_000
	mostListed = 40
)

// kindOf is something that results are counted under. String is how a summary
// shows it.
type kindOf[K any] interface {
	comparable
	compare(other K) int
	String() string
}

// counts are numbers of results by kind; others are those beyond mostKinds.
type counts[K kindOf[K]] struct {
	kinds  map[K]int
	others int
}

func newCounts[K kindOf[K]]() counts[K] { return counts[K]{kinds: make(map[K]int)} }

func (c *counts[K]) reset() {
	clear(c.kinds)
	c.others = 0
}

func (c *counts[K]) add(kind K, n int) {
	if _, known := c.kinds[kind]; !known && len(c.kinds) >= mostKinds {
		c.others += n
		return
	}
	c.kinds[kind] += n
}

// merge adds the counts of a block of sessions. Blocks come in their order, so the
// kinds that are counted apart are always the same.
func (c *counts[K]) merge(block *counts[K]) {
	c.others += block.others
	for _, kind := range slices.SortedFunc(maps.Keys(block.kinds), K.compare) {
		c.add(kind, block.kinds[kind])
	}
}

// list writes a line for each kind, the most frequent first.
func (c *counts[K]) list(b *strings.Builder) {
	kinds := slices.SortedFunc(maps.Keys(c.kinds), func(x, y K) int {
		return cmp.Or(cmp.Compare(c.kinds[y], c.kinds[x]), x.compare(y))
	})
	rest := c.others
	for i, kind := range kinds {
		if i >= mostListed {
			rest += c.kinds[kind]
			continue
		}
		fmt.Fprintf(b, "%10d  %s\n", c.kinds[kind], kind)
	}
	if rest > 0 {
		fmt.Fprintf(b, "%10d  of other kinds\n", rest)
	}
}
