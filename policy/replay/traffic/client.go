package traffic

import (
	"net/netip"
	"strings"

	"milterd/policy"
	"milterd/policy/replay"
)

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
// so the fixed parts are sought from the end. It is nil for anything else. Resolve is empty
// if only FAIL and TEMP are left, Addr for a submission on this host (sendmail -bs).
func parsePeer(peer string) *replay.Connect {
	if peer == local || strings.HasSuffix(peer, "@"+local) {
		return &replay.Connect{Name: local}
	}
	peer, forged := strings.CutSuffix(peer, " (may be forged)")
	open := strings.LastIndexByte(peer, '[')
	inner, closed := strings.CutSuffix(peer[open+1:], "]")
	if open < 0 || !closed {
		return nil
	}
	addr, err := netip.ParseAddr(strings.TrimPrefix(inner, "IPv6:"))
	if err != nil || addr.Zone() != "" {
		return nil
	}
	bracketed := peer[open:]
	c := &replay.Connect{Addr: addr.Unmap().String(), Name: bracketed, PTR: bracketed}
	name, named := strings.CutSuffix(peer[:open], " ")
	name = name[strings.LastIndexByte(name, '@')+1:]
	switch {
	case !named && name == "" && !forged:
		return c
	case !named || name == "" || strings.ContainsAny(name, " []"):
		return nil
	case forged:
		c.PTR, c.Resolve = name, string(policy.ResolveForged)
	default:
		c.Name, c.PTR, c.Resolve = name, name, string(policy.ResolveOK)
	}
	return c
}

// parseHello reads the client out of the first line that answers EHLO or HELO:
// "mx.example.test Hello PEER, pleased to meet you".
func parseHello(text string) *replay.Connect {
	_, peer, _ := strings.Cut(text, " Hello ")
	for _, courtesy := range []string{", pleased to meet you", ", accepting invalid domain name"} {
		if before, ok := strings.CutSuffix(peer, courtesy); ok {
			return parsePeer(before)
		}
	}
	return nil
}

// parseGreeting reads the client out of the greeting of Debian's sendmail, which ends
// with "logging access from: NAME(RESOLVE)-PEER".
func parseGreeting(text string) *replay.Connect {
	_, access, _ := strings.Cut(text, "logging access from: ")
	for _, resolve := range []string{"OK", "FAIL", "FORGED", "TEMP"} {
		name, peer, ok := strings.Cut(access, "("+resolve+")-")
		if !ok {
			continue
		}
		c := parsePeer(peer)
		// It is told twice: if the two differ, the line is not what it
		// seems.
		if c == nil || c.Name != name || c.Resolve != "" && c.Resolve != resolve || c.Resolve == "" && c.PTR != name {
			return nil
		}
		c.Resolve = resolve
		return c
	}
	return nil
}
