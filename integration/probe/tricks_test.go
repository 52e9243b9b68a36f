package probe

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"math/big"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// TestServersThatWouldHaveThemselvesTakenForClean: none of these is called clean, and each
// is told of.
func TestServersThatWouldHaveThemselvesTakenForClean(t *testing.T) {
	starttls := with(with(clean(), "EHLO", "250-mx.example.test\r\n250 STARTTLS"), "STARTTLS", "220 go")
	var connections atomic.Int32
	for _, c := range []struct {
		name string
		talk func(net.Conn)
		says string
	}{
		{"one that lets nobody in after the first connection, and then refuses all", func(conn net.Conn) {
			table := with(clean(), "", "554 mx.example.test not accepting messages")
			if connections.Add(1) == 1 {
				table = with(clean(), "RCPT", "421 4.7.0 come back")
			}
			answers(table)(conn)
		}, "takes no further connection"},
		{"one that puts everything off", answers(with(clean(), "RCPT", "451 4.7.1 greylisted")), "UNKNOWN: none of the"},
		{"one that answers twice", answers(with(clean(), "MAIL", "250 ok\r\n550 no")), errUnasked.Error()},
		{"one that begins TLS and hangs up", func(conn net.Conn) {
			defer conn.Close()
			in := bufio.NewScanner(conn)
			fmt.Fprint(conn, "220 mx\r\n")
			for in.Scan() {
				verb, _, _ := strings.Cut(in.Text(), " ")
				fmt.Fprintf(conn, "%s\r\n", starttls[map[bool]string{true: verb, false: "*"}[starttls[verb] != ""]])
				if verb == "STARTTLS" {
					return
				}
			}
		}, "TLS: "},
		{"one that takes no null sender", func(conn net.Conn) {
			fmt.Fprint(conn, "220 mx\r\n")
			for in := bufio.NewScanner(conn); in.Scan(); {
				reply := "250 mx.example.test"
				if strings.HasPrefix(in.Text(), "MAIL FROM:<>") {
					reply = "550 5.7.1 no bounces"
				} else if strings.HasPrefix(in.Text(), "RCPT") {
					reply = "550 5.7.1 Relaying denied"
				}
				fmt.Fprintf(conn, "%s\r\n", reply)
			}
		}, "name a sender with -from"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := probeOne(t, quick(serve(t, c.talk)))
			if got := strings.Join(append(r.Notes, r.Error, r.Verdict), "\n"); r.Clean() || !strings.Contains(got, c.says) {
				t.Errorf("clean %v, %s\nexpected %q", r.Clean(), got, c.says)
			}
		})
	}
}

// TestANullSenderThatIsRefusedIsReplaced by the stranger's address, if there is one.
func TestANullSenderThatIsRefusedIsReplaced(t *testing.T) {
	o := quick(serve(t, func(conn net.Conn) {
		fmt.Fprint(conn, "220 mx\r\n")
		for in := bufio.NewScanner(conn); in.Scan(); {
			reply := "250 mx.example.test"
			if strings.HasPrefix(in.Text(), "MAIL FROM:<>") || strings.HasPrefix(in.Text(), "RCPT TO:<relay-probe@") {
				reply = "550 5.7.1 no"
			}
			fmt.Fprintf(conn, "%s\r\n", reply)
		}
	}))
	o.Sender = "stranger@stranger.example"
	r := probeOne(t, o)
	for _, a := range r.Attempts {
		if a.Form == "percent" && a.Stage == "after EHLO" && (a.Mail != "MAIL FROM:<stranger@stranger.example>" || a.Outcome != Accepted) {
			t.Errorf("%+v", a)
		}
	}
}

// TestTheTimeOfAPortIsKept by a server that always answers in time, but slowly.
func TestTheTimeOfAPortIsKept(t *testing.T) {
	quit := make(chan struct{})
	t.Cleanup(func() { close(quit) })
	o := quick(serve(t, func(conn net.Conn) {
		for _, octet := range strings.Repeat("220-x\r\n", 1000) {
			select {
			case <-quit:
				return
			case <-time.After(20 * time.Millisecond):
			}
			if _, err := fmt.Fprintf(conn, "%c", octet); err != nil {
				return
			}
		}
	}))
	o.Timeout, o.Time = time.Hour, 100*time.Millisecond
	if r := probeOne(t, o); !strings.Contains(r.Error, "the time for this port is over") {
		t.Errorf("error %q", r.Error)
	}
}

// TestNothingIsNullInJSON, of a server with which all is well, or that is not there.
func TestNothingIsNullInJSON(t *testing.T) {
	gone, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := gone.Close(); err != nil {
		t.Fatal(err)
	}
	for _, target := range []string{serve(t, answers(clean())), gone.Addr().String()} {
		var b strings.Builder
		if err := Write(&b, []*Report{probeOne(t, quick(target))}, true, false); err != nil {
			t.Fatal(err)
		}
		if strings.Contains(b.String(), ": null") || !strings.Contains(b.String(), `"clear": []`) {
			t.Errorf("%s", b.String())
		}
	}
}

func TestALongNameOfTheServerIsNotRepeated(t *testing.T) {
	name := strings.Repeat("x.", 20000) + "example"
	r := probeOne(t, quick(serve(t, answers(with(clean(), "EHLO", "250 "+name)))))
	if r.Domain != "mx.example.test" {
		t.Errorf("domain %q", r.Domain)
	}
}

// TestWhatAServerSaysDoesNotReachTheTerminalRaw.
func TestWhatAServerSaysDoesNotReachTheTerminalRaw(t *testing.T) {
	const escape = "\x1b]0;x\x07\x9b31m"
	table := clean()
	for verb, reply := range table {
		table[verb] = strings.ReplaceAll(reply, "x", "x"+escape)
	}
	table["EHLO"] = "250-mx.example.test\r\n250 AUTH PLAIN" + escape
	table["HELP"], table["VRFY"] = "214 sendmail 8.17.1"+escape, "250 "+escape
	var b strings.Builder
	if err := probeOne(t, quick(serve(t, answers(table)))).Write(&b, true); err != nil {
		t.Fatal(err)
	}
	if strings.ContainsAny(b.String(), "\x1b\x07") || strings.Contains(b.String(), "\x9b") {
		t.Errorf("%q", b.String())
	}
}

// TestNoPasswordGoesInClearText to another host.
func TestNoPasswordGoesInClearText(t *testing.T) {
	heard := make(chan string, 100)
	address := serve(t, func(conn net.Conn) {
		fmt.Fprint(conn, "220 mx\r\n")
		for in := bufio.NewScanner(conn); in.Scan(); {
			heard <- in.Text()
			fmt.Fprint(conn, "250-mx.example.test\r\n250 AUTH PLAIN LOGIN\r\n")
		}
	})
	o := quick("192.168.77.77:25")
	o.User, o.Password = "shin", "secret"
	e := &examination{ctx: t.Context(), o: o.withDefaults(), report: &Report{Target: o.Targets[0]}, port: "25"}
	e.addr, _ = resolve(t.Context(), "192.168.77.77", false)
	e.o.Dial = func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, address)
	}
	e.report.Mechanisms.Clear = []string{"PLAIN", "LOGIN"}
	e.rightPassword()
	for _, l := range e.report.Logins {
		if l.LoggedIn || !strings.Contains(l.Reply, "clear text") {
			t.Errorf("%+v", l)
		}
	}
	for len(heard) > 0 {
		if line := <-heard; strings.HasPrefix(line, "AUTH") {
			t.Errorf("said %q", line)
		}
	}
}

// TestCertificatesAreLookedAt: the dates, and the version of TLS.
func TestCertificatesAreLookedAt(t *testing.T) {
	now := time.Now()
	day := 24 * time.Hour
	for _, c := range []struct {
		name           string
		from, until    time.Duration
		most           uint16
		leaks, notes   string
		withoutAnyLeak bool
	}{
		{name: "one that is good", from: -day, until: 90 * day, withoutAnyLeak: true},
		{name: "one that has ended", from: -90 * day, until: -day, leaks: "the certificate ended on"},
		{name: "one that has not begun", from: day, until: 90 * day, leaks: "the certificate begins on"},
		{name: "one that ends soon", from: -day, until: 3 * day, notes: "the certificate ends on", withoutAnyLeak: true},
		{name: "an old version", from: -day, until: 90 * day, most: tls.VersionTLS11, leaks: "TLS 1.1 is no longer safe"},
	} {
		t.Run(c.name, func(t *testing.T) {
			config := &tls.Config{Certificates: []tls.Certificate{certificate(t, now.Add(c.from), now.Add(c.until))}, MinVersion: tls.VersionTLS10, MaxVersion: c.most}
			r := probeOne(t, quick(serve(t, func(conn net.Conn) {
				table := with(clean(), "EHLO", "250-mx.example.test\r\n250 STARTTLS")
				fmt.Fprint(conn, "220 mx\r\n")
				for in := bufio.NewScanner(conn); in.Scan(); {
					verb, _, _ := strings.Cut(in.Text(), " ")
					if verb == "STARTTLS" {
						fmt.Fprint(conn, "220 go\r\n")
						secure := tls.Server(conn, config)
						conn, in = secure, bufio.NewScanner(secure)
						continue
					}
					reply := table[verb]
					if reply == "" {
						reply = table["*"]
					}
					fmt.Fprintf(conn, "%s\r\n", reply)
				}
			})))
			leaks := fmt.Sprint(r.Leaks)
			if !strings.Contains(leaks, c.leaks) || !strings.Contains(fmt.Sprint(r.Notes), c.notes) || c.withoutAnyLeak && !r.Clean() {
				t.Errorf("leaks %s, notes %q, error %q, expected %q and %q", leaks, r.Notes, r.Error, c.leaks, c.notes)
			}
		})
	}
}

// certificate signs itself.
func certificate(t *testing.T, from, until time.Time) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "mx.example.test"}, DNSNames: []string{"mx.example.test"}, NotBefore: from, NotAfter: until}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}
