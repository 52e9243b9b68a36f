package dnscheck

import (
	"cmp"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
)

// ListKind says what a list lists.
type ListKind uint8

const (
	// AddressList: client addresses (RFC 5782 section 2).
	AddressList ListKind = iota
	// DomainList: names (RFC 5782 section 3). It is never asked about an address.
	DomainList
)

// TemporaryRule says what becomes of a list that gives no answer.
type TemporaryRule uint8

const (
	// IgnoreTemporary: as if nothing were listed.
	IgnoreTemporary TemporaryRule = iota
	// TempFail: the verdict is temporary too, if the answer could have changed it.
	TempFail
)

type List struct {
	// Name is what the list is called in reports; by default it is Zone.
	Name string
	// Zone is what its names end in, such as bl.example. If the list gives each
	// customer a key, {key} stands for it: {key}.bl.example.
	Zone string
	// Key is the query key; it goes where {key} stands in Zone, and nowhere else.
	Key  Secret
	Kind ListKind
	// Weight is what a listing adds to the score. It is negative for an allow
	// list; with 0 a listing is only noted.
	Weight int
	// Exempt is for an allow list that is final: what it lists is not refused,
	// however high the score.
	Exempt bool
	// Codes are the answers that count as a listing; the default is a careful
	// choice for the kind of list.
	Codes []Code
	// Clients says which clients it is asked about; everybody by default.
	Clients Clients
	// IPv4 and IPv6 are the families an address list is asked about; both if
	// neither is set.
	IPv4, IPv6 bool
	// TXT asks for the reason of a listing too.
	TXT bool
	// OnTemporary is what no answer means.
	OnTemporary TemporaryRule
	// NoProbe is for a list that does not hold the test entries of RFC 5782
	// section 5, or forbids asking for them: see Health.
	NoProbe bool
}

// allows says that it is better to be on the list than not.
func (l List) allows() bool { return l.Exempt || l.Weight < 0 }

// The bounds of a configuration.
const (
	maxLists = 100
	maxZone  = 150 // leaves room for an IPv6 address before it
)

// list is a List made ready.
type list struct {
	List
	// zone is canonical, with {key} in its place; onWire has the key itself.
	zone, onWire string
	// key finds the key in answers; nil without one.
	key *regexp.Regexp
	// health of each family it is asked about; nil without ListOptions.Health.
	health [families]*zoneHealth
	// duration counts how long it took to answer; nil without ListOptions.Health.
	duration prometheus.Observer
}

// asks says whether the list is asked about such names.
func (l *list) asks(f family) bool {
	return l.Kind == DomainList && f == familyNames || l.Kind == AddressList && (l.IPv4 && f == familyIPv4 || l.IPv6 && f == familyIPv6)
}

// Lists are the lists that a client, or the names it gives, are checked against; nil
// for none.
type Lists struct {
	lists     []*list
	threshold int
	// of are the lists that For returns.
	of map[Audience]*Lists
}

// ListOptions are what all lists have in common.
type ListOptions struct {
	// Threshold is the score at which the verdict is Listed. Default 1.
	Threshold int
	// Health knows which lists are to be bypassed; nil asks all of them.
	Health *Health
}

// NewLists checks a configuration. Package configs bounds its weights, and sees that no
// two lists have one name.
func NewLists(lists []List, o ListOptions) (*Lists, error) {
	if o.Threshold < 0 {
		return nil, fmt.Errorf("dns lists: threshold %d, expected a positive number", o.Threshold)
	}
	if len(lists) > maxLists {
		return nil, fmt.Errorf("dns lists: %d, expected %d at most", len(lists), maxLists)
	}
	l := &Lists{threshold: cmp.Or(o.Threshold, 1)}
	for _, config := range lists {
		ready, err := newList(config)
		if err != nil {
			return nil, fmt.Errorf("dns list %s: %w", Printable(config.Zone), err)
		}
		if twin := slices.IndexFunc(l.lists, ready.asksTheSame); twin >= 0 {
			return nil, fmt.Errorf("dns list %s: the zone is that of the list %s", ready.Name, l.lists[twin].Name)
		}
		if o.Health != nil {
			o.Health.adopt(ready)
		}
		l.lists = append(l.lists, ready)
	}
	l.share()
	return l, nil
}

// asksTheSame says that two lists put the same questions, and would count an
// answer twice.
func (l *list) asksTheSame(other *list) bool {
	for f := range families {
		if l.zone == other.zone && l.asks(f) && other.asks(f) {
			return true
		}
	}
	return false
}

func newList(config List) (*list, error) {
	config.Name = cmp.Or(config.Name, config.Zone)
	zone, ok := canonicalName(config.Zone)
	hasPlace := strings.Count(zone, keyPlace)
	switch {
	case !ok || zone == "." || len(zone) > maxZone:
		return nil, fmt.Errorf("expected a zone name of at most %d characters", maxZone)
	case !hostCharacters(strings.ReplaceAll(zone, keyPlace, "")):
		return nil, errors.New("expected a zone name such as bl.example: letters, digits, hyphens, underscores and dots")
	case config.Key == "" && hasPlace > 0:
		return nil, errors.New("the zone has a place for a key, and there is none")
	case config.Key != "" && hasPlace != 1:
		return nil, errors.New("expected {key} once in the zone, where the key goes")
	case config.Exempt && config.Weight > 0:
		return nil, errors.New("a list that exempts cannot have a positive weight")
	}
	ready := &list{zone: zone, onWire: zone}
	if config.Key != "" {
		if !hostCharacters(asciiLower(string(config.Key))) {
			return nil, errors.New("the key holds characters that a name cannot have")
		}
		if ready.onWire, ok = canonicalName(strings.ReplaceAll(zone, keyPlace, string(config.Key))); !ok || len(ready.onWire) > maxZone {
			return nil, errors.New("with its key the zone is no name, or too long")
		}
		ready.key = regexp.MustCompile("(?i)" + regexp.QuoteMeta(string(config.Key)))
	}
	if !config.IPv4 && !config.IPv6 {
		config.IPv4, config.IPv6 = true, true
	}
	if len(config.Codes) == 0 {
		for _, text := range defaultCodes(config) {
			code, err := ParseCode(text)
			if err != nil {
				return nil, err
			}
			config.Codes = append(config.Codes, code)
		}
	}
	config.Codes = slices.Clone(config.Codes)
	ready.List = config
	return ready, nil
}
