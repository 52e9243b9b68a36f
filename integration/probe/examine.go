package probe

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// examination is the probe of one port.
type examination struct {
	ctx    context.Context
	o      Options
	host   string
	addr   netip.Addr
	port   string
	report *Report
	// own is the domain that the server is taken to be responsible for.
	own string
	// silent counts the forms in a row that had no answer.
	silent int
	// broken counts the attempts in a row in which a reply did not come to its end.
	broken int
	// noNull: the server has refused the null sender for good.
	noNull bool
}

// maxSilent is how many forms in a row may stay without an answer before the probe of a
// port ends, and how many attempts a server may break off or hang in.
const maxSilent = 3

func (e *examination) dial() (*conversation, error) {
	return dial(e.ctx, e.o, net.JoinHostPort(e.addr.String(), e.port), e.port == implicitTLS)
}

// run examines the port in the order in which a stranger would come to know it, over one
// connection at a time.
func (e *examination) run() error {
	if err := e.inClear(); err != nil {
		return err
	}
	var unfinished error
	if err := e.underTLS(); err != nil {
		unfinished = fmt.Errorf("TLS: %w", err)
	}
	if err := e.wrongPassword(); err != nil && unfinished == nil {
		unfinished = fmt.Errorf("AUTH with a wrong password: %w", err)
	}
	if e.o.User != "" {
		e.rightPassword()
	}
	if e.o.Send != "" {
		e.send()
	}
	return unfinished
}

// inClear is the first connection: what the server tells, and the whole matrix.
func (e *examination) inClear() error {
	c, err := e.dial()
	if err != nil {
		return err
	}
	defer func() { c.close() }()
	e.report.Greeting = c.greeting.String()
	// A recipient without any introduction comes first. Some servers hang up on that.
	early := e.try(c, "before EHLO", form{name: "plain", rcpt: plainRcpt}.filled(e.o, "localhost", e.addr))
	e.report.add(early)
	if early.Outcome == NoAnswer {
		if !e.again(&c) {
			return errors.New("the server takes no further connection")
		}
	} else if err := c.hello(); err != nil {
		return err
	}
	e.own = e.ownDomain(c)
	e.report.Domain = shown(e.own)
	e.look(c)
	if err := e.null(c); err != nil {
		return err
	}
	return e.matrix(&c, "after EHLO", forms)
}

// null asks whether the null sender is taken, with which most forms are tried. 530 is the
// answer of a port for users, to any sender.
func (e *examination) null(c *conversation) error {
	reply, err := c.command("MAIL " + nullSender)
	if err != nil {
		return err
	}
	if _, err := c.command("RSET"); err != nil {
		return err
	}
	if e.noNull = reply.Code/100 == 5 && reply.Code != 530; e.noNull && e.o.Sender == "" {
		e.report.note("the null sender is refused, so most forms end before their recipient is named: name a sender with -from (" + reply.String() + ")")
	}
	return nil
}

// maxDomain is the most octets of a domain (RFC 5321, 4.5.3.1.2).
const maxDomain = 255

// ownDomain is the domain for the forms that lead through the server.
func (e *examination) ownDomain(c *conversation) string {
	if e.o.Domain != "" {
		return e.o.Domain
	}
	for _, text := range []string{c.ehlo.Text, c.greeting.Text} {
		name, _, _ := strings.Cut(strings.TrimSpace(text), " ")
		name, _, _ = strings.Cut(name, "\n")
		if len(name) <= maxDomain && strings.Contains(name, ".") && strings.Trim(strings.ToLower(name), "abcdefghijklmnopqrstuvwxyz0123456789.-") == "" {
			return name
		}
	}
	return "localhost"
}

// matrix tries forms over one connection, and over a new one if the server hangs up.
func (e *examination) matrix(c **conversation, stage string, all []form) error {
	for _, f := range all {
		if strings.Contains(f.mail, "{stranger}") && e.o.Sender == "" {
			continue
		}
		if err := e.wait(); err != nil {
			return err
		}
		if f.mail == "" && e.noNull && e.o.Sender != "" {
			f.mail = "FROM:<{stranger}>"
		}
		f = f.filled(e.o, e.own, e.addr)
		attempt := e.try(*c, stage, f)
		if attempt.Outcome == NoAnswer && e.broken < maxSilent && e.again(c) {
			attempt = e.try(*c, stage, f)
		}
		e.report.add(attempt)
		if e.broken >= maxSilent {
			return errors.New("the server stopped answering, it closes or hangs in the middle of replies: the forms after this are not tried")
		}
		if attempt.Outcome != NoAnswer {
			e.silent = 0
			continue
		}
		if e.silent++; e.silent >= maxSilent {
			return errors.New("the server stopped answering: the forms after this are not tried")
		}
		if !e.again(c) {
			return errors.New("the server takes no further connection: the forms after this are not tried")
		}
	}
	return nil
}

// again opens a new connection in place of one that ended, with TLS if that had it.
func (e *examination) again(c **conversation) bool {
	secure := (*c).tls != nil
	(*c).hangUp()
	fresh, err := e.dial()
	if err != nil {
		return false
	}
	err = fresh.hello()
	if err == nil && secure && fresh.tls == nil {
		err = fresh.startTLS()
	}
	if err != nil {
		fresh.hangUp()
		return false
	}
	*c = fresh
	return true
}

// try names one recipient and takes it back.
func (e *examination) try(c *conversation, stage string, f form) Attempt {
	a := Attempt{Form: f.name, Stage: stage, Mail: shown("MAIL " + f.mail), Rcpt: shown("RCPT " + f.rcpt), ours: f.ours}
	for _, line := range []string{"MAIL " + f.mail, "RCPT " + f.rcpt} {
		reply, err := c.command(line)
		if err != nil {
			e.broken++
			a.Outcome, a.Reply = NoAnswer, shown(err.Error())
			return a
		}
		a.Reply = reply.String()
		if a.Outcome = outcomeOf(reply); a.Outcome != Accepted {
			break
		}
	}
	_, err := c.command("RSET")
	switch {
	case err == nil:
		e.broken = 0
	case a.Outcome != Accepted:
		e.broken++
		a.Outcome = NoAnswer
	}
	return a
}

// outcomeOf says what a reply to MAIL or RCPT means. 421 ends the connection.
func outcomeOf(reply Reply) Outcome {
	switch {
	case reply.Code == 421:
		return NoAnswer
	case reply.Code/100 == 2:
		return Accepted
	case reply.Code/100 == 5:
		return Refused
	case reply.Code/100 == 4:
		return PutOff
	}
	return NoAnswer
}

// wait keeps the distance between two forms.
func (e *examination) wait() error {
	timer := time.NewTimer(e.o.Delay)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-e.ctx.Done():
		return e.ctx.Err()
	}
}

// underTLS repeats what is most telling inside TLS, where some servers have other rules.
func (e *examination) underTLS() error {
	c, err := e.secured()
	if err != nil {
		return err
	}
	defer func() { c.close() }()
	if c.tls == nil {
		e.report.leak("EHLO", "no STARTTLS: everything is said in clear text", "")
		return nil
	}
	e.report.lookAtTLS(c.tls, time.Now())
	e.report.Mechanisms.TLS = mechanisms(c)
	short := slices.DeleteFunc(slices.Clone(forms), func(f form) bool {
		return !slices.Contains([]string{"plain", "percent", "source route", "quoted at our domain", "our domain as sender"}, f.name)
	})
	return e.matrix(&c, "under TLS", short)
}
