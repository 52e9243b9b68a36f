package access

import (
	"fmt"
	"hash/maphash"
	"net/netip"
	"strings"

	"github.com/gaissmai/bart"
)

// Table is an immutable access table. It keeps the file's text with its keys
// folded to lower case, and an index of offsets into it that holds no pointers,
// so that the garbage collector has nothing to follow however long the table.
// A nil *Table is an empty one. It is safe for concurrent use.
type Table struct {
	name string
	text string
	// lines finds the number of a line in the text.
	lines lineIndex
	seed  maphash.Seed
	// slots is an open-addressing hash table with linear probing; its length
	// is a power of two.
	slots []slot
	len   int
	// networks holds the prefix-length keys by tag ("" for untagged ones).
	networks map[string]*bart.Table[offset]
	// nets counts the entries of networks.
	nets int
	// leftOut counts the lines that hold no entry.
	leftOut int
	// mtas has the first line of each tag that is sendmail's alone.
	mtas map[string]int
}

// offset is where in the text an entry's line begins, plus one: zero is no entry.
type offset uint32

// slot locates one entry. Half of its key's hash tells nearly all other keys apart
// without a look at the text.
type slot struct {
	offset offset
	hash   uint32
}

// Name is the name the table was parsed under, usually its file.
func (t *Table) Name() string {
	if t == nil {
		return ""
	}
	return t.name
}

// Len is the number of entries.
func (t *Table) Len() int {
	if t == nil {
		return 0
	}
	return t.len + t.nets
}

// MTATags are the tags of entries that only sendmail's own rules look up (GreetPause:,
// TLS_Clt:, …), in lower case, each with the line of its first entry.
func (t *Table) MTATags() map[string]int {
	if t == nil {
		return nil
	}
	return t.mtas
}

// LeftOut is the number of lines that should hold an entry and hold none that could
// be used.
func (t *Table) LeftOut() int {
	if t == nil {
		return 0
	}
	return t.leftOut
}

// IndexBytes is the memory the index of sendmail keys takes beyond the text.
func (t *Table) IndexBytes() int {
	if t == nil {
		return 0
	}
	return len(t.slots) * 8
}

// get finds the entry whose key is tag and rest joined by a colon, or rest alone
// for an empty tag. Both must be in lower case.
func (t *Table) get(tag, rest string) (value string, line int, ok bool) {
	if t == nil || t.len == 0 {
		return "", 0, false
	}
	var buf [128]byte
	key := append(buf[:0], tag...)
	if tag != "" {
		key = append(key, ':')
	}
	key = append(key, rest...)
	found := t.find(key)
	if found == 0 {
		return "", 0, false
	}
	return t.value(found), t.line(found), true
}

// find returns the offset of a key, or zero.
func (t *Table) find(key []byte) offset {
	hash := maphash.Bytes(t.seed, key)
	mask := uint64(len(t.slots) - 1)
	for i := hash & mask; ; i = (i + 1) & mask {
		s := t.slots[i]
		if s.offset == 0 || s.hash == uint32(hash>>32) && t.key(s.offset) == string(key) {
			return s.offset
		}
	}
}

// key is the key of an entry, without the white space behind it.
func (t *Table) key(at offset) string {
	from := t.text[at-1:]
	return from[:keyEnd(from)]
}

// value is the right-hand side of an entry, without surrounding space. It is a
// copy, so that what notes it does not keep the whole text in memory.
func (t *Table) value(at offset) string {
	line, _, _ := strings.Cut(t.text[at-1:], "\n")
	return strings.Clone(trimSpace(line[keyEnd(line):]))
}

// line is the number of an entry's line.
func (t *Table) line(at offset) int { return t.lines.line(t.text, int(at-1)) }

// insert adds an entry unless its key is there already, and returns the one that
// is in the table afterwards. The index must have room.
func (t *Table) insert(key string, at offset) (in offset, added bool) {
	hash := maphash.String(t.seed, key)
	mask := uint64(len(t.slots) - 1)
	for i := hash & mask; ; i = (i + 1) & mask {
		s := &t.slots[i]
		switch {
		case s.offset == 0:
			*s = slot{offset: at, hash: uint32(hash >> 32)}
			t.len++
			return at, true
		case s.hash == uint32(hash>>32) && t.key(s.offset) == key:
			return s.offset, false
		}
	}
}

// insertNetwork adds a prefix-length entry unless there is one already.
func (t *Table) insertNetwork(tag string, network netip.Prefix, at offset) (in offset, added bool) {
	networks := t.networks[tag]
	if networks == nil {
		networks = new(bart.Table[offset])
		if t.networks == nil {
			t.networks = make(map[string]*bart.Table[offset])
		}
		t.networks[tag] = networks
	}
	if have, ok := networks.Get(network); ok {
		return have, false
	}
	networks.Insert(network, at)
	t.nets++
	return at, true
}

// network finds the most specific prefix-length entry that holds addr.
func (t *Table) network(tag string, addr netip.Addr) (network netip.Prefix, at offset, ok bool) {
	if t == nil || t.nets == 0 {
		return netip.Prefix{}, 0, false
	}
	networks := t.networks[tag]
	if networks == nil {
		return netip.Prefix{}, 0, false
	}
	return networks.LookupPrefixLPM(netip.PrefixFrom(addr, addr.BitLen()))
}

// Problem is something wrong with one line of a table.
type Problem struct {
	File string
	Line int
	Text string
	// Warning: the entry is used. It is left out otherwise.
	Warning bool
	// OpenRelay: the entry lets nearly everybody relay.
	OpenRelay bool
}

// String is the problem as FILE:LINE: TEXT.
func (p Problem) String() string {
	return fmt.Sprintf("%s:%d: %s", p.File, p.Line, p.Text)
}

// Error is the same: what keeps a table from being read at all is a problem, too.
func (p Problem) Error() string { return p.String() }
