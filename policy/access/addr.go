package access

import (
	"net/netip"
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
	const hex = "0123456789abcdef"
	b := a.As16()
	var out strings.Builder
	out.Grow(len("IPv6:") + 39)
	out.WriteString("IPv6")
	for i := 0; i < 16; i += 2 {
		out.WriteByte(':')
		group := uint(b[i])<<8 | uint(b[i+1])
		started := false
		for shift := 12; shift >= 0; shift -= 4 {
			digit := group >> shift & 0xf
			if digit != 0 || started || shift == 0 {
				out.WriteByte(hex[digit])
				started = true
			}
		}
	}
	return out.String()
}

// ParseAddr reads an address as sendmail writes it, and so as keys have it:
// 203.0.113.8, or IPv6:2001:db8:0:0:0:0:0:8, in any case, with or without zero
// compression and the prefix. An IPv4 address in IPv6 form is IPv4, a zone is left out.
func ParseAddr(text string) (addr netip.Addr, ok bool) {
	addr, err := netip.ParseAddr(strings.TrimPrefix(Fold(text), "ipv6:"))
	return addr.Unmap().WithZone(""), err == nil
}
