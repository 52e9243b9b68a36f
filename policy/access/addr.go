package access

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// FormatAddr writes an address as sendmail's anynet_ntoa does, which is also
// the form of keys in the access table: 203.0.113.8, or
// IPv6:2001:db8:0:0:0:0:0:8 (eight groups, no "::"). It is empty for an
// invalid address.
func FormatAddr(a netip.Addr) string {
	if !a.IsValid() {
		return ""
	}
	a = a.Unmap()
	if a.Is4() {
		return a.String()
	}
	octets := a.As16()
	text := append(make([]byte, 0, len("IPv6:")+39), "IPv6"...)
	for group := range slices.Chunk(octets[:], 2) {
		text = strconv.AppendUint(append(text, ':'), uint64(binary.BigEndian.Uint16(group)), 16)
	}
	return string(text)
}

// ParseAddr reads an address as sendmail writes it, and so as keys have it:
// 203.0.113.8, or IPv6:2001:db8:0:0:0:0:0:8, in any case, with or without zero
// compression and the prefix. An IPv4 address in IPv6 form is IPv4, a zone is left out.
func ParseAddr(text string) (addr netip.Addr, ok bool) {
	addr, err := netip.ParseAddr(strings.TrimPrefix(Fold(text), "ipv6:"))
	return addr.Unmap().WithZone(""), err == nil
}
