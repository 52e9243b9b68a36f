package socketmap

import (
	"context"
	"strings"

	"milterd/policy/access"
)

// memory is what a connection remembers of its look-ups. sendmail has a process, and so a
// connection, for each of its clients.
type memory struct {
	// previous is the key that was asked for before.
	previous string
	// question is the last one about a recipient, nil before it.
	question *question
}

type memoryKey struct{}

func withMemory(ctx context.Context, m *memory) context.Context {
	return context.WithValue(ctx, memoryKey{}, m)
}

// memoryOf is the memory of the connection that a look-up came on; one that came on none
// has an empty one.
func memoryOf(ctx context.Context) *memory {
	if m, ok := ctx.Value(memoryKey{}).(*memory); ok {
		return m
	}
	return new(memory)
}

// shortened reports whether sendmail has made a key of the one before by taking the
// last part of an IPv6 address away (ruleset A). With UseCompressedIPv6Addresses the
// rest can read as another address: IPv6:2001:db8::1:8 becomes IPv6:2001:db8::1,
// which is no client's.
func shortened(ctx context.Context, key string) bool {
	previous := memoryOf(ctx).previous
	return strings.Contains(previous, "::") && strings.HasPrefix(addressIn(previous), addressIn(key)+":")
}

// addressIn is a key without its tag.
func addressIn(key string) string {
	key = access.Fold(key)
	if i := strings.Index(key, "ipv6:"); i >= 0 {
		return key[i:]
	}
	return key
}
