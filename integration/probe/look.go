package probe

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"regexp"
	"slices"
	"strings"
	"time"
)

var (
	// softwareText is mail software or a system by its name, with a number behind it.
	softwareText = regexp.MustCompile(`(?i)\b(sendmail|postfix|exim|qmail|exchange|microsoft esmtp|courier|debian|ubuntu|centos|freebsd)\b[^;,]*\d`)
	// numberText is a version by its form: two dots, or two numbers with a slash.
	numberText = regexp.MustCompile(`\b\d+\.\d+\.\d+[\w./+-]*|\b\d+\.\d+/\d+\.\d+`)
	// What has the form of a version and is none.
	enhancedCode = regexp.MustCompile(`(?m)^[245]\.\d{1,3}\.\d{1,3} `)
	addressText  = regexp.MustCompile(`\[[^\]]*\]|\b\d{1,3}(\.\d{1,3}){3}\b`)
)

// version is the part of a text that tells a software's version, empty for none.
func version(text string) string {
	text = enhancedCode.ReplaceAllString(text, "")
	if found := softwareText.FindString(text); found != "" {
		return shown(found)
	}
	return shown(numberText.FindString(addressText.ReplaceAllString(text, " ")))
}

// Look has a short conversation with each target: what it tells, whether passwords go in
// clear text, which TLS it speaks. No recipient is named.
func Look(ctx context.Context, o Options) ([]*Report, error) {
	return each(ctx, o, (*examination).overlook)
}

// overlook is what a stranger learns without wanting anything.
func (e *examination) overlook() error {
	c, err := e.dial()
	if err != nil {
		return err
	}
	defer c.close()
	e.report.Greeting = c.greeting.String()
	if err := c.hello(); err != nil {
		return err
	}
	e.look(c)
	if _, ok := c.extension("STARTTLS"); !ok || c.tls != nil {
		return nil
	}
	if err := c.startTLS(); err != nil {
		return fmt.Errorf("TLS: %w", err)
	}
	e.report.lookAtTLS(c.tls, time.Now())
	e.report.Mechanisms.TLS = mechanisms(c)
	return nil
}

// look examines what the server tells anybody who connects.
func (e *examination) look(c *conversation) {
	e.leakOf("greeting", c.greeting.Text)
	e.leakOf("EHLO", c.ehlo.Text)
	e.report.Mechanisms.Clear = mechanisms(c)
	if c.tls == nil {
		for _, mechanism := range []string{"PLAIN", "LOGIN"} {
			if slices.Contains(e.report.Mechanisms.Clear, mechanism) {
				e.report.leak("AUTH", "passwords may be sent in clear text: offer "+mechanism+" after STARTTLS only", "")
				break
			}
		}
	}
	if e.port == "25" && len(e.report.Mechanisms.Clear) > 0 {
		e.report.note("AUTH is offered on port 25: passwords can be guessed there, and port 587 is the place for it")
	}
	for _, command := range []string{"HELP", "VRFY postmaster", "EXPN postmaster"} {
		reply, err := c.command(command)
		if err != nil {
			e.report.note(command + ": " + err.Error())
			return
		}
		verb, _, _ := strings.Cut(command, " ")
		if verb == "HELP" {
			e.leakOf(verb, reply.Text)
		} else if reply.Code == 250 || reply.Code == 251 {
			e.report.leak(verb, "says which users there are", reply.String())
		}
	}
}

func (e *examination) leakOf(where, text string) {
	if found := version(text); found != "" {
		e.report.leak(where, "tells the version of the software", found)
	}
}

// certificateWarning is how long before its end a certificate is reported.
const certificateWarning = 14 * 24 * time.Hour

// lookAtTLS notes the version and the certificate.
func (r *Report) lookAtTLS(state *tls.ConnectionState, now time.Time) {
	r.TLS = &TLS{Version: tls.VersionName(state.Version)}
	if state.Version < tls.VersionTLS12 {
		r.leak("TLS", r.TLS.Version+" is no longer safe (RFC 8996)", "")
	}
	if len(state.PeerCertificates) == 0 {
		return
	}
	leaf := state.PeerCertificates[0]
	r.TLS.Subject, r.TLS.Until = shown(leaf.Subject.String()), leaf.NotAfter.UTC()
	switch {
	case now.After(leaf.NotAfter):
		r.leak("TLS", "the certificate ended on "+leaf.NotAfter.Format(time.DateOnly), "")
	case now.Before(leaf.NotBefore):
		r.leak("TLS", "the certificate begins on "+leaf.NotBefore.Format(time.DateOnly)+" only", "")
	case leaf.NotAfter.Sub(now) < certificateWarning:
		r.note("the certificate ends on " + leaf.NotAfter.Format(time.DateOnly))
	}
}

// send sends one message to a mailbox of the administrator.
func (e *examination) send() {
	subject := fmt.Sprintf("relay probe %d", time.Now().Unix())
	if err := e.sendMessage(subject); err != nil {
		e.report.note("message to " + e.o.Send + ": " + err.Error())
		return
	}
	e.report.note("sent \"" + subject + "\" to " + e.o.Send + ": save the message as it arrives, and judge it with -probe " + net.JoinHostPort(e.addr.String(), e.port) + " -judge FILE")
}

func (e *examination) sendMessage(subject string) error {
	c, err := e.secured()
	if err != nil {
		return err
	}
	defer c.close()
	from := ""
	if e.o.User != "" {
		from = e.sender()
		if err := e.logIn(c); err != nil {
			return err
		}
	}
	for _, step := range []struct {
		line string
		code int
	}{
		{"MAIL FROM:<" + from + ">", 250}, {"RCPT TO:<" + e.o.Send + ">", 250}, {"DATA", 354},
		{"From: <" + from + ">\r\nTo: <" + e.o.Send + ">\r\nSubject: " + subject + "\r\nDate: " + time.Now().Format(time.RFC1123Z) +
			"\r\nX-Mailer: relay-probe 1.0\r\nReceived: from relay-probe-client (localhost [192.168.77.77]) by relay-probe.example (8.11.1/8.11.1); " +
			time.Now().Format(time.RFC1123Z) + "\r\n\r\nA message of the relay probe. Nothing has to be done.\r\n.", 250},
	} {
		reply, err := c.command(step.line)
		if err != nil {
			return err
		}
		if reply.Code/100 != step.code/100 {
			return fmt.Errorf("%s", reply)
		}
	}
	return nil
}

// logIn uses the first offered mechanism that the probe speaks.
func (e *examination) logIn(c *conversation) error {
	for _, mechanism := range mechanisms(c) {
		if client := newClient(mechanism, e.o.User, e.o.Password); client != nil {
			if e.exposed(c) != "" {
				continue
			}
			reply, err := c.login(client)
			if err == nil && reply.Code != 235 {
				err = fmt.Errorf("AUTH %s: %s", mechanism, reply)
			}
			return err
		}
	}
	return errors.New("no AUTH mechanism is offered that the probe speaks and that keeps the password secret")
}
