package dnscheck_test

import (
	"fmt"
	"testing"

	"github.com/miekg/dns"

	"milterd/dnscheck"
)

const goodAnswer = "a.example. 300 IN A 203.0.113.5"

// failing is a reply with a code and no OPT record.
func failing(query *dns.Msg, rcode int) *dns.Msg { return new(dns.Msg).SetRcode(query, rcode) }

// header is the reply cut down to its header, without a question.
func header(t testing.TB, m *dns.Msg) []byte {
	m.Question = nil
	return packed(t, m)
}

// Servers from before EDNS, and servers that do not repeat the question in an error,
// are asked again at once without EDNS.
func TestServersThatDoNotKnowEDNS(t *testing.T) {
	badVersion := func(query *dns.Msg) *dns.Msg {
		m := failing(query, dns.RcodeBadVers).SetEdns0(1232, false)
		m.IsEdns0().SetVersion(1)
		return m
	}
	for _, test := range []struct {
		name  string
		reply func(query *dns.Msg) []byte
	}{
		{"FORMERR", func(q *dns.Msg) []byte { return packed(t, failing(q, dns.RcodeFormatError)) }},
		{"FORMERR that repeats the OPT record", func(q *dns.Msg) []byte {
			m := failing(q, dns.RcodeFormatError)
			m.Extra = q.Extra
			return packed(t, m)
		}},
		{"FORMERR without a question", func(q *dns.Msg) []byte { return header(t, failing(q, dns.RcodeFormatError)) }},
		{"FORMERR of a header only, with the numbers of the query", func(q *dns.Msg) []byte {
			m := failing(q, dns.RcodeFormatError)
			m.Extra = q.Extra
			return packed(t, m)[:12]
		}},
		{"NOTIMP", func(q *dns.Msg) []byte { return packed(t, failing(q, dns.RcodeNotImplemented)) }},
		{"NOTIMP without a question", func(q *dns.Msg) []byte { return header(t, failing(q, dns.RcodeNotImplemented)) }},
		{"BADVERS", func(q *dns.Msg) []byte { return packed(t, badVersion(q)) }},
		{"BADVERS without a question", func(q *dns.Msg) []byte { return header(t, badVersion(q)) }},
		{"SERVFAIL without an OPT record", func(q *dns.Msg) []byte { return packed(t, failing(q, dns.RcodeServerFailure)) }},
		{"SERVFAIL without a question", func(q *dns.Msg) []byte { return header(t, failing(q, dns.RcodeServerFailure)) }},
		{"REFUSED without an OPT record", func(q *dns.Msg) []byte { return packed(t, failing(q, dns.RcodeRefused)) }},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := serveRaw(t, func(query *dns.Msg) [][]byte {
				if query.IsEdns0() != nil {
					return [][]byte{test.reply(query)}
				}
				return [][]byte{packed(t, answering(t, query, goodAnswer))}
			}, nil)
			c := dial(t, nil, dnscheck.Config{Servers: []string{s.addr()}, TryTimeout: patience, Attempts: 1})
			if got, want := says(c.Lookup(withPatience(t), "a.example", dns.TypeA)), "FOUND | 300 IN A 203.0.113.5"; got != want {
				t.Errorf("got %s, want %s", got, want)
			}
			if got := c.Stats(); got.Queries.Load() != 2 || got.Ignored.Load() != 0 {
				t.Errorf("%d queries, %d messages ignored, want 2 and 0", got.Queries.Load(), got.Ignored.Load())
			}
		})
	}
}

// What a server cannot tell the next one is asked for at once. Every server here gets
// no more than one query with EDNS and one without.
func TestServersThatCannotTellAreNotWaitedFor(t *testing.T) {
	cut := func(query *dns.Msg) []byte {
		m := answering(t, query, "a.example. 300 IN A 192.0.2.66")
		m.Truncated = true
		return packed(t, m)
	}
	for _, test := range []struct {
		name  string
		reply func(query *dns.Msg) []byte
		tcp   func(query *dns.Msg) []byte
		alone string // the result without another server
	}{
		{"SERVFAIL without a question", func(q *dns.Msg) []byte { return header(t, failing(q, dns.RcodeServerFailure)) }, nil, "TEMPORARY | server failure"},
		{"REFUSED without a question", func(q *dns.Msg) []byte { return header(t, failing(q, dns.RcodeRefused)) }, nil, "TEMPORARY | server failure"},
		{"NOTIMP to everything", func(q *dns.Msg) []byte { return header(t, failing(q, dns.RcodeNotImplemented)) }, nil, "TEMPORARY | server failure"},
		{"a code that nobody knows", func(q *dns.Msg) []byte { return packed(t, failing(q, 15)) }, nil, "TEMPORARY | server failure"},
		{"a referral to the root", func(q *dns.Msg) []byte {
			m := answering(t, q)
			m.Ns = []dns.RR{rr(t, ". 300 IN NS a.root-servers.net.")}
			return packed(t, m)
		}, nil, "TEMPORARY | server failure"},
		{"truncated, and TCP is closed again", cut, func(*dns.Msg) []byte { return []byte{} }, "TEMPORARY | no answer in time"},
		{"truncated, and an error over TCP", cut, func(q *dns.Msg) []byte { return framed(header(t, failing(q, dns.RcodeServerFailure))) }, "TEMPORARY | server failure"},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := serveRaw(t, func(query *dns.Msg) [][]byte { return [][]byte{test.reply(query)} }, test.tcp)
			other := serve(t, goodAnswer)
			for _, servers := range [][]string{{s.addr()}, {s.addr(), other.Addr()}} {
				c := dial(t, nil, dnscheck.Config{Servers: servers, TryTimeout: patience, Timeout: patience, Attempts: 1})
				want := test.alone
				if len(servers) > 1 {
					want = "FOUND | 300 IN A 203.0.113.5"
				}
				if got := says(c.Lookup(withPatience(t), "a.example", dns.TypeA)); got != want {
					t.Errorf("%d servers: got %s, want %s", len(servers), got, want)
				}
				if got := c.Stats(); got.Ignored.Load() != 0 || got.Timeouts.Load() != 0 || got.Queries.Load() > 3 {
					t.Errorf("%d servers: %+v", len(servers), got)
				}
			}
		})
	}
}

// A firewall that drops queries with EDNS costs one time-out.
func TestQueriesWithEDNSThatAreDropped(t *testing.T) {
	s := serveRaw(t, func(query *dns.Msg) [][]byte {
		if query.IsEdns0() != nil {
			return nil
		}
		return [][]byte{packed(t, answering(t, query, goodAnswer))}
	}, nil)
	c := dial(t, nil, dnscheck.Config{Servers: []string{s.addr()}, TryTimeout: silence, Attempts: 2})
	if got, want := says(c.Lookup(withPatience(t), "a.example", dns.TypeA)), "FOUND | 300 IN A 203.0.113.5"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// Without EDNS 512 octets are the limit over UDP; the rest comes over TCP, to a query
// without EDNS as well. A server that sends more all the same is understood.
func TestLongAnswersWithoutEDNS(t *testing.T) {
	long := func(query *dns.Msg) *dns.Msg {
		m := answering(t, query)
		for i := range 60 {
			m.Answer = append(m.Answer, rr(t, fmt.Sprintf("a.example. 300 IN A 10.0.0.%d", i)))
		}
		return m
	}
	for name, limit := range map[string]int{"cut at 512 octets": dns.MinMsgSize, "more than 512 octets": 4000} {
		t.Run(name, func(t *testing.T) {
			s := serveRaw(t, func(query *dns.Msg) [][]byte {
				if query.IsEdns0() != nil {
					return [][]byte{packed(t, failing(query, dns.RcodeFormatError))}
				}
				m := long(query)
				m.Truncate(limit)
				return [][]byte{packed(t, m)}
			}, func(query *dns.Msg) []byte {
				if query.IsEdns0() != nil {
					return framed(packed(t, failing(query, dns.RcodeFormatError)))
				}
				return framed(packed(t, long(query)))
			})
			c := dial(t, nil, dnscheck.Config{Servers: []string{s.addr()}, TryTimeout: patience, Attempts: 1})
			if got := c.Lookup(withPatience(t), "a.example", dns.TypeA); len(got.Records) != 60 {
				t.Errorf("got %d records, want 60: %s", len(got.Records), says(got))
			}
		})
	}
}
