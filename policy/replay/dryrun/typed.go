package dryrun

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"milterd/dnscheck"
	"milterd/policy"
	"milterd/policy/replay"
)

// Typed is a session that is described on the command line, for a client that comes now.
type Typed struct {
	// Client is the client's address, Auth MECHANISM:USER or empty.
	Client, HELO, Auth string
	Port               uint16
	// From is the sender, empty for the null sender; To the recipients, with commas
	// between them.
	From, To string
}

// typed decides the one session that the command line describes, with what the DNS says
// now, as it would be decided if that client came.
func (r *run) typed() int {
	outcome, s, notes, err := r.rules.decideTyped(context.Background(), r.Typed)
	if err != nil {
		Complain(r.Stderr, err)
		return BadInput
	}
	if r.Format == JSON {
		err = replay.WriteJSON(r.out, s, outcome)
	} else {
		for _, note := range notes {
			fmt.Fprintf(r.out, "%s note: %s\n", s.ID, policy.Printable(note))
		}
		err = replay.WriteText(r.out, s, outcome, r.Explain)
	}
	if err != nil {
		return r.cannotWrite(err)
	}
	return statusOf(outcome)
}

func statusOf(outcome replay.Outcome) int {
	status := OK
	for i := range outcome.Results {
		switch outcome.Results[i].Verdict.Action {
		case policy.ActionReject:
			return Reject
		case policy.ActionTempfail:
			status = Tempfail
		}
	}
	return status
}

func (r *Rules) decideTyped(ctx context.Context, t *Typed) (replay.Outcome, *replay.Session, []string, error) {
	live, err := dnscheck.NewLive(r.config.DNS.Client, nil)
	if err != nil {
		return replay.Outcome{}, nil, nil, fmt.Errorf("dns: %w", err)
	}
	defer live.Close()
	s, notes, err := t.session(ctx, r.policy, live)
	if err != nil {
		return replay.Outcome{}, nil, nil, err
	}
	lookups, err := r.config.Lookups(live, live.Health())
	if err != nil {
		return replay.Outcome{}, nil, nil, err
	}
	var answers func(policy.Connection) policy.Answers
	if lookups != nil {
		// Lists are probed as the daemon does it.
		if err := live.Use(r.config.DNS.Client, lookups.Lists); err != nil {
			return replay.Outcome{}, nil, nil, fmt.Errorf("dns: %w", err)
		}
		answers = func(conn policy.Connection) policy.Answers { return lookups.NewAnswers(ctx, conn, nil) }
	}
	outcome := replay.Run(r.policy, s, answers)
	for _, list := range live.Health().States() {
		if list.Problem != "" {
			notes = append(notes, fmt.Sprintf("the dns list %s is bypassed for %s: %s", list.List, list.For, list.Problem))
		}
	}
	return outcome, s, notes, nil
}

// session makes a session of the facts on the command line, and notes what was
// looked up or assumed.
func (t *Typed) session(ctx context.Context, p *policy.Policy, resolver dnscheck.Resolver) (*replay.Session, []string, error) {
	addr, err := netip.ParseAddr(strings.TrimPrefix(t.Client, "IPv6:"))
	if err != nil || addr.Zone() != "" {
		return nil, nil, fmt.Errorf("-client %s: expected an IP address", t.Client)
	}
	addr = addr.Unmap()
	s := &replay.Session{ID: addr.String(), HELO: t.HELO, Connect: replay.Connect{Addr: addr.String(), DaemonPort: t.Port}}
	if t.Auth != "" {
		mechanism, user, ok := strings.Cut(t.Auth, ":")
		if !ok || mechanism == "" || user == "" {
			return nil, nil, fmt.Errorf("-auth %s: expected MECHANISM:USER, such as PLAIN:shin@example.com", t.Auth)
		}
		// A session has the login as sendmail writes it.
		s.Auth = replay.Auth{Type: mechanism, Authen: strings.ReplaceAll(user, "+", "+2B")}
	}
	notes := []string{resolveAsSendmail(ctx, resolver, addr, &s.Connect)}
	message := replay.Message{Mail: replay.Mail{From: withoutBrackets(t.From)}}
	if t.To != "" {
		for to := range strings.SplitSeq(t.To, ",") {
			rcpt := replay.Rcpt{To: withoutBrackets(strings.TrimSpace(to))}
			if rcpt.To == "" {
				return nil, nil, errors.New("-to: expected addresses with commas between them, found an empty one")
			}
			rcpt.Mailer = assumedMailer(p, rcpt.To)
			message.Rcpt = append(message.Rcpt, rcpt)
		}
		notes = append(notes, "assumed: "+assumptions(message.Rcpt))
	}
	s.Messages = []replay.Message{message}
	return s, append(notes, fmt.Sprintf("assumed: a connection to port %d without TLS, no daemon name, no relay grant", t.Port)), nil
}

func withoutBrackets(address string) string {
	return strings.TrimSuffix(strings.TrimPrefix(address, "<"), ">")
}

func assumptions(rcpts []replay.Rcpt) string {
	var texts []string
	for _, r := range rcpts {
		if r.Mailer == "" {
			texts = append(texts, "<"+r.To+"> is judged by its domain alone")
		} else {
			texts = append(texts, "<"+r.To+"> goes to the mailer "+r.Mailer)
		}
	}
	return strings.Join(texts, ", ")
}

// assumedMailer is the delivery agent that sendmail would choose without aliases or
// a mailer table: local for domains in class w. Of an address that names further
// hosts nothing is assumed.
func assumedMailer(p *policy.Policy, address string) string {
	at := strings.LastIndexByte(address, '@')
	local, domain := address, ""
	if at >= 0 {
		local, domain = address[:at], address[at+1:]
	}
	switch {
	case strings.ContainsAny(local, `%!@:"\,`):
		return ""
	case domain == "" || p.Local.Has(strings.TrimSuffix(domain, ".")):
		return "local"
	}
	return "esmtp"
}

// resolveAsSendmail fills in what sendmail would say of the client's name. It looks
// at the first PTR name only, and takes whatever keeps that from being confirmed
// for a forgery.
func resolveAsSendmail(ctx context.Context, resolver dnscheck.Resolver, addr netip.Addr, to *replay.Connect) string {
	rev := dnscheck.CheckIPRev(ctx, resolver, addr)
	to.Name = "[" + policy.Connection{Addr: addr}.ClientAddr() + "]"
	switch {
	case rev.Status == dnscheck.IPRevPermError:
		to.Resolve = string(policy.ResolveFail)
	case len(rev.Names) == 0:
		to.Resolve = string(policy.ResolveTemp)
	case rev.Names[0].Status == dnscheck.NameConfirmed:
		to.Resolve, to.Name, to.PTR = string(policy.ResolveOK), rev.Names[0].Name, rev.Names[0].Name
	default:
		to.Resolve, to.PTR = string(policy.ResolveForged), rev.Names[0].Name
	}
	note := fmt.Sprintf("looked up: %s; sendmail would say %s", rev, to.Resolve)
	if len(rev.Names) > 1 {
		note += fmt.Sprintf(" if %s is the first of the PTR names that it is given", rev.Names[0].Name)
	}
	return note
}
