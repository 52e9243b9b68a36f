package socketmap

import (
	"context"
	"strings"

	"milterd/policy/access"
)

// previousKey is where a context has the key that was asked for before, on the same
// connection.
type previousKey struct{}

// afterKey tells the look-up that follows which key was asked for before, if that was
// about an address in compressed form.
func afterKey(ctx context.Context, previous string) context.Context {
	if !strings.Contains(previous, "::") {
		return ctx
	}
	return context.WithValue(ctx, previousKey{}, previous)
}

// shortened reports whether sendmail has made a key of the one before by taking the
// last part of an IPv6 address away (ruleset A). With UseCompressedIPv6Addresses the
// rest can read as another address: IPv6:2001:db8::1:8 becomes IPv6:2001:db8::1,
// which is no client's.
func shortened(ctx context.Context, key string) bool {
	previous, ok := ctx.Value(previousKey{}).(string)
	return ok && strings.HasPrefix(addressIn(previous), addressIn(key)+":")
}

// addressIn is a key without its tag.
func addressIn(key string) string {
	key = access.Fold(key)
	if i := strings.Index(key, "ipv6:"); i >= 0 {
		return key[i:]
	}
	return key
}
