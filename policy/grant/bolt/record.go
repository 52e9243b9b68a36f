package bolt

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"net/netip"
	"time"

	"milterd/policy/grant"
)

// fixed is the length of a value before the names.
const fixed = 4 + 8 + 8 + 1

// checksum is of the key and of the value behind the checksum.
func checksum(key [16]byte, rest []byte) uint32 {
	table := crc32.MakeTable(crc32.Castagnoli)
	return crc32.Update(crc32.Checksum(key[:], table), table, rest)
}

// encode writes the value of a grant.
func encode(key [16]byte, g grant.Grant) []byte {
	value := make([]byte, 4, fixed+len(g.Source)+len(g.User))
	value = binary.BigEndian.AppendUint64(value, uint64(g.Since.UnixMilli()))
	value = binary.BigEndian.AppendUint64(value, uint64(g.Expires.UnixMilli()))
	value = append(value, byte(len(g.Source)))
	value = append(value, g.Source...)
	value = append(value, g.User...)
	binary.BigEndian.PutUint32(value, checksum(key, value[4:]))
	return value
}

// decode reads a record.
func decode(key, value []byte) (grant.Grant, error) {
	if len(key) != 16 || len(value) < fixed {
		return grant.Grant{}, fmt.Errorf("a record with a key of %d octets and a value of %d", len(key), len(value))
	}
	if binary.BigEndian.Uint32(value) != checksum([16]byte(key), value[4:]) {
		return grant.Grant{}, errors.New("a record whose checksum is wrong")
	}
	source := int(value[fixed-1])
	if len(value) < fixed+source {
		return grant.Grant{}, errors.New("a record that ends within its source")
	}
	g := grant.Grant{
		Addr:    grant.Canonical(netip.AddrFrom16([16]byte(key))),
		Source:  string(value[fixed : fixed+source]),
		User:    string(value[fixed+source:]),
		Since:   time.UnixMilli(int64(binary.BigEndian.Uint64(value[4:]))),
		Expires: time.UnixMilli(int64(binary.BigEndian.Uint64(value[12:]))),
	}
	if err := (grant.Login{Addr: g.Addr, User: g.User, Source: g.Source}).Valid(); err != nil {
		return grant.Grant{}, fmt.Errorf("a record of no login: %w", err)
	}
	return g, nil
}
