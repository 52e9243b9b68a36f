package dnscheck

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/miekg/dns"
)

// keyPlace stands for the query key in a list's zone.
const keyPlace = "{key}"

const redacted = "[redacted]"

// Secret is a text that is never shown: printed, logged or encoded it is a
// placeholder.
type Secret string

// Format writes the placeholder, for every verb.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(redacted)) }

func (s Secret) String() string { return redacted }

// MarshalText gives the placeholder, to logs, JSON and YAML.
func (s Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// bypassAnswer stands in a recorded session for the answer of a list that was
// bypassed and not asked. It is one of the error answers, and no list gives it.
var bypassAnswer = netip.AddrFrom4([4]byte{127, 255, 255, 0})

func bypassResult() Result { return found([]Record{{Type: dns.TypeA, Addr: bypassAnswer}}) }

type listResolver struct {
	resolver Resolver
	lists    []*list
}

var _ Resolver = (*listResolver)(nil)

// Resolver is what to check the lists with, and nothing else. It gives bypassAnswer
// for lists that are bypassed, tells Health of error answers, and lets a listing
// count only if Health trusts the list. Lists with a query key are asked with it:
// above, in the lists themselves, a Recorder and Frozen answers, the zone is as it
// was configured, with {key} in the key's place; only the resolver below is given the
// key. If the answer repeats the key it is taken out.
//
// Wrap the Client, then record:
//
//	recorder := NewRecorder(lists.Resolver(client))
//
// A Client does not ask for a name that still has {key} in it.
func (l *Lists) Resolver(resolver Resolver) Resolver { return &listResolver{resolver, l.lists} }

// find is the list that a name belongs to, and the name with the list's key. Of lists
// whose zones are one below the other it is the lowest.
func (r *listResolver) find(name string) (found *list, zone *zoneHealth, onWire string) {
	onWire = name
	for _, l := range r.lists {
		labels, ok := strings.CutSuffix(name, l.zone)
		if !ok || !strings.HasSuffix(labels, ".") || found != nil && len(l.zone) < len(found.zone) {
			continue
		}
		if f := familyOf(labels); l.asks(f) {
			found, zone, onWire = l, l.health[f], name
			if l.Key != "" {
				onWire = labels + l.onWire
			}
		}
	}
	return found, zone, onWire
}

// familyOf tells by what stands before the zone how a list is asked.
func familyOf(labels string) family {
	const ipv6 = 2 * 32
	if len(labels) == ipv6 && labels[1] == '.' && labels[ipv6-3] == '.' {
		return familyIPv6
	}
	if _, err := netip.ParseAddr(strings.TrimSuffix(labels, ".")); err == nil {
		return familyIPv4
	}
	return familyNames
}

// Lookup asks a list, unless it is bypassed.
func (r *listResolver) Lookup(ctx context.Context, name string, qtype uint16) Result {
	l, zone, onWire := r.find(name)
	if l == nil {
		return r.resolver.Lookup(ctx, name, qtype)
	}
	if qtype != dns.TypeA {
		return l.hideKey(r.resolver.Lookup(ctx, onWire, qtype))
	}
	if zone.isBypassed() {
		return bypassResult()
	}
	result := l.hideKey(r.resolver.Lookup(ctx, onWire, qtype))
	switch status, detail := l.judge(result); {
	case status == ListUnusable:
		zone.failed(detail)
	case status != ListListed || zone.trusted(ctx):
	case zone.isBypassed():
		return bypassResult()
	case errors.Is(ctx.Err(), context.Canceled):
		return temporary(ErrCanceled)
	default:
		return temporary(ErrTimeout)
	}
	return result
}

// LookupCached does not tell Health of errors: the answer may be of a time when the
// list did not work.
func (r *listResolver) LookupCached(name string, qtype uint16) (Result, bool) {
	l, zone, onWire := r.find(name)
	if l == nil {
		return r.resolver.LookupCached(name, qtype)
	}
	if qtype == dns.TypeA && zone.isBypassed() {
		return bypassResult(), true
	}
	result, ok := r.resolver.LookupCached(onWire, qtype)
	if ok && qtype == dns.TypeA && zone != nil && !zone.proved.Load() {
		if status, _ := l.judge(result); status == ListListed {
			return Result{}, false
		}
	}
	return l.hideKey(result), ok
}

// hideKey takes the key out of what came back.
func (l *list) hideKey(result Result) Result {
	holdsKey := func(r Record) bool { return l.key.MatchString(r.Text) || l.key.MatchString(r.Host) }
	if l.key == nil || !slices.ContainsFunc(result.Records, holdsKey) {
		return result
	}
	records := slices.Clone(result.Records)
	for i := range records {
		records[i].Text = l.key.ReplaceAllLiteralString(records[i].Text, keyPlace)
		records[i].Host = l.key.ReplaceAllLiteralString(records[i].Host, keyPlace)
	}
	result.Records = sorted(records, records[0].TTL)
	return result
}
