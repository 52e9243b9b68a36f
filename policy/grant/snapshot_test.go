package grant

import (
	"errors"
	"fmt"
	"hash/crc32"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"milterd/policy/snapshot"
)

// FuzzSnapshot: lines that are read as grants can be written, and are the same grants when they are
// read again.
func FuzzSnapshot(f *testing.F) {
	for _, g := range []Grant{
		{Addr: netip.MustParseAddr("203.0.113.8"), User: "shin", Source: "dovecot", Since: time.UnixMilli(1), Expires: time.UnixMilli(2)},
		{Addr: netip.MustParseAddr("2001:db8::8"), Source: "drac:127.0.0.1", Since: time.UnixMilli(1), Expires: time.UnixMilli(2)},
	} {
		f.Add(string(appendGrant(nil, g)) + "\n")
	}
	f.Add("")
	f.Add("end\t0\t00000000\n")
	f.Fuzz(func(t *testing.T, lines string) {
		grants, err := parseSnapshot(strings.NewReader(complete(lines)))
		if err != nil {
			if !errors.Is(err, snapshot.ErrDamaged) || grants != nil {
				t.Fatalf("%d grants and %v", len(grants), err)
			}
			return
		}
		var again []byte
		for _, g := range grants {
			if err := (Login{Addr: g.Addr, User: g.User, Source: g.Source}).Valid(); err != nil {
				t.Fatal(err)
			}
			again = append(appendGrant(again, g), '\n')
		}
		if same, err := parseSnapshot(strings.NewReader(complete(string(again)))); err != nil || !slices.Equal(same, grants) {
			t.Fatalf("read %v of %q, then %v of %q: %v", grants, lines, same, again, err)
		}
	})
}

// complete makes a snapshot of lines. The fuzzer would not find a checksum.
func complete(lines string) string {
	body := format.Head + "\n" + lines
	return fmt.Sprintf("%send\t%d\t%08x\n", body, strings.Count(lines, "\n"), crc32.ChecksumIEEE([]byte(body)))
}
