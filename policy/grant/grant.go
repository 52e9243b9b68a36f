package grant

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// Grant lets one address relay until a time.
type Grant struct {
	// Addr is the client's address: exact, without a zone, IPv4 never mapped.
	Addr netip.Addr `json:"addr"`
	// User is who logged in last, empty if the source does not know.
	User string `json:"user"`
	// Source is where that login was seen, such as dovecot or maillog:imapd.
	Source string `json:"source"`
	// Since is the first login of this grant.
	Since time.Time `json:"since"`
	// Expires is its end.
	Expires time.Time `json:"expires"`
}

// Login is one successful login over POP or IMAP.
type Login struct {
	// Addr is where it came from.
	Addr netip.Addr
	// User is who logged in, empty if the source does not know.
	User string
	// Source names the source.
	Source string
	// At is when it was, zero if the source tells of logins as they happen.
	At time.Time
}

// Granter makes relay grants. A Keeper does; sources report logins to it.
type Granter interface {
	// Login grants or renews. With an error nothing is granted.
	Login(context.Context, Login) (Result, error)
}

var _ Granter = (*Keeper)(nil)

// The bounds of what a login may say, in octets. A user name has room for the
// longest mail address (RFC 5321 section 4.5.3.1) with its @.
const (
	MaxUser   = 64 + 1 + 255
	MaxSource = 64
)

// MaxTTL bounds the length of a grant.
const MaxTTL = 24 * time.Hour

// ErrFull is returned by a store that has no room for another grant.
var ErrFull = errors.New("too many relay grants")

// Store keeps grants. Addresses are canonical: see Canonical. The store decides
// by its own clock what has expired, and never gives out a grant that has. One on
// another machine bounds the time of each operation. It is used from many goroutines at
// once.
type Store interface {
	// Put grants or renews for ttl from now. If maxPerUser is positive and the
	// user is known, the user's grants with the oldest logins go until that many are
	// left. It returns ErrFull if there is no room for a new grant.
	Put(ctx context.Context, login Login, ttl time.Duration, maxPerUser int) (Change, error)
	// Get finds the grant of an address.
	Get(ctx context.Context, addr netip.Addr) (Grant, bool, error)
	// Delete ends the grant of an address, if there is one.
	Delete(ctx context.Context, addr netip.Addr) (bool, error)
	// DeleteUser ends all grants of a user and returns their addresses.
	DeleteUser(ctx context.Context, user string) ([]netip.Addr, error)
	// List calls fn for each grant, in no order, until it returns false. A grant
	// that changes meanwhile may be told before or after, or both.
	List(ctx context.Context, fn func(Grant) bool) error
	// Expire removes grants that have expired, max at most, and returns them. As
	// many as max mean that there may be more. Keeper.Run calls it once a second.
	Expire(ctx context.Context, max int) ([]Grant, error)
	// Len is the number of grants, negative if the store does not know.
	Len() int
	// Known says whether the address held an unexpired grant when a remote store
	// could last be asked. It asks for nothing.
	Known(addr netip.Addr) bool
	// Failures counts failures that no other method returned.
	Failures() uint64
	// Close ends the use of the store.
	Close() error
}

var _, _ Store = (*Memory)(nil), (*File)(nil)

// Change is what Put did.
type Change struct {
	// Grant is the grant as it is now.
	Grant Grant
	// Renewed says that it was there already, of the same user or one unknown.
	Renewed bool
	// Replaced is the user whose grant the address had before; another user's.
	Replaced string
	// Displaced are the addresses that lost their grant to the limit per user.
	Displaced []netip.Addr
}

// Succeed is the change that a login makes to an address. old is the grant it has,
// if ok; now is the time of the login.
func Succeed(old Grant, ok bool, login Login, now time.Time, ttl time.Duration) Change {
	g := Grant{Addr: login.Addr, User: login.User, Source: login.Source, Since: now, Expires: now.Add(ttl)}
	switch {
	case !ok:
		return Change{Grant: g}
	case old.User != "" && login.User != "" && old.User != login.User:
		return Change{Grant: g, Replaced: old.User}
	}
	g.Since = old.Since
	if g.User == "" {
		g.User = old.User
	}
	return Change{Grant: g, Renewed: true}
}

// Canonical is the form in which an address has its grant: IPv4 unmapped, no
// zone.
func Canonical(addr netip.Addr) netip.Addr { return addr.Unmap().WithZone("") }

// Valid says why a login cannot be one.
func (l Login) Valid() error {
	switch {
	case !l.Addr.IsValid():
		return errors.New("no address")
	case l.Source == "" || len(l.Source) > MaxSource || hasControl(l.Source):
		return fmt.Errorf("source of %d octets, expected 1 to %d printable ones", len(l.Source), MaxSource)
	}
	return ValidUser(l.User)
}

// ValidUser says why a name cannot be a user's. No mail server has users with
// control characters in their names; a name that does is an attempt to write lines into logs
// and listings.
func ValidUser(user string) error {
	switch {
	case len(user) > MaxUser:
		return fmt.Errorf("user name of %d octets, the limit is %d", len(user), MaxUser)
	case !utf8.ValidString(user):
		return errors.New("user name is not valid UTF-8")
	case hasControl(user):
		return errors.New("user name has control characters")
	}
	return nil
}

// hasControl reports whether a text has control characters or line separators.
func hasControl(text string) bool {
	return strings.ContainsFunc(text, func(r rune) bool { return unicode.IsControl(r) || r == '\u2028' || r == '\u2029' })
}
