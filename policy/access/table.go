package access

import (
	"bytes"
	"fmt"
	"hash/maphash"
	"math"
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
	text []byte
	seed maphash.Seed
	// slots is an open-addressing hash table with linear probing; its length
	// is a power of two.
	slots []slot
	len   int
	// networks holds the prefix-length keys by tag ("" for untagged ones).
	networks map[string]*bart.Table[slot]
	// nets counts the entries of networks.
	nets int
	// leftOut counts the lines that hold no entry.
	leftOut int
	// mtas has the first line of each tag that is sendmail's alone.
	mtas map[string]int
}

// slot locates one entry: the offset of its key plus one (zero marks a free
// slot), and its line.
type slot struct {
	offset uint32
	line   uint32
}

// maxText is the largest table: offsets are 32 bits wide.
const maxText = math.MaxUint32 - 1

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
	s := t.find(key)
	if s.offset == 0 {
		return "", 0, false
	}
	return t.value(s), int(s.line), true
}

// find returns the slot of a key, or a zero slot.
func (t *Table) find(key []byte) slot {
	mask := uint64(len(t.slots) - 1)
	for i := maphash.Bytes(t.seed, key) & mask; ; i = (i + 1) & mask {
		s := t.slots[i]
		if s.offset == 0 || bytes.Equal(t.key(s), key) {
			return s
		}
	}
}

// key is the key of the entry in s, without the white space behind it.
func (t *Table) key(s slot) []byte {
	from := t.text[s.offset-1:]
	for i, c := range from {
		if isSpace(c) {
			return from[:i]
		}
	}
	return from
}

// value is the right-hand side of the entry in s, without surrounding space.
func (t *Table) value(s slot) string {
	rest := t.text[s.offset-1:]
	if end := bytes.IndexByte(rest, '\n'); end >= 0 {
		rest = rest[:end]
	}
	return strings.TrimFunc(string(rest[len(t.key(s)):]), isSpaceRune)
}

// insert adds an entry unless its key is there already, and returns the slot
// that is in the table afterwards. The index must have room.
func (t *Table) insert(key []byte, s slot) (slot, bool) {
	mask := uint64(len(t.slots) - 1)
	for i := maphash.Bytes(t.seed, key) & mask; ; i = (i + 1) & mask {
		have := t.slots[i]
		if have.offset == 0 {
			t.slots[i] = s
			t.len++
			return s, true
		}
		if bytes.Equal(t.key(have), key) {
			return have, false
		}
	}
}

// insertNetwork adds a prefix-length entry unless there is one already.
func (t *Table) insertNetwork(tag string, network netip.Prefix, s slot) (slot, bool) {
	networks := t.networks[tag]
	if networks == nil {
		networks = new(bart.Table[slot])
		if t.networks == nil {
			t.networks = make(map[string]*bart.Table[slot])
		}
		t.networks[tag] = networks
	}
	if have, ok := networks.Get(network); ok {
		return have, false
	}
	networks.Insert(network, s)
	t.nets++
	return s, true
}

// network finds the most specific prefix-length entry that holds addr.
func (t *Table) network(tag string, addr netip.Addr) (network netip.Prefix, s slot, ok bool) {
	if t == nil || t.nets == 0 {
		return netip.Prefix{}, slot{}, false
	}
	networks := t.networks[tag]
	if networks == nil {
		return netip.Prefix{}, slot{}, false
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
}

// String is the problem as FILE:LINE: TEXT.
func (p Problem) String() string {
	return fmt.Sprintf("%s:%d: %s", p.File, p.Line, p.Text)
}

// Error is the same: what keeps a table from being read at all is a problem, too.
func (p Problem) Error() string { return p.String() }

// isSpace is C's isspace, which makemap splits lines with.
func isSpace(c byte) bool {
	return c == ' ' || c >= '\t' && c <= '\r'
}

func isSpaceRune(r rune) bool { return r < 0x80 && isSpace(byte(r)) }
