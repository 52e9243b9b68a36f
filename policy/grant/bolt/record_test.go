package bolt_test

import (
	"bytes"
	"encoding/binary"
	"testing"
	"time"

	"milterd/policy/grant"
	"milterd/policy/grant/bolt"
)

// FuzzRecord: what is read as a grant can be written, and is the same octets then.
func FuzzRecord(f *testing.F) {
	key := first.As16()
	for _, g := range []grant.Grant{
		{Addr: first, User: "shin", Source: "dovecot", Since: noon, Expires: noon.Add(time.Hour)},
		{Addr: first, Source: "drac", Since: noon, Expires: noon.Add(time.Hour)},
	} {
		f.Add(key[:], bolt.Encode(key, g))
	}
	f.Add([]byte{}, []byte{})
	f.Fuzz(func(t *testing.T, key, value []byte) {
		if _, err := bolt.Decode(key, value); len(key) != 16 || len(value) < 4 {
			if err == nil {
				t.Fatal("half a record was read")
			}
			return
		}
		// The fuzzer would not find a checksum.
		value = bytes.Clone(value)
		binary.BigEndian.PutUint32(value, bolt.Checksum([16]byte(key), value[4:]))
		g, err := bolt.Decode(key, value)
		if err != nil {
			return
		}
		if err := (grant.Login{Addr: g.Addr, User: g.User, Source: g.Source}).Valid(); err != nil {
			t.Fatal(err)
		}
		if again := bolt.Encode([16]byte(key), g); !bytes.Equal(again, value) {
			t.Fatalf("read %q, wrote %q", value, again)
		}
	})
}
