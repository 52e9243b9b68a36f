package socketmap

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"milterd/milter/door"
	"milterd/policy"
	"milterd/policy/access"
)

// What all maps answer while there is no policy, and while the store of the grants is away.
var (
	notLoaded    = Answer{Temp, "the policy is not loaded"}
	grantUnknown = Answer{Temp, "whether the client holds a relay grant cannot be asked for now"}
)

// Access is the access table as sendmail's own rulesets ask for it, with the relay
// grants laid over it. It serves every tag, those that only sendmail knows
// included (GreetPause:, ClientRate:, TLS_Clt:, ...), and each look-up uses what
// is in force at that moment.
//
// A client that holds a grant has the value RELAY for its whole address under
// Connect:, unless the table has an entry for that very address that refuses it. So
// a network's REJECT does not keep out a user who has just logged in from there; it does
// if a grant is for relaying only (policy.Policy.GrantsRelayOnly).
//
// If nearly all clients have one address that hides their own (door.NATGuard), the values
// RELAY of this address, and of the networks that hold it, are not there, and neither are
// its grants. What the table refuses stays refused.
//
// If the store of the grants cannot be asked, a client that was known to hold a grant
// (policy.GrantTemporary) is told to come again. For all others the table's answer
// stands: their mail must flow.
//
// A key that sendmail has shortened is no client's address, whatever it reads as: it
// matches neither a grant nor a network by prefix length.
//
// What sendmail refuses by an entry it refuses without a word to the filter door. So
// entries that refuse are logged here when sendmail asks for them, with what is known of
// the message: each entry once in toldWindow for a recipient, as a client can make
// sendmail ask at will.
type Access struct {
	// Noted, if it is not nil, is told of each line about a refusal, whatever the level
	// of the log, while sendmail waits. It is set before the first look-up.
	Noted   func(*door.Line)
	current func() door.Snapshot
	logger  *slog.Logger
	granted atomic.Uint64
	told    toldLines
}

// NewAccess makes the map. current is asked at each look-up; logger may be nil.
func NewAccess(current func() door.Snapshot, logger *slog.Logger) *Access {
	return &Access{current: current, logger: cmp.Or(logger, slog.New(slog.DiscardHandler))}
}

// Register has a registry read how many look-ups grants have answered.
func (a *Access) Register(r prometheus.Registerer) {
	r.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{
		Name: "milterd_map_granted_lookups_total", Help: "Look-ups in the map access that a relay grant answered.",
	}, func() float64 { return float64(a.granted.Load()) }))
}

// Lookup answers one key: TAG:KEY or KEY, in any case, or one with its client.
func (a *Access) Lookup(ctx context.Context, key string) Answer {
	now := a.current()
	if now.Policy == nil {
		return notLoaded
	}
	k, ok := readKey(key)
	if !ok {
		return Answer{Temp, "the key was cut off"}
	}
	if taggedAddress(k.name) {
		return Answer{Temp, "a domain that reads as a key of its own"}
	}
	if k.skips {
		return a.walk(ctx, &now, &k)
	}
	return a.lookup(ctx, &now, &k)
}

func (a *Access) lookup(ctx context.Context, now *door.Snapshot, k *tableKey) Answer {
	table, shared := now.Policy.Access, withheld(now)
	if shared.IsValid() && coversAddress(k.name, shared) {
		return withoutRelay(a.found(ctx, table, k))
	}
	if shortened(ctx, k.name) {
		value, line, ok := table.Entry(k.name)
		return a.answer(ctx, table, k, k.name, value, line, ok)
	}
	if now.Grants != nil {
		if addr, ok := clientOf(k.name); ok {
			return a.lookupClient(ctx, now, k, addr)
		}
	}
	return a.found(ctx, table, k)
}

// taggedAddress reports whether a key asks about a sender or a recipient whose domain
// holds what looks like a tag: x@"a:b:".c."connect:127". sendmail takes the quotes and
// then label after label away, and in the end asks for connect:127, which is a client's
// entry. It asks with the tag From:, To: or Spam: first, and an answer that fails ends
// the look-ups. Those of an address literal are none.
func taggedAddress(key string) bool {
	tag, rest, _ := strings.Cut(access.Fold(key), ":")
	switch tag {
	case "from", "to", "spam":
	default:
		return false
	}
	domain := rest[strings.LastIndexByte(rest, '@')+1:]
	literal := strings.TrimPrefix(strings.Trim(domain, "[]"), "ipv6:")
	return strings.Contains(domain, ":") && strings.Trim(literal, "0123456789abcdef:.") != ""
}

func (a *Access) found(ctx context.Context, table *access.Table, k *tableKey) Answer {
	value, line, ok := table.Lookup(k.name)
	return a.answer(ctx, table, k, k.name, value, line, ok)
}

// answer makes an answer of what the table says of key, which k led to.
func (a *Access) answer(ctx context.Context, table *access.Table, k *tableKey, key, value string, line int, ok bool) Answer {
	if !ok {
		return Answer{Status: NotFound}
	}
	if refuses(key, value) {
		refusal := refusalLine(ctx, k, key, value)
		if a.told.first(toldLine{line, refusal.Queue, refusal.To}, time.Now()) {
			refusal.Rule = fmt.Sprintf("%s:%d: %s %s", table.Name(), line, shown(key), shown(access.Shown(key, value)))
			refusal.Log(context.Background(), a.logger)
			if a.Noted != nil {
				a.Noted(&refusal)
			}
		}
	}
	return Answer{OK, value}
}

// refusalLine is what a key tells of the mail that its entry refuses, and what the question
// before it on this connection does, if the key is about the same client, sender or
// recipient.
func refusalLine(ctx context.Context, k *tableKey, key, value string) door.Line {
	line := door.Line{Door: "map", Action: policy.ActionReject, Queue: shown(k.queueID)}
	line.Client.Addr = k.client
	switch v := access.ParseValue(value); v.Kind {
	case access.KindDiscard:
		line.Action = policy.ActionDiscard
	case access.KindQuarantine:
		line.Action = policy.ActionQuarantine
	case access.KindError:
		reply := policy.Reply{Code: v.Reply.Code, Enhanced: v.Reply.Enhanced, Text: v.Text}
		if line.Reply = reply.String(); reply.Temporary() {
			line.Action = policy.ActionTempfail
		}
	}
	tag, rest, tagged := strings.Cut(access.Fold(key), ":")
	client, asked := rest, memoryOf(ctx).question
	if !tagged {
		client = key
	}
	// Half an address, as sendmail asks for networks, is no client.
	switch tag {
	case "from":
		line.From = shown(rest)
	case "to":
		line.To = shown(rest)
	default:
		if !k.client.IsValid() {
			line.Client.Addr, _ = access.ParseAddr(client)
		}
	}
	if asked != nil && within(line.From, asked.mail.From) && within(line.To, asked.recipient.To) &&
		(!line.Client.Addr.IsValid() || line.Client.Addr.Unmap() == asked.client.Addr.Unmap()) {
		of := asked.line()
		of.Action, of.Reply = line.Action, line.Reply
		return of
	}
	return line
}

func within(key, address string) bool {
	return strings.Contains(access.Fold(address), access.Fold(key))
}

// The bounds of toldLines: how long it remembers, and how many lines.
const (
	toldWindow = 10 * time.Second
	toldMost   = 10_000
)

// toldLine is a line of the table, with the message and the recipient that it refuses if
// they are known.
type toldLine struct {
	line      int
	queue, to string
}

// toldLines are the lines of the table that were logged a moment ago.
type toldLines struct {
	mu    sync.Mutex
	until time.Time
	lines map[toldLine]struct{}
}

// first reports whether a line has not been told of in this window. Beyond its bound
// it tells of no others until the next.
func (t *toldLines) first(line toldLine, now time.Time) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if now.After(t.until) {
		t.lines, t.until = make(map[toldLine]struct{}), now.Add(toldWindow)
	}
	if _, told := t.lines[line]; told || len(t.lines) >= toldMost {
		return false
	}
	t.lines[line] = struct{}{}
	return true
}

// refuses reports whether sendmail's check_relay, check_mail or check_rcpt refuse,
// discard or hold mail by this entry.
func refuses(key, value string) bool {
	tag, _, tagged := strings.Cut(access.Fold(key), ":")
	switch tag {
	case "connect", "from", "to", "ipv6":
	default:
		if tagged {
			return false
		}
	}
	v := access.ParseValue(value)
	return v.Outranks() && v.Kind != access.KindFriend && v.Kind != access.KindHater
}

func (a *Access) lookupClient(ctx context.Context, now *door.Snapshot, k *tableKey, addr netip.Addr) Answer {
	table := now.Policy.Access
	if now.Policy.GrantsRelayOnly && now.Policy.RefusesAddress(access.ClientKey(k.name)) {
		return a.found(ctx, table, k)
	}
	value, line, ok := table.LookupGranted(k.name)
	if line != 0 || !ok {
		// An entry that outranks grants: they need not be asked.
		return a.answer(ctx, table, k, k.name, value, line, ok)
	}
	switch now.Grants.Grant(ctx, addr) {
	case policy.GrantHeld:
		a.granted.Add(1)
		return Answer{OK, value}
	case policy.GrantTemporary:
		return grantUnknown
	}
	return a.found(ctx, table, k)
}

// withheld is the address that all clients seem to have, and that relays nothing; invalid
// if there is none. What only is evaluated takes no entry away.
func withheld(now *door.Snapshot) netip.Addr {
	if !now.Policy.EnforcesRelay() {
		return netip.Addr{}
	}
	return now.NAT.Shared()
}

// withoutRelay is an answer, but that nothing is found in place of RELAY.
func withoutRelay(a Answer) Answer {
	if a.Status == OK && access.ParseValue(a.Value).Kind == access.KindRelay {
		return Answer{Status: NotFound}
	}
	return a
}

// coversAddress reports whether a key, connect:NETWORK or NETWORK alone, is about an
// address or a network that holds it.
func coversAddress(key string, addr netip.Addr) bool {
	text := strings.TrimPrefix(access.Fold(key), "connect:")
	separator, forms := ".", []string{addr.String()}
	if addr.Is6() {
		// sendmail shortens the form that it has: with zeros, or without.
		separator, forms = ":", []string{access.Fold(access.FormatAddr(addr)), "ipv6:" + addr.String()}
	}
	return slices.ContainsFunc(forms, func(full string) bool {
		rest, ok := strings.CutPrefix(full, text)
		return ok && text != "" && (rest == "" || strings.HasPrefix(rest, separator))
	})
}

func clientOf(key string) (netip.Addr, bool) {
	text := access.ClientKey(key)
	if text == "" {
		return netip.Addr{}, false
	}
	return access.ParseAddr(text)
}
