package socketmap

import (
	"context"
	"net/netip"
	"strings"

	"milterd/milter/door"
	"milterd/policy/access"
)

// tableKey is a key of the access table as milterd.m4 has sendmail's rules ask for it, with
// what they know of the client, or as any other sendmail.cf does: TAG:KEY or KEY.
type tableKey struct {
	// name is the key as it stands in the table, in any case.
	name string
	// tag and rest are its parts; tag is in lower case, and empty for a plain key.
	tag, rest string
	// queueID and client say whose mail it is about. A local submission has no address.
	// clientText is the address as sendmail writes it.
	queueID    string
	client     netip.Addr
	clientText string
	// skips: the value SKIP ends this sendmail's search.
	skips bool
}

// optionSkip says that FEATURE(access_db) has the argument skip, and not lookupdotdomain.
const optionSkip = "skip"

// readKey reads a key, TAG OPTIONS i ${client_addr} KEY or without the client; ok is false if it was cut off.
func readKey(key string) (k tableKey, ok bool) {
	f := strings.SplitN(key, separator, 5)
	switch {
	case len(f) == 1:
		return tableKey{name: key}, true
	case len(f) < 5 || len(key) >= maxQuestion:
		return tableKey{}, false
	}
	k = tableKey{tag: access.Fold(f[0]), skips: f[1] == optionSkip, queueID: f[2], clientText: access.Fold(f[3]), rest: f[4]}
	k.name = k.tag + ":" + k.rest
	k.client, _ = access.ParseAddr(k.clientText)
	return k, true
}

// The tags under which sendmail's rules look for the client alone: LookUpDomain (D) goes
// from its name to the wider domains, LookUpAddress (A) from its address to the networks.
// The value is what the rules that look go on with if both find nothing.
var clientTags = map[string]struct {
	// bare: the tag alone is looked up after the address.
	bare bool
	// none, if not empty, is a value that means what no entry does.
	none string
}{
	"connect":      {},
	"greetpause":   {},
	"srv_features": {bare: true},
	"tls_clt":      {bare: true},
	"clientrate":   {bare: true, none: "0"},
	"clientconn":   {bare: true, none: "0"},
}

// walk answers the first key of a search for the client by what sendmail's own search
// would end with, so that it asks once: the value that is found first, or SKIP, which ends
// it as if nothing were found. It is given to the client's whole address or name alone. An
// untagged entry on the way is left to sendmail, as only its rules know whether they look
// for those.
func (a *Access) walk(ctx context.Context, now *door.Snapshot, k *tableKey) Answer {
	first := a.lookup(ctx, now, k)
	tag, ok := clientTags[k.tag]
	if first.Status != NotFound || !ok || !k.skips || k.rest == "" || strings.Contains(k.rest, "@") {
		return first
	}
	// If an untagged entry stopped a search, sendmail goes on with the client's networks.
	wider, rest := access.WiderDomain, access.Fold(k.rest)
	isAddress := strings.HasPrefix(k.clientText, rest)
	if isAddress {
		wider = access.WiderAddress
	} else if _, ok := access.ParseAddr(rest); ok {
		return first
	}
	table, shared := now.Policy.Access, withheld(now)
	if _, _, found := table.Lookup(k.rest); found {
		return first
	}
	for key, more := wider(rest); more; key, more = wider(key) {
		name := k.tag + ":" + key
		if value, line, found := table.Entry(name); found {
			answer := a.answer(ctx, table, k, name, value, line, true)
			if shared.IsValid() && coversAddress(name, shared) {
				answer = withoutRelay(answer)
			}
			if answer.Status == OK {
				return answer
			}
		}
		if _, _, found := table.Entry(key); found {
			return first
		}
	}
	if isAddress && tag.bare {
		if value, _, found := table.Entry(k.tag + ":"); found {
			return Answer{OK, value}
		}
		if tag.none != "" {
			return Answer{OK, tag.none}
		}
	}
	return Answer{OK, "SKIP"}
}
