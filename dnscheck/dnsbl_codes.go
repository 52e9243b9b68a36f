package dnscheck

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// Code is a set of answers of a list, by which it says what it lists an address
// or a name for.
type Code struct {
	text string
	// octets are the first and last value of each octet; mask, if it is not
	// zero, stands for any of its bits in the last octet instead.
	octets [4]octetRange
	mask   byte
}

type octetRange struct{ first, last byte }

// ParseCode reads a set of answers:
//
//	127.0.0.2         one answer
//	127.0.0.[4-7]     a range, in any octet but the first
//	127.0.0.2/31      a network
//	&4                127.0.0.X where X has the bit, or one of the bits; for
//	                  lists that combine several in one answer
//
// Answers by which lists report errors are not listings, and a code that holds
// nothing else is an error.
func ParseCode(text string) (Code, error) {
	code, err := parseCode(text)
	if err != nil {
		return Code{}, fmt.Errorf("list code %q: %w", text, err)
	}
	code.text = text
	return code, nil
}

func parseCode(text string) (Code, error) {
	if bits, ok := strings.CutPrefix(text, "&"); ok {
		mask, err := parseOctet(bits)
		if err != nil || mask == 0 {
			return Code{}, fmt.Errorf("expected & and a number from 1 to 255")
		}
		return Code{mask: mask}, nil
	}
	address, length, isNetwork := strings.Cut(text, "/")
	parts := strings.Split(address, ".")
	if len(parts) != 4 {
		return Code{}, fmt.Errorf("expected four octets, such as 127.0.0.2 or 127.0.0.[4-7]")
	}
	var code Code
	for i, part := range parts {
		octet, err := parseRange(part)
		if err != nil {
			return Code{}, err
		}
		code.octets[i] = octet
	}
	if isNetwork {
		if err := code.widen(length); err != nil {
			return Code{}, err
		}
	}
	if code.octets[0] != (octetRange{127, 127}) {
		return Code{}, fmt.Errorf("expected an answer in 127.0.0.0/8: no other one counts")
	}
	if code.onlyErrors() {
		return Code{}, fmt.Errorf("lists report errors with this answer: it never counts as a listing")
	}
	return code, nil
}

// widen applies a prefix length: at the octet it ends in, a network is a range,
// and behind it everything.
func (c *Code) widen(length string) error {
	bits, err := parseOctet(length)
	if err != nil || bits < 8 || bits > 32 {
		return fmt.Errorf("expected a prefix length from 8 to 32")
	}
	for i := range c.octets {
		if c.octets[i].first != c.octets[i].last {
			return fmt.Errorf("expected either a range or a prefix length")
		}
		// How many bits of this octet the network leaves open.
		open := min(max(8*(i+1)-int(bits), 0), 8)
		host := byte(1<<open - 1)
		if c.octets[i].first&host != 0 {
			return fmt.Errorf("expected the first address of the network")
		}
		c.octets[i].last |= host
	}
	return nil
}

// onlyErrors says that nothing in the code could ever be a listing.
func (c *Code) onlyErrors() bool {
	var first, last [4]byte
	for i, octet := range c.octets {
		first[i], last[i] = octet.first, octet.last
	}
	return first[1] == 255 && first[2] == 255 || first == last && errorAnswer(netip.AddrFrom4(first), List{}) != ""
}

func parseRange(text string) (octetRange, error) {
	inner, ok := strings.CutPrefix(text, "[")
	if !ok {
		b, err := parseOctet(text)
		return octetRange{b, b}, err
	}
	first, last, isRange := strings.Cut(strings.TrimSuffix(inner, "]"), "-")
	if !isRange || !strings.HasSuffix(inner, "]") {
		return octetRange{}, fmt.Errorf("%q: expected a range such as [4-7]", text)
	}
	a, err := parseOctet(first)
	if err != nil {
		return octetRange{}, err
	}
	b, err := parseOctet(last)
	if err != nil {
		return octetRange{}, err
	}
	if a > b {
		return octetRange{}, fmt.Errorf("%q: the range is empty", text)
	}
	return octetRange{a, b}, nil
}

// parseOctet reads a decimal number from 0 to 255, without leading zeros, which
// some would take for octal.
func parseOctet(text string) (byte, error) {
	n, err := strconv.ParseUint(text, 10, 8)
	if err != nil || strconv.FormatUint(n, 10) != text {
		return 0, fmt.Errorf("%q: expected a number from 0 to 255", text)
	}
	return byte(n), nil
}

func (c Code) String() string { return c.text }

// Holds says whether an answer is in the set.
func (c Code) Holds(answer netip.Addr) bool {
	if !answer.Is4() {
		return false
	}
	b := answer.As4()
	if c.mask != 0 {
		return b[0] == 127 && b[1] == 0 && b[2] == 0 && b[3]&c.mask != 0
	}
	for i, octet := range c.octets {
		if b[i] < octet.first || b[i] > octet.last {
			return false
		}
	}
	return c.octets[0].first != 0
}
