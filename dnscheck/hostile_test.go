package dnscheck_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"

	"milterd/dnscheck"
	"milterd/integration/testkit"
)

// rawServer is a server whose answers a test makes octet by octet.
type rawServer struct {
	t       testing.TB
	udp     net.PacketConn
	tcp     net.Listener
	udpFunc func(query *dns.Msg) [][]byte
	tcpFunc func(query *dns.Msg) []byte // with the length; nil keeps the client waiting
	asked   atomic.Int32
	running sync.WaitGroup
	closing chan struct{}
}

func serveRaw(t testing.TB, udp func(*dns.Msg) [][]byte, tcp func(*dns.Msg) []byte) *rawServer {
	t.Helper()
	s := &rawServer{t: t, udpFunc: udp, tcpFunc: tcp, closing: make(chan struct{})}
	var err error
	for range 20 {
		if s.udp, err = net.ListenPacket("udp", "127.0.0.1:0"); err != nil {
			t.Fatal(err)
		}
		if s.tcp, err = net.Listen("tcp", s.udp.LocalAddr().String()); err == nil {
			break
		}
		_ = s.udp.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	s.running.Go(s.serveUDP)
	s.running.Go(s.serveTCP)
	t.Cleanup(func() {
		close(s.closing)
		_ = s.udp.Close()
		_ = s.tcp.Close()
		s.running.Wait()
	})
	return s
}

func (s *rawServer) addr() string { return s.udp.LocalAddr().String() }

func (s *rawServer) serveUDP() {
	buffer := make([]byte, 4096)
	for {
		n, from, err := s.udp.ReadFrom(buffer)
		if err != nil {
			return
		}
		s.asked.Add(1)
		query := new(dns.Msg)
		if err := query.Unpack(buffer[:n]); err != nil {
			s.t.Errorf("the query cannot be read: %v", err)
			continue
		}
		for _, reply := range s.udpFunc(query) {
			_, _ = s.udp.WriteTo(reply, from)
		}
	}
}

func (s *rawServer) serveTCP() {
	for {
		conn, err := s.tcp.Accept()
		if err != nil {
			return
		}
		s.running.Go(func() {
			defer func() { _ = conn.Close() }()
			var length [2]byte
			_, err := io.ReadFull(conn, length[:])
			message := make([]byte, binary.BigEndian.Uint16(length[:]))
			if err == nil {
				_, err = io.ReadFull(conn, message)
			}
			query := new(dns.Msg)
			if err == nil {
				err = query.Unpack(message)
			}
			if err != nil {
				s.t.Errorf("the query over TCP cannot be read: %v", err)
				return
			}
			s.asked.Add(1)
			reply := []byte(nil)
			if s.tcpFunc != nil {
				reply = s.tcpFunc(query)
			}
			if reply == nil {
				<-s.closing
				return
			}
			_, _ = conn.Write(reply)
		})
	}
}

func rr(t testing.TB, text string) dns.RR {
	t.Helper()
	record, err := dns.NewRR(text)
	if err != nil {
		t.Fatal(err)
	}
	return record
}

func packed(t testing.TB, m *dns.Msg) []byte {
	t.Helper()
	b, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// framed puts the length before a message, as TCP has it.
func framed(message []byte) []byte {
	return append(binary.BigEndian.AppendUint16(nil, uint16(len(message))), message...)
}

// answering is a reply to a query with these records.
func answering(t testing.TB, query *dns.Msg, records ...string) *dns.Msg {
	t.Helper()
	m := new(dns.Msg).SetReply(query)
	for _, text := range records {
		m.Answer = append(m.Answer, rr(t, text))
	}
	return m
}

// Whatever comes that does not answer the question is passed over, and the
// answer that comes after it is taken.
func TestForgedAndBrokenMessagesArePassedOver(t *testing.T) {
	lie := "a.example. 300 IN A 192.0.2.66"
	for _, test := range []struct {
		name  string
		spoil func(m *dns.Msg) []byte
	}{
		{"an empty datagram", func(*dns.Msg) []byte { return []byte{} }},
		{"a header cut short", func(m *dns.Msg) []byte { return packed(t, m)[:11] }},
		{"a header and nothing else", func(m *dns.Msg) []byte { return packed(t, m)[:12] }},
		{"a record cut short", func(m *dns.Msg) []byte { b := packed(t, m); return b[:len(b)-3] }},
		{"noise behind the right id", func(m *dns.Msg) []byte {
			b := packed(t, m)
			for i := 3; i < len(b); i++ {
				b[i] = 0xff
			}
			return b
		}},
		{"a name that points to itself", func(m *dns.Msg) []byte {
			return append(packed(t, new(dns.Msg).SetReply(m))[:12], 0xc0, 12, 0, 1, 0, 1)
		}},
		{"another id", func(m *dns.Msg) []byte { m.Id++; return packed(t, m) }},
		{"a query", func(m *dns.Msg) []byte { m.Response = false; return packed(t, m) }},
		{"another opcode", func(m *dns.Msg) []byte { m.Opcode = dns.OpcodeNotify; return packed(t, m) }},
		{"another name", func(m *dns.Msg) []byte { m.Question[0].Name = "b.example."; return packed(t, m) }},
		{"another type", func(m *dns.Msg) []byte { m.Question[0].Qtype = dns.TypeAAAA; return packed(t, m) }},
		{"another class", func(m *dns.Msg) []byte { m.Question[0].Qclass = dns.ClassCHAOS; return packed(t, m) }},
		{"no question", func(m *dns.Msg) []byte { m.Question = nil; return packed(t, m) }},
		{"two questions", func(m *dns.Msg) []byte {
			m.Question = append(m.Question, m.Question[0])
			return packed(t, m)
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := serveRaw(t, func(query *dns.Msg) [][]byte {
				return [][]byte{test.spoil(answering(t, query, lie)), packed(t, answering(t, query, "a.example. 300 IN A 203.0.113.5"))}
			}, nil)
			c := dial(t, nil, dnscheck.Config{Servers: []string{s.addr()}, TryTimeout: patience, Attempts: 1})
			if got, want := says(c.Lookup(withPatience(t), "a.example", dns.TypeA)), "FOUND | 300 IN A 203.0.113.5"; got != want {
				t.Errorf("got %s, want %s", got, want)
			}
			if got := c.Stats(); got.Ignored.Load() != 1 || got.Queries.Load() != 1 {
				t.Errorf("got %d messages ignored of %d queries, want 1 of 1", got.Ignored.Load(), got.Queries.Load())
			}
		})
	}
}

func TestStrangeAnswers(t *testing.T) {
	chain := func(n int) []string {
		records := []string{"a.example. 300 IN CNAME c1.example."}
		for i := 1; i < n; i++ {
			records = append(records, fmt.Sprintf("c%d.example. 300 IN CNAME c%d.example.", i, i+1))
		}
		return append(records, fmt.Sprintf("c%d.example. 300 IN A 203.0.113.5", n))
	}
	for _, test := range []struct {
		name    string
		records []string
		change  func(*dns.Msg)
		want    string
	}{
		{"records of other names", []string{"b.example. 300 IN A 192.0.2.66", "x.a.example. 300 IN A 192.0.2.66"}, nil, "TEMPORARY | server failure"},
		{"one of another name besides", []string{"b.example. 300 IN A 192.0.2.66", "a.example. 300 IN A 203.0.113.5"}, nil, "FOUND | 300 IN A 203.0.113.5"},
		{"records of other types", []string{"a.example. 300 IN AAAA 2001:db8::5"}, nil, "NODATA"},
		{"records of another class", []string{"a.example. 300 CH A 192.0.2.66"}, nil, "NODATA"},
		{"the name in another case", []string{"A.eXample. 300 IN A 203.0.113.5"}, nil, "FOUND | 300 IN A 203.0.113.5"},
		{"the same record twice", []string{"a.example. 300 IN A 203.0.113.5", "a.example. 100 IN A 203.0.113.5"}, nil, "FOUND | 100 IN A 203.0.113.5"},
		{"a time to live with the highest bit set", []string{"a.example. 4294967295 IN A 203.0.113.5"}, nil, "FOUND | 0 IN A 203.0.113.5"},
		{"aliases in the wrong order", []string{"b.example. 300 IN A 203.0.113.5", "a.example. 300 IN CNAME b.example."}, nil, "FOUND | 300 IN A 203.0.113.5"},
		{"eight aliases", chain(8), nil, "FOUND | 300 IN A 203.0.113.5"},
		{"nine aliases", chain(9), nil, "TEMPORARY | server failure"},
		{"an alias to itself", []string{"a.example. 300 IN CNAME a.example."}, nil, "TEMPORARY | server failure"},
		{"NXDOMAIN and yet a record", []string{"a.example. 300 IN A 203.0.113.5"}, func(m *dns.Msg) { m.Rcode = dns.RcodeNameError }, "FOUND | 300 IN A 203.0.113.5"},
		{"an error and yet a record", []string{"a.example. 300 IN A 203.0.113.5"}, func(m *dns.Msg) { m.Rcode = dns.RcodeRefused }, "TEMPORARY | server failure"},
		{"a referral", nil, func(m *dns.Msg) { m.Ns = []dns.RR{rr(t, "example. 300 IN NS ns.example.")} }, "TEMPORARY | server failure"},
		{"no data without any sign of it", nil, nil, "NODATA"},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := serveRaw(t, func(query *dns.Msg) [][]byte {
				m := answering(t, query, test.records...)
				m.Compress = true
				if test.change != nil {
					test.change(m)
				}
				return [][]byte{packed(t, m)}
			}, nil)
			c := dial(t, nil, dnscheck.Config{Servers: []string{s.addr()}, TryTimeout: patience, Attempts: 1})
			if got := says(c.Lookup(withPatience(t), "a.example", dns.TypeA)); got != test.want {
				t.Errorf("got %s, want %s", got, test.want)
			}
		})
	}
}

// A server that gives an alias and not what it leads to is asked for that.
func TestAliasesAreFollowedFromMessageToMessage(t *testing.T) {
	next := map[string]string{"a.example.": "b.example.", "b.example.": "c.example.", "x.example.": "y.example.", "y.example.": "x.example."}
	s := serveRaw(t, func(query *dns.Msg) [][]byte {
		name := query.Question[0].Name
		if target, ok := next[name]; ok {
			return [][]byte{packed(t, answering(t, query, name+" 300 IN CNAME "+target))}
		}
		return [][]byte{packed(t, answering(t, query, name+" 300 IN A 203.0.113.5"))}
	}, nil)
	c := dial(t, nil, dnscheck.Config{Servers: []string{s.addr()}, TryTimeout: patience, Attempts: 1})
	if got, want := says(c.Lookup(withPatience(t), "a.example", dns.TypeA)), "FOUND | 300 IN A 203.0.113.5"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if got, want := says(c.Lookup(withPatience(t), "x.example", dns.TypeA)), "TEMPORARY | server failure"; got != want {
		t.Errorf("a loop: got %s, want %s", got, want)
	}
	if got := s.asked.Load(); got > 3+9 {
		t.Errorf("the server was asked %d times", got)
	}
	if got := c.Stats().Loops.Load(); got != 1 {
		t.Errorf("counted %d loops, want 1", got)
	}
}

func TestTCP(t *testing.T) {
	truncated := func(query *dns.Msg) [][]byte {
		m := answering(t, query, "a.example. 300 IN A 192.0.2.66", "a.example. 300 IN A 192.0.2.67")
		m.Truncated = true
		b := packed(t, m)
		return [][]byte{b[:len(b)-5]} // cut off in the middle of a record
	}
	enormous := func(query *dns.Msg) []byte {
		m := new(dns.Msg).SetReply(query)
		m.Compress = true
		for i := range 3500 {
			m.Answer = append(m.Answer, rr(t, fmt.Sprintf("a.example. 300 IN A 10.0.%d.%d", i/250, i%250)))
		}
		return framed(packed(t, m))
	}
	for _, test := range []struct {
		name string
		tcp  func(*dns.Msg) []byte
		want string
	}{
		{"the answer", func(q *dns.Msg) []byte { return framed(packed(t, answering(t, q, "a.example. 300 IN A 203.0.113.5"))) }, "FOUND | 300 IN A 203.0.113.5"},
		{"an answer that ends early", func(*dns.Msg) []byte { return []byte{4, 0, 1} }, "TEMPORARY | no answer in time"},
		{"an answer of no length", func(*dns.Msg) []byte { return []byte{0, 0} }, "TEMPORARY | no answer in time"},
		{"an answer with another id", func(q *dns.Msg) []byte {
			q.Id++
			return framed(packed(t, answering(t, q, "a.example. 300 IN A 192.0.2.66")))
		}, "TEMPORARY | no answer in time"},
		{"an answer that is truncated again", func(q *dns.Msg) []byte {
			m := answering(t, q, "a.example. 300 IN A 192.0.2.66")
			m.Truncated = true
			return framed(packed(t, m))
		}, "TEMPORARY | no answer in time"},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := serveRaw(t, truncated, test.tcp)
			c := dial(t, nil, dnscheck.Config{Servers: []string{s.addr()}, TryTimeout: patience, Attempts: 1})
			if got := says(c.Lookup(withPatience(t), "a.example", dns.TypeA)); got != test.want {
				t.Errorf("got %s, want %s", got, test.want)
			}
		})
	}
	t.Run("an enormous answer", func(t *testing.T) {
		s := serveRaw(t, truncated, enormous)
		c := dial(t, nil, dnscheck.Config{Servers: []string{s.addr()}, TryTimeout: patience, Attempts: 1})
		if got := c.Lookup(withPatience(t), "a.example", dns.TypeA); len(got.Records) != 256 {
			t.Errorf("got %d records, want 256 of 3500", len(got.Records))
		}
	})
	t.Run("silence is interrupted", func(t *testing.T) {
		s := serveRaw(t, truncated, nil)
		c := dial(t, nil, dnscheck.Config{Servers: []string{s.addr()}, TryTimeout: time.Hour, Timeout: time.Hour})
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan dnscheck.Result, 1)
		go func() { done <- c.Lookup(ctx, "a.example", dns.TypeA) }()
		testkit.Eventually(t, "the query over TCP is out", func() bool { return s.asked.Load() == 2 })
		cancel()
		select {
		case got := <-done:
			if got.Err != dnscheck.ErrCanceled {
				t.Errorf("got %s", says(got))
			}
		case <-time.After(patience):
			t.Fatal("still waiting")
		}
	})
}

func TestIDsAreRandom(t *testing.T) {
	var mu sync.Mutex
	ids := make(map[uint16]int)
	s := serveRaw(t, func(query *dns.Msg) [][]byte {
		mu.Lock()
		ids[query.Id]++
		mu.Unlock()
		return [][]byte{packed(t, answering(t, query, query.Question[0].Name+" 300 IN A 203.0.113.5"))}
	}, nil)
	c := dial(t, nil, dnscheck.Config{Servers: []string{s.addr()}})
	for i := range 200 {
		c.Lookup(withPatience(t), fmt.Sprintf("n%d.example", i), dns.TypeA)
	}
	mu.Lock()
	defer mu.Unlock()
	if len(ids) < 190 {
		t.Errorf("200 queries had %d different ids", len(ids))
	}
}

// FuzzReply feeds the client whatever a server may send.
func FuzzReply(f *testing.F) {
	query := new(dns.Msg).SetQuestion("a.example.", dns.TypeA)
	for _, records := range [][]string{
		{"a.example. 300 IN A 203.0.113.5"},
		{"a.example. 300 IN CNAME b.example.", "b.example. 300 IN A 203.0.113.5"},
		{`a.example. 300 IN TXT "text"`},
		{`a.example. 300 IN PTR a\.b\000.example.`},
		{"a.example. 300 IN MX 10 mx.example."},
	} {
		m := answering(f, query, records...)
		m.Compress = true
		f.Add(packed(f, m)[2:], uint8(0))
		f.Add(packed(f, m)[2:], uint8(3))
	}
	types := []uint16{dns.TypeA, dns.TypeAAAA, dns.TypePTR, dns.TypeMX, dns.TypeTXT}
	f.Fuzz(func(t *testing.T, message []byte, n uint8) {
		qtype := types[int(n)%len(types)]
		result, ok := dnscheck.ReadReply(message, "a.example.", qtype)
		if !ok {
			return
		}
		// What was read can be written down and read again.
		r := dnscheck.NewRecorder(resolverFunc(func(string, uint16) dnscheck.Result { return result }))
		r.Lookup(context.Background(), "a.example", qtype)
		again, err := dnscheck.NewFrozen(r.Lines())
		if err != nil {
			t.Fatalf("%q: %v", r.Lines(), err)
		}
		if got, want := says(again.Lookup(context.Background(), "a.example", qtype)), says(result); got != want {
			t.Errorf("frozen: got %s, want %s\nlines %s", got, want, strings.Join(r.Lines(), "\n"))
		}
	})
}
