package dnscheck

import (
	"slices"
	"strings"
	"time"

	"github.com/miekg/dns"
)

// maxAliases bounds how many CNAME records one look-up follows.
const maxAliases = 8

// cacheEntry is a result with the time it may be remembered.
type cacheEntry struct {
	Result
	// ttl is what the DNS says: the least of the records', or RFC 2308's for a
	// negative answer. It is negative if the answer does not say.
	ttl time.Duration
}

// unsaid is the ttl of an answer that does not name one.
const unsaid = time.Duration(-1)

// chain follows one look-up along its aliases, through one message or several.
type chain struct {
	name  string // to which the aliases have led so far
	qtype uint16
	steps int
	ttl   uint32 // the least of the aliases'
}

func newChain(q Question) *chain {
	return &chain{name: q.Name, qtype: q.Type, ttl: 1<<31 - 1}
}

// step goes along an alias; false if there have been too many.
func (c *chain) step(alias *dns.CNAME) bool {
	target, ok := canonicalTarget(alias.Target)
	if c.steps++; !ok || c.steps > maxAliases {
		return false
	}
	c.name = target
	c.ttl = min(c.ttl, alias.Hdr.Ttl)
	return true
}

// collect takes the records of the chain's name and type out of rrs. Without
// any, alias is the name's CNAME record, if it has one.
func (c *chain) collect(rrs []dns.RR) (records []Record, alias *dns.CNAME) {
	for _, rr := range rrs {
		header := rr.Header()
		if header.Class != dns.ClassINET || !strings.EqualFold(header.Name, c.name) {
			continue
		}
		if header.Rrtype == c.qtype {
			if record, ok := newRecord(rr); ok {
				records = append(records, record)
			}
			continue
		}
		if cname, ok := rr.(*dns.CNAME); ok && alias == nil {
			alias = cname
		}
	}
	return records, alias
}

// read takes what a message says. With done false the message ends in an alias
// whose target is to be asked for: the chain has moved there.
func (c *chain) read(m *dns.Msg) (a cacheEntry, done bool) {
	asked := c.name
	for {
		records, alias := c.collect(m.Answer)
		if len(records) > 0 {
			records = sorted(records, c.ttl)
			ttl := time.Duration(records[0].TTL) * time.Second
			return cacheEntry{found(records), ttl}, true
		}
		if alias == nil {
			break
		}
		if !c.step(alias) {
			return cacheEntry{temporary(ErrServFail), unsaid}, true
		}
	}
	ttl, hasSOA := c.negativeTTL(m)
	switch {
	case m.Rcode == dns.RcodeNameError:
		return cacheEntry{Result{Status: NXDomain}, ttl}, true
	case c.name == asked && c.answersAnother(m):
		return cacheEntry{temporary(ErrServFail), unsaid}, true
	case c.name == asked || hasSOA:
		return cacheEntry{Result{Status: NoData}, ttl}, true
	}
	return cacheEntry{}, false
}

// answersAnother reports whether a message has answers, and none of them is about the name:
// a broken server's, which does not say that there are no records.
func (c *chain) answersAnother(m *dns.Msg) bool {
	return len(m.Answer) > 0 && !slices.ContainsFunc(m.Answer, func(rr dns.RR) bool { return strings.EqualFold(rr.Header().Name, c.name) })
}

// negativeTTL is how long a negative answer may be remembered: the lesser of the
// SOA record's own time to live and its minimum field (RFC 2308 section 5).
func (c *chain) negativeTTL(m *dns.Msg) (ttl time.Duration, ok bool) {
	for _, rr := range m.Ns {
		if soa, isSOA := rr.(*dns.SOA); isSOA {
			return time.Duration(min(soa.Hdr.Ttl, soa.Minttl, c.ttl)) * time.Second, true
		}
	}
	return unsaid, false
}

// isReferral says that a message is no answer but points to other servers, which a
// resolver does not do (RFC 2308 section 2.2: NODATA or referral).
func isReferral(m *dns.Msg) bool {
	if m.Rcode != dns.RcodeSuccess || m.Authoritative || len(m.Answer) > 0 {
		return false
	}
	referral := false
	for _, rr := range m.Ns {
		switch rr.Header().Rrtype {
		case dns.TypeSOA:
			return false
		case dns.TypeNS:
			referral = true
		}
	}
	return referral
}
