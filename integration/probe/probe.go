// Package probe asks a live mail server, from outside, whether it is an open relay and
// what it tells about itself. It speaks SMTP (RFC 5321) as any stranger could: it names
// recipients at a foreign domain in every form that has ever slipped past a relay rule,
// and takes each one back with RSET. It sends no message, unless it is asked for one.
//
// A recipient that is accepted is not yet a relay: some servers refuse at DATA, and some
// take an odd local part for a user of their own. The report says which of the two is
// possible, and which is not.
//
// One connection at a time and a delay between the forms keep the probe below what a
// mail server notices. Replies are bounded in size and in time, so that a server which
// hangs, floods or lies ends in a line of the report.
package probe

import (
	"cmp"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"time"
)

// Options say what is probed, and how.
type Options struct {
	// Targets are HOST or HOST:PORT. Without a port, 25, 587 and 465 are probed.
	Targets []string
	// Owned says that the administrator owns the servers. Without it only loopback,
	// link-local and private addresses are probed.
	Owned bool
	// Victim is the foreign recipient. Default: relay-probe@victim.example.
	Victim string
	// Sender is an address of a stranger, for the forms that need one, and for the others
	// if the server does not take the null sender, which is the default.
	Sender string
	// Domain is a domain of the server, for forms such as victim%foreign@domain.
	// Default: the name that the server greets with.
	Domain string
	// User and Password are those of a user of the server, empty for none.
	User, Password string
	// AnyCertificate: the password is also told to a server whose certificate is not for its
	// name. Without that, who is in between could be it.
	AnyCertificate bool
	// Roots are the authorities of certificates. Default: those of the system.
	Roots *x509.CertPool
	// Send is a mailbox of the administrator that gets one message, empty for none.
	Send string
	// Delay is the time between two forms. Default: 300 ms.
	Delay time.Duration
	// Timeout bounds one connection attempt and one reply. Default: 30 s.
	Timeout time.Duration
	// Time bounds the probe of one port. Default: 10 min.
	Time time.Duration
	// Dial makes the connections. Default: net.Dialer, with Timeout.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
}

const (
	defaultVictim  = "relay-probe@victim.example"
	defaultDelay   = 300 * time.Millisecond
	defaultTimeout = 30 * time.Second
	defaultTime    = 10 * time.Minute
)

func (o Options) withDefaults() Options {
	o.Victim = cmp.Or(o.Victim, defaultVictim)
	o.Delay = cmp.Or(o.Delay, defaultDelay)
	o.Timeout = cmp.Or(o.Timeout, defaultTimeout)
	o.Time = cmp.Or(o.Time, defaultTime)
	if o.Dial == nil {
		o.Dial = (&net.Dialer{Timeout: o.Timeout}).DialContext
	}
	return o
}

// ErrNotOwned says that an address is a public one, and that nobody has said whose.
var ErrNotOwned = errors.New("not a local or private address: probe only servers of your own, and say so with -i-own-this-server")

// ports are probed when a target names none.
var ports = []string{"25", "587", "465"}

// implicitTLS is the port where TLS begins with the connection (RFC 8314).
const implicitTLS = "465"

// Run probes all targets, one after the other. An error is one of the options; what goes
// wrong with a server stands in its report.
func Run(ctx context.Context, o Options) ([]*Report, error) {
	return each(ctx, o, (*examination).run)
}

// each examines all ports of all targets in one way.
func each(ctx context.Context, o Options, how func(*examination) error) ([]*Report, error) {
	o = o.withDefaults()
	if user, domain, ok := strings.Cut(o.Victim, "@"); !ok || user == "" || !strings.Contains(domain, ".") {
		return nil, fmt.Errorf("the foreign recipient is %q, expected an address such as %s", o.Victim, defaultVictim)
	}
	var reports []*Report
	for _, target := range o.Targets {
		host, port, err := net.SplitHostPort(target)
		if err != nil {
			host, port = strings.Trim(target, "[]"), ""
		}
		if host == "" || strings.Contains(host, "/") || strings.Contains(port, "/") {
			return nil, fmt.Errorf("%q, expected HOST or HOST:PORT", target)
		}
		addr, err := resolve(ctx, host, o.Owned)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", target, err)
		}
		for _, p := range ports {
			if port != "" {
				p = port
			}
			reports = append(reports, probePort(ctx, o, host, addr, p, how))
			if port != "" {
				break
			}
		}
	}
	return reports, nil
}

// resolve finds the address of a host. The first one counts.
func resolve(ctx context.Context, host string, owned bool) (netip.Addr, error) {
	addrs, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return netip.Addr{}, err
	}
	addr := addrs[0].Unmap()
	if !owned && !addr.IsPrivate() && !addr.IsLoopback() && !addr.IsLinkLocalUnicast() {
		return addr, ErrNotOwned
	}
	return addr, nil
}

// probePort probes one port within its time.
func probePort(ctx context.Context, o Options, host string, addr netip.Addr, port string, how func(*examination) error) *Report {
	ctx, cancel := context.WithTimeout(ctx, o.Time)
	defer cancel()
	r := &Report{Target: net.JoinHostPort(host, port), Attempts: []Attempt{}, Leaks: []Leak{}} // none: [] in JSON, not null
	r.Mechanisms.Clear, r.Mechanisms.TLS = []string{}, []string{}
	e := &examination{ctx: ctx, o: o, host: host, addr: addr, port: port, report: r}
	if addr.IsLoopback() {
		r.note("probed over loopback, which a mail server often lets relay: from another host the result may be another one")
	}
	err := how(e)
	if over := context.Cause(ctx); over != nil {
		err = fmt.Errorf("the time for this port is over: %w", over)
	}
	if err != nil {
		r.Error = shown(err.Error())
	}
	r.Conclude()
	return r
}
