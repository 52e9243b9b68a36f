package dryrun

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
)

// mostKinds bounds the kinds that are counted apart: an access table may have any
// number of lines. mostListed is how many of them are shown.
const (
	mostKinds  = 10_000
	mostListed = 40
)

// counts are numbers of results by kind; others are those beyond mostKinds.
type counts struct {
	kinds  map[kind]int
	others int
}

func newCounts() counts { return counts{kinds: make(map[kind]int)} }

func (c *counts) reset() {
	clear(c.kinds)
	c.others = 0
}

func (c *counts) add(k kind, n int) {
	if _, known := c.kinds[k]; !known && len(c.kinds) >= mostKinds {
		c.others += n
		return
	}
	c.kinds[k] += n
}

// merge adds the counts of a block of sessions. Blocks come in their order, so the
// kinds that are counted apart are always the same.
func (c *counts) merge(block *counts) {
	c.others += block.others
	for _, k := range slices.SortedFunc(maps.Keys(block.kinds), kind.compare) {
		c.add(k, block.kinds[k])
	}
}

// list writes a line for each kind, the most frequent first.
func (c *counts) list(w io.Writer) {
	kinds := slices.SortedFunc(maps.Keys(c.kinds), func(x, y kind) int {
		return cmp.Or(cmp.Compare(c.kinds[y], c.kinds[x]), x.compare(y))
	})
	rest := c.others
	for i, k := range kinds {
		if i >= mostListed {
			rest += c.kinds[k]
			continue
		}
		fmt.Fprintf(w, "%10d  %s\n", c.kinds[k], k)
	}
	if rest > 0 {
		fmt.Fprintf(w, "%10d  of other kinds\n", rest)
	}
}
