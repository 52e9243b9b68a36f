package dnscheck

import (
	"context"
	"fmt"
	"log/slog"
	"regexp"
	"strings"
)

// keyPlace stands for the query key in a list's zone.
const keyPlace = "{key}"

const redacted = "[redacted]"

// Secret is a text that is never shown: whatever prints, logs or encodes it
// gets a placeholder.
type Secret string

// Format writes the placeholder, whatever the verb.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(redacted)) }

// String is the placeholder.
func (s Secret) String() string { return redacted }

// LogValue is the placeholder.
func (s Secret) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText gives the placeholder, to JSON and others.
func (s Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// MarshalYAML gives the placeholder.
func (s Secret) MarshalYAML() (any, error) { return redacted, nil }

// keyedZone is a zone with a place for a key, and what it is on the wire.
type keyedZone struct {
	zone, key string
	scrub     *regexp.Regexp
}

// keyed is what WithKeys returns.
type keyed struct {
	resolver Resolver
	zones    []keyedZone
}

// WithKeys is the resolver to check the lists with where some of them have a
// query key. Everything above it, the lists themselves, a Recorder and Frozen
// answers, sees the zone as it was configured, with {key} in the key's place;
// only the resolver below is given the key itself. Where the answer repeats the
// key it is put back.
//
// Wrap the Client, then record:
//
//	recorder := NewRecorder(lists.WithKeys(client))
//
// A Client does not ask for a name that still has {key} in it.
func (l *Lists) WithKeys(resolver Resolver) Resolver {
	k := &keyed{resolver: resolver}
	for _, list := range l.lists {
		if list.Key != "" {
			k.zones = append(k.zones, keyedZone{
				zone:  list.zone,
				key:   asciiLower(string(list.Key)),
				scrub: regexp.MustCompile("(?i)" + regexp.QuoteMeta(string(list.Key))),
			})
		}
	}
	if len(k.zones) == 0 {
		return resolver
	}
	return k
}

// Lookup puts the key in.
func (k *keyed) Lookup(ctx context.Context, name string, qtype uint16) Result {
	zone, asked, result, ok := k.fill(name)
	if ok {
		return result
	}
	return zone.clean(k.resolver.Lookup(ctx, asked, qtype))
}

// peek is Lookup where nobody has to be asked.
func (k *keyed) peek(name string, qtype uint16) (Result, bool) {
	zone, asked, result, ok := k.fill(name)
	if ok {
		return result, true
	}
	result, ok = peek(k.resolver, asked, qtype)
	return zone.clean(result), ok
}

// fresh is Lookup past the cache.
func (k *keyed) fresh(ctx context.Context, name string, qtype uint16) Result {
	zone, asked, result, ok := k.fill(name)
	if ok {
		return result
	}
	return zone.clean(fresh(ctx, k.resolver, asked, qtype))
}

// fill gives the name to ask for, with the key if it has a place for one, and
// the zone that is about; or the result where there is nothing to ask.
func (k *keyed) fill(name string) (zone keyedZone, asked string, result Result, ok bool) {
	if !strings.Contains(name, keyPlace) {
		return keyedZone{}, name, Result{}, false
	}
	name, valid := canonicalName(name)
	if !valid {
		return keyedZone{}, "", Result{Status: NXDomain}, true
	}
	for _, z := range k.zones {
		if labels, ok := strings.CutSuffix(name, "."+z.zone); ok {
			return z, labels + "." + strings.ReplaceAll(z.zone, keyPlace, z.key), Result{}, false
		}
	}
	return keyedZone{}, "", temporary(ErrServFail), true
}

// clean takes the key out of what came back.
func (z keyedZone) clean(result Result) Result {
	if z.scrub == nil {
		return result
	}
	for i, record := range result.Records {
		if !z.scrub.MatchString(record.Text) && !z.scrub.MatchString(record.Host) {
			continue
		}
		records := append([]Record(nil), result.Records...)
		for j := i; j < len(records); j++ {
			records[j].Text = z.scrub.ReplaceAllLiteralString(records[j].Text, keyPlace)
			records[j].Host = z.scrub.ReplaceAllLiteralString(records[j].Host, keyPlace)
		}
		result.Records = sorted(records, records[0].TTL)
		return result
	}
	return result
}
