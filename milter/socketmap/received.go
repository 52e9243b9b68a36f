package socketmap

import (
	"context"
	"net/netip"
	"strconv"
	"strings"
	"sync/atomic"

	"milterd/policy"
	"milterd/policy/access"
)

// Received says whether the Received: field that this sendmail adds is to show the
// client: OK SCRUB where it is not, else NOTFOUND. A filter cannot see to that, as
// it never gets to see this field.
//
// The key is what sendmail knows at that moment, separated by slashes, as
// milterd.m4 puts it together:
//
//	ADDR/PORT/DAEMON/AUTH/RESOLVE/MAILER/NAME/RCPT
//
// that is ${client_addr}, ${daemon_port}, ${daemon_name}, ${auth_type},
// ${client_resolve}, ${rcpt_mailer}, ${client_name} and the recipient, which may
// hold anything and so comes last. A macro without a value is empty, and fields may
// be left off at the end. Without a recipient the answer is about what is known
// already. Names of daemons count with their case, so the K line needs -f.
//
// The sender is not part of it, so a right to relay that rests on the sender
// (relay_mail_from), or on a client certificate, is not seen here: list the client's
// network, or have its port scrub all mail.
//
// A field that is not what it should be counts as unknown, and decides nothing; a
// hostile recipient must not stop the mail of a client. Without an address there is
// no client to hide, and the answer is NOTFOUND: mail whose origin nobody can tell
// keeps what it says of it.
type Received struct {
	current func() Snapshot
	// reduced is the policy that was in force last, reduced to what counts here.
	reduced atomic.Pointer[reducedPolicy]
}

type reducedPolicy struct{ of, policy *policy.Policy }

// NewReceived makes the map. current is asked at each look-up.
func NewReceived(current func() Snapshot) *Received {
	return &Received{current: current}
}

// Lookup answers one key.
func (r *Received) Lookup(ctx context.Context, key string) Answer {
	now := r.current()
	if now.Policy == nil {
		return notLoaded
	}
	f, ok := parseReceived(key)
	if !ok || !now.Policy.Scrubs() {
		return Answer{Status: NotFound}
	}
	return received(r.reduce(now.Policy), f, &grantAnswers{ctx: ctx, grants: now.Grants, addr: f.Addr})
}

// facts are what sendmail says about a client and a recipient; what it does not say
// is empty.
type facts struct {
	// Addr is invalid for a local submission.
	Addr       netip.Addr
	DaemonPort uint16
	DaemonName string
	AuthType   string
	Resolve    policy.Resolve
	Name       string
	Rcpt       string
	Mailer     string
}

// received decides. The policy is one that reduce made.
func received(p *policy.Policy, f facts, answers policy.Answers) Answer {
	session := p.NewSession(policy.Connection{
		Addr:       f.Addr,
		Name:       f.Name,
		Resolve:    f.Resolve,
		DaemonName: f.DaemonName,
		DaemonPort: f.DaemonPort,
	}, answers)
	session.Mail(policy.Auth{Type: f.AuthType}, policy.Mail{})
	if f.Rcpt != "" {
		session.Rcpt(policy.Recipient{To: f.Rcpt, Mailer: f.Mailer})
	}
	switch {
	case session.ScrubReason() != "":
		return Answer{OK, "SCRUB"}
	case session.ScrubUnknown():
		return Answer{Temp, "whether the client holds a relay grant cannot be asked for now"}
	}
	return Answer{Status: NotFound}
}

// reduce makes a policy of which only the relay check is left: whether the mail is
// relayed counts, whether it is refused does not, as the answer is of no use then. The
// other checks would want answers from the DNS.
func (r *Received) reduce(p *policy.Policy) *policy.Policy {
	if last := r.reduced.Load(); last != nil && last.of == p {
		return last.policy
	}
	q := *p
	off := policy.TableCheck{Mode: policy.ModeOff}
	q.Checks = policy.Checks{
		Port:         policy.PortCheck{Mode: policy.ModeOff},
		Recipient:    off,
		Relay:        p.Checks.Relay,
		Sender:       off,
		SenderDomain: policy.SenderDomainCheck{Mode: policy.ModeOff},
		Client:       off,
		RDNS:         policy.RDNSCheck{Mode: policy.ModeOff},
		DNSBL:        policy.DNSBLCheck{Mode: policy.ModeOff},
	}
	q.Features.DelayChecks = false
	q.Ports = make(map[string]policy.Port, len(p.Ports))
	for name, port := range p.Ports {
		kept := make(map[string]policy.Mode)
		for _, check := range []string{"relay", "received"} {
			if mode, ok := port.Checks[check]; ok {
				kept[check] = mode
			}
		}
		port.Checks = kept
		q.Ports[name] = port
	}
	r.reduced.Store(&reducedPolicy{p, &q})
	return &q
}

// grantAnswers answer whether the client holds a grant, and nothing else.
type grantAnswers struct {
	policy.NoAnswers
	ctx    context.Context
	grants Grants
	addr   netip.Addr
}

// Grant says whether the client holds a relay grant.
func (a *grantAnswers) Grant() policy.GrantState {
	if a.grants == nil || !a.addr.IsValid() {
		return policy.GrantNone
	}
	return a.grants.Grant(a.ctx, a.addr)
}

// parseReceived reads a key of the received map; ok is false where it does not say
// who the client is.
func parseReceived(key string) (f facts, ok bool) {
	var fields [8]string
	copy(fields[:], strings.SplitN(key, "/", len(fields)))
	if fields[0] != "0" { // a local submission
		if f.Addr, ok = access.ParseAddr(fields[0]); !ok {
			return facts{}, false
		}
	}
	if port, err := strconv.ParseUint(fields[1], 10, 16); err == nil {
		f.DaemonPort = uint16(port)
	}
	f.DaemonName, f.AuthType = fields[2], fields[3]
	switch resolve := policy.Resolve(strings.ToUpper(fields[4])); resolve {
	case policy.ResolveOK, policy.ResolveFail, policy.ResolveForged, policy.ResolveTemp:
		f.Resolve = resolve
	}
	f.Mailer, f.Name = fields[5], fields[6]
	f.Rcpt = strings.TrimSuffix(strings.TrimPrefix(fields[7], "<"), ">")
	return f, true
}
