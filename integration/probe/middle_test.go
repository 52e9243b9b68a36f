package probe

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// TestThePasswordIsForTheServerAlone has a host in between answer STARTTLS.
func TestThePasswordIsForTheServerAlone(t *testing.T) {
	day := 24 * time.Hour
	pair := certificate(t, time.Now().Add(-day), time.Now().Add(90*day))
	leaf, err := x509.ParseCertificate(pair.Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	known := x509.NewCertPool()
	known.AddCert(leaf)
	for _, c := range []struct {
		name, host string
		roots      *x509.CertPool
		any        bool
		told       bool
	}{
		{"a certificate that nobody knows", "mx.example.test", x509.NewCertPool(), false, false},
		{"one for another name", "other.example.test", known, false, false},
		{"one for another address", "192.168.77.77", known, false, false},
		{"the right one", "mx.example.test", known, false, true},
		{"whatever certificate it is", "other.example.test", x509.NewCertPool(), true, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			var told atomic.Bool
			address := serve(t, func(conn net.Conn) {
				fmt.Fprint(conn, "220 mx\r\n")
				for in := bufio.NewScanner(conn); in.Scan(); {
					verb, _, _ := strings.Cut(in.Text(), " ")
					switch verb {
					case "STARTTLS":
						fmt.Fprint(conn, "220 go\r\n")
						secure := tls.Server(conn, &tls.Config{Certificates: []tls.Certificate{pair}})
						conn, in = secure, bufio.NewScanner(secure)
						continue
					case "AUTH":
						told.Store(true)
					}
					reply := map[string]string{"EHLO": "250-mx.example.test\r\n250-STARTTLS\r\n250 AUTH CRAM-MD5 PLAIN", "AUTH": "535 no"}[verb]
					if reply == "" {
						reply = "250 ok"
					}
					fmt.Fprintf(conn, "%s\r\n", reply)
				}
			})
			o := quick(c.host + ":25")
			o.User, o.Password, o.Roots, o.AnyCertificate = "shin", "secret", c.roots, c.any
			e := &examination{ctx: t.Context(), o: o.withDefaults(), report: &Report{Target: o.Targets[0]}, host: c.host, port: "25"}
			e.addr, _ = resolve(t.Context(), "192.168.77.77", false)
			e.o.Dial = func(ctx context.Context, network, _ string) (net.Conn, error) {
				return new(net.Dialer).DialContext(ctx, network, address)
			}
			e.report.Mechanisms.TLS = []string{"CRAM-MD5", "PLAIN"}
			e.rightPassword()
			if told.Load() != c.told || len(e.report.Logins) != 2 {
				t.Errorf("AUTH was said: %v; %+v", told.Load(), e.report.Logins)
			}
			for _, l := range e.report.Logins {
				if c.told == strings.Contains(l.Reply, "the certificate does not show that this is "+c.host) {
					t.Errorf("%+v", l)
				}
			}
		})
	}
}

// TestRepliesThatNeverEndAreLeft counts how often a server is waited for that hangs, or
// closes, half way through a reply.
func TestRepliesThatNeverEndAreLeft(t *testing.T) {
	for _, verb := range []string{"MAIL", "RCPT", "RSET"} {
		for _, hangs := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, hanging %v", verb, hangs), func(t *testing.T) {
				var halves atomic.Int32
				o := quick(serve(t, func(conn net.Conn) {
					fmt.Fprint(conn, "220 mx\r\n")
					for in := bufio.NewScanner(conn); in.Scan(); {
						if strings.HasPrefix(in.Text(), verb) {
							halves.Add(1)
							fmt.Fprint(conn, "250")
							if hangs {
								_, _ = conn.Read(make([]byte, 1)) // until it hangs up
							}
							return
						}
						fmt.Fprint(conn, "250 mx.example.test\r\n")
					}
				}))
				if hangs {
					o.Timeout = 300 * time.Millisecond
				}
				r := probeOne(t, o)
				if n := halves.Load(); n > maxSilent+1 || r.Clean() || r.Error == "" {
					t.Errorf("waited for %d times, clean %v, error %q", n, r.Clean(), r.Error)
				}
			})
		}
	}
}
