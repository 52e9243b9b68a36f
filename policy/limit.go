package policy

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"milterd/policy/access"
)

// Limits bound how much mail is taken. The check is the last one at RCPT, so that only
// a recipient that is really taken counts.
type Limits struct {
	Rules []Limit
	// Blocks: it is asked whether a login has been blocked by hand. Blocked is the reply
	// to one that has.
	Blocks  bool
	Blocked Reply
}

// CountRefused reports whether a limit counts refused recipients.
func (l *Limits) CountRefused() bool {
	return slices.ContainsFunc(l.Rules, func(l Limit) bool { return l.Count == CountRefused && l.Mode != ModeOff })
}

// Limit is one rule.
type Limit struct {
	Name  string
	Mode  Mode
	Count LimitCount
	By    LimitBy
	Rates []Rate // all have to have room
	Whom  LimitWhom
	// Exceptions holds the rates of single logins (LoginName), in place of Rates. One
	// without a rate is not limited.
	Exceptions map[string][]Rate
	// Reply refuses what is over the limit. {limit} stands for the rate, {wait} for the
	// time until there is room again.
	Reply Reply
}

// RatesOf are the rates that a login has; empty for one that has not logged in.
func (l *Limit) RatesOf(login string) []Rate {
	if own, ok := l.Exceptions[login]; ok && login != "" {
		return own
	}
	return l.Rates
}

// LimitCount says what a limit counts.
type LimitCount string

const (
	// CountMessages counts a message with its first recipient that is taken. Its further
	// recipients are free, so that a message that has begun is never cut.
	CountMessages LimitCount = "messages"
	// CountRecipients counts each recipient that is taken.
	CountRecipients LimitCount = "recipients"
	// CountRefused counts recipients that other checks refuse for good, or the MTA if it
	// tells: sendmail does of unknown users, and not of what check_rcpt refuses. If there
	// are too many, all others are put off, too.
	CountRefused LimitCount = "refused"
)

// LimitBy says what a count is kept for.
type LimitBy string

const (
	ByLogin  LimitBy = "login"  // who has authenticated, in the form of LoginName
	ByClient LimitBy = "client" // the client's IPv4 address, or the /64 of its IPv6 address
	BySender LimitBy = "sender" // the envelope sender, whichever login names it; that of strangers apart; the null sender has no count
)

// LimitWhom says whose mail a limit is for. The zero value is everybody's; else one of
// what is set has to fit.
type LimitWhom struct {
	// Authenticated clients, with whatever mechanism; Relay: others that may relay by
	// address, name or certificate; Granted: others whose address holds a relay grant;
	// Strangers: all the rest.
	Authenticated, Relay, Granted, Strangers bool
	Networks                                 []netip.Prefix
	// Logins are in the form of LoginName.
	Logins []string
}

// Rate is how much is taken: as many as Burst at once, and one more each N-th part of
// Period. Who has used nothing for a while may send Burst, and from then on N a Period.
type Rate struct {
	N, Period, Burst int // Period is in seconds
}

// The bounds of a rate; MaxPeriod is 31 days in seconds.
const (
	MaxRate    = 1_000_000
	MaxPeriod  = 31 * 24 * 60 * 60
	rateSyntax = "expected N/TIME such as 100/1h, or N/TIME/BURST"
)

// units are those of a period, the longest first.
var units = [...]struct {
	letter  byte
	seconds int
}{{'d', 24 * 60 * 60}, {'h', 60 * 60}, {'m', 60}, {'s', 1}}

// ParseRate reads N/TIME or N/TIME/BURST: 100/1h, 1000/24h/50. TIME is a number of s, m, h
// or d.
func ParseRate(s string) (Rate, error) {
	parts := strings.Split(s, "/")
	if len(parts) < 2 || len(parts) > 3 {
		return Rate{}, errors.New(rateSyntax)
	}
	n, err := parseAmount(parts[0])
	if err != nil {
		return Rate{}, err
	}
	period, ok := parsePeriod(parts[1])
	if !ok {
		return Rate{}, fmt.Errorf("%q is not a time from 1s to 31d; %s", parts[1], rateSyntax)
	}
	burst := n
	if len(parts) == 3 {
		burst, err = parseAmount(parts[2])
	}
	return Rate{N: n, Period: period, Burst: burst}, err
}

func parsePeriod(s string) (seconds int, ok bool) {
	for _, u := range units {
		if text, is := strings.CutSuffix(s, string(u.letter)); is {
			n, err := strconv.Atoi(text)
			return n * u.seconds, err == nil && n >= 1 && n <= MaxPeriod/u.seconds && text == strconv.Itoa(n)
		}
	}
	return 0, false
}

func parseAmount(s string) (int, error) {
	n, err := strconv.Atoi(s)
	if err != nil || n < 1 || n > MaxRate || s != strconv.Itoa(n) {
		return 0, fmt.Errorf("%q is not a number from 1 to %d; %s", s, MaxRate, rateSyntax)
	}
	return n, nil
}

// String is the rate as ParseRate reads it.
func (r Rate) String() string {
	text := strconv.Itoa(r.N) + "/"
	for _, u := range units {
		// A day is written as 24h.
		if u.letter != 'd' && r.Period%u.seconds == 0 {
			text += strconv.Itoa(r.Period/u.seconds) + string(u.letter)
			break
		}
	}
	if r.Burst != r.N {
		text += "/" + strconv.Itoa(r.Burst)
	}
	return text
}

// Interval is the time in which room for one more comes, in microseconds, rounded up.
func (r Rate) Interval() int64 { return (int64(r.Period)*1_000_000 + int64(r.N) - 1) / int64(r.N) }

// LimitQuery asks for room under one limit. Answers.Count fills in Answer.
type LimitQuery struct {
	Limit *Limit
	Key   string // what the count is kept for
	// Invented: a stranger can have as many such keys as it likes. Their counts must not
	// take the place of others.
	Invented bool
	Rates    []Rate // of the limit, or of an exception
	N        int    // how many are to be taken; 0 only asks
	Enforced bool   // nothing is taken under any limit if this one has no room
	Answer   LimitAnswer
}

// LimitAnswer is what one limit says. The zero value is room.
type LimitAnswer struct {
	Rate Rate // that with the least room
	Used int  // how much of its burst was used before
	Wait int  // seconds until there is room, rounded up; 0 if there is
}

// limited reports whether a limit is for this client.
func (s *Session) limited(e *evaluation, l *Limit, login string) bool {
	w := &l.Whom
	if !w.Authenticated && !w.Relay && !w.Granted && !w.Strangers && len(w.Networks) == 0 && len(w.Logins) == 0 {
		return true
	}
	addr := s.conn.Addr.Unmap()
	switch {
	case login != "" && slices.Contains(w.Logins, login):
		return true
	case slices.ContainsFunc(w.Networks, func(p netip.Prefix) bool { return p.Contains(addr) }):
		return true
	case s.authenticated():
		return w.Authenticated
	case !w.Relay && !w.Granted && !w.Strangers:
		return false
	case s.relays(e):
		return w.Relay
	case (w.Granted || w.Strangers) && !s.conn.Shared && s.grant() == GrantHeld:
		return w.Granted
	}
	return w.Strangers
}

// authenticated reports whether the client has logged in.
func (s *Session) authenticated() bool { return s.message.auth.authenticated() }

// relays reports whether the client may relay without a login and without a grant.
func (s *Session) relays(e *evaluation) bool {
	defer e.unnoted()()
	return s.certificate(e) != "" || !s.conn.Shared && (s.entitlement(e) != "" || s.nameEntitles(e) != "")
}

// limitKey is what the count of a limit is kept for; empty for none. invented: see
// LimitQuery.
func (s *Session) limitKey(e *evaluation, by LimitBy, login string) (key string, invented bool) {
	switch by {
	case ByLogin:
		return login, false
	case ByClient:
		return s.limitClient(), false
	}
	return s.limitSender(e)
}

// limitClient is the client's address, or its /64: one who has an IPv6 address has all
// of that. An address that all clients seem to have has no count: one of them would use up
// the room of all.
func (s *Session) limitClient() string {
	addr := s.conn.Addr.Unmap().WithZone("")
	switch {
	case !addr.IsValid(), s.conn.Shared:
		return ""
	case addr.Is4():
		return s.clientAddr
	}
	network, _ := addr.Prefix(64) // an IPv6 address has 128 bits
	return network.String()
}

// limitSender is the sender as the table would find it. Strangers have counts of their own:
// they can name any sender, and would use up the room of one who may send.
func (s *Session) limitSender(e *evaluation) (key string, invented bool) {
	if s.message.mail.From == "" {
		return "", false
	}
	key = "a sender that cannot be read"
	if a, err := s.canonicalSender(); err == nil {
		key = access.Fold(a.String())
	}
	if !s.authenticated() && !s.relays(e) && (s.conn.Shared || s.grant() != GrantHeld) {
		return key + " (from strangers)", true
	}
	return key, false
}
