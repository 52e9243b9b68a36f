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
	seed maphash.Seed
	// slots is an open-addressing hash table with linear probing; its length
	// is a power of two.
	slots []slot
	len   int
	// networks holds the prefix-length keys by tag ("" for untagged ones).
	networks map[string]*bart.Table[place]
	// nets counts the entries of networks.
	nets int
	// leftOut counts the lines that hold no entry.
	leftOut int
	// mtas has the first line of each tag that is sendmail's alone.
	mtas map[string]int
}

// place is where in the text an entry begins, and the number of its line, which is not
// zero.
type place struct{ offset, line uint32 }

// slot locates one entry. Half of its key's hash tells nearly all other keys apart
// without a look at the text.
type slot struct {
	place
	hash uint32
}

// Name is the name the table was parsed under, usually its file.
func (t *Table) Name() string {
	if t == nil {
		return ""
	}
	return t.name
}

func (t *Table) Len() int {
	if t == nil {
		return 0
	}
	return t.len + t.nets
}

// MTATags are the tags of entries that only sendmail's own rules look up (GreetPause:,
// TLS_Clt:, …), in lower case, each with the line of its first entry.
func (t *Table) MTATags() map[string]int { return t.mtas }

// LeftOut is the number of lines that should hold an entry and hold none that could
// be used.
func (t *Table) LeftOut() int { return t.leftOut }

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
	s, _ := t.find(key)
	if s.line == 0 {
		return "", 0, false
	}
	return t.value(s.place), int(s.line), true
}

// find is the slot of a key, or the free one where it belongs, and the hash for it.
func (t *Table) find(key []byte) (s *slot, hash uint32) {
	full := maphash.Bytes(t.seed, key)
	hash = uint32(full >> 32)
	mask := uint64(len(t.slots) - 1)
	for i := full & mask; ; i = (i + 1) & mask {
		s = &t.slots[i]
		if s.line == 0 || s.hash == hash && t.key(s.place) == string(key) {
			return s, hash
		}
	}
}

// key is the key of an entry, without the white space behind it.
func (t *Table) key(at place) string {
	from := t.text[at.offset:]
	return from[:keyEnd(from)]
}

// value is the right-hand side of an entry, without surrounding space. It is a
// copy, so that what notes it does not keep the whole text in memory.
func (t *Table) value(at place) string {
	line, _, _ := strings.Cut(t.text[at.offset:], "\n")
	return strings.Clone(trimSpace(line[keyEnd(line):]))
}

// insert adds an entry unless its key is there already, and returns the one that
// is in the table afterwards. The index must have room.
func (t *Table) insert(key string, at place) (in place) {
	var buf [128]byte
	s, hash := t.find(append(buf[:0], key...))
	if s.line == 0 {
		*s = slot{at, hash}
		t.len++
	}
	return s.place
}

// insertNetwork is insert for a prefix-length entry.
func (t *Table) insertNetwork(tag string, network netip.Prefix, at place) (in place) {
	if t.networks[tag] == nil {
		t.networks[tag] = new(bart.Table[place])
	}
	if have, ok := t.networks[tag].Get(network); ok {
		return have
	}
	t.networks[tag].Insert(network, at)
	t.nets++
	return at
}

// network finds the most specific prefix-length entry that holds addr.
func (t *Table) network(tag string, addr netip.Addr) (network netip.Prefix, at place, ok bool) {
	if networks := t.networks[tag]; networks != nil {
		return networks.LookupPrefixLPM(netip.PrefixFrom(addr, addr.BitLen()))
	}
	return netip.Prefix{}, place{}, false
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
