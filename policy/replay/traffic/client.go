package traffic

import (
	"net/netip"
	"strings"

	"milterd/policy"
	"milterd/policy/replay"
)

type client struct {
	known bool
	// addr is invalid for a submission on this host (sendmail -bs).
	addr      netip.Addr
	name, ptr string
	// resolve is empty if only FAIL and TEMP are left.
	resolve policy.Resolve
}

// fill writes it down as sendmail's macros have it.
func (c *client) fill(to *replay.Connect) {
	if c.addr.IsValid() {
		to.Addr = c.addr.String()
	}
	to.Name, to.PTR, to.Resolve = c.name, c.ptr, string(c.resolve)
}

// local is what sendmail calls the user who runs sendmail -bs.
const local = "localhost"

// parsePeer reads how sendmail names a client ($_):
//
//	mx.good.example [203.0.113.8]
//	mx.good.example [203.0.113.8] (may be forged)
//	[203.0.113.8]
//	[IPv6:2001:db8:0:0:0:0:0:8]
//	shin@localhost
//
// "user@" in front of the first four is what an ident server says, which may be any text,
// so the fixed parts are sought from the end.
func parsePeer(peer string) (client, bool) {
	if peer == local || strings.HasSuffix(peer, "@"+local) {
		return client{known: true, name: local}, true
	}
	peer, forged := strings.CutSuffix(peer, " (may be forged)")
	open := strings.LastIndexByte(peer, '[')
	inner, closed := strings.CutSuffix(peer[open+1:], "]")
	if open < 0 || !closed {
		return client{}, false
	}
	addr, err := netip.ParseAddr(strings.TrimPrefix(inner, "IPv6:"))
	if err != nil || addr.Zone() != "" {
		return client{}, false
	}
	bracketed := peer[open:]
	c := client{known: true, addr: addr.Unmap(), name: bracketed, ptr: bracketed}
	name, named := strings.CutSuffix(peer[:open], " ")
	name = name[strings.LastIndexByte(name, '@')+1:]
	switch {
	case !named && name == "" && !forged:
		return c, true
	case !named || name == "" || strings.ContainsAny(name, " []"):
		return client{}, false
	case forged:
		c.ptr, c.resolve = name, policy.ResolveForged
	default:
		c.name, c.ptr, c.resolve = name, name, policy.ResolveOK
	}
	return c, true
}

// parseHello reads the client out of the first line that answers EHLO or HELO:
// "mx.example.test Hello PEER, pleased to meet you".
func parseHello(text string) (client, bool) {
	_, peer, ok := strings.Cut(text, " Hello ")
	if !ok {
		return client{}, false
	}
	for _, courtesy := range []string{", pleased to meet you", ", accepting invalid domain name"} {
		if before, ok := strings.CutSuffix(peer, courtesy); ok {
			return parsePeer(before)
		}
	}
	return client{}, false
}

// parseGreeting reads the client out of the greeting of Debian's sendmail, which ends
// with "logging access from: NAME(RESOLVE)-PEER".
func parseGreeting(text string) (client, bool) {
	_, access, ok := strings.Cut(text, "logging access from: ")
	if !ok {
		return client{}, false
	}
	for _, resolve := range []policy.Resolve{policy.ResolveOK, policy.ResolveFail, policy.ResolveForged, policy.ResolveTemp} {
		name, peer, ok := strings.Cut(access, "("+string(resolve)+")-")
		if !ok {
			continue
		}
		c, ok := parsePeer(peer)
		// It is told twice: if the two differ, the line is not what it
		// seems.
		if !ok || c.name != name || c.resolve != "" && c.resolve != resolve || c.resolve == "" && c.ptr != name {
			return client{}, false
		}
		c.resolve = resolve
		return c, true
	}
	return client{}, false
}
