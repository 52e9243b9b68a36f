package record

import (
	"fmt"
	"slices"
	"strings"

	"unicode/utf8"

	"milterd/header"
	"milterd/policy"
	"milterd/policy/replay"
)

// temporaryGrant marks, in a session's grants, an address whose grant nobody could be
// asked about.
const temporaryGrant = "TEMP"

// idTime is the time in an id and in the name of a file: it sorts.
const idTime = "20060102T150405.000000Z"

// sessions makes what is written of a part of a connection. leftOut counts the
// messages of which nothing is.
func (p *part) sessions(redact *redactor) (sessions []*replay.Session, leftOut int) {
	b := builder{part: p, redact: redact, base: p.id()}
	if !validConnection(p.facts) {
		return nil, len(p.messages)
	}
	for i := range p.messages {
		if !b.message(&p.messages[i]) {
			leftOut++
		}
	}
	if len(b.sessions) > 0 {
		lines := slices.DeleteFunc(p.dns, func(line string) bool { return !utf8.ValidString(line) })
		for _, s := range b.sessions {
			s.DNS = lines
		}
	}
	return b.sessions, leftOut
}

// id is the id of the connection: when it began, its number, and the queue id.
func (p *part) id() string {
	id := fmt.Sprintf("%s-%06d", p.began.UTC().Format(idTime), p.number)
	if q := queueWord(p.queueID); q != "" {
		id += "-" + q
	}
	return id
}

// queueWord is a queue id as part of an id; what no MTA makes is not taken.
func queueWord(id string) string {
	if len(id) > 32 || strings.Trim(id, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789") != "" {
		return ""
	}
	return id
}

// builder puts the messages of a connection into sessions. An object holds messages
// under one HELO name, TLS state, AUTH state and relay grant.
type builder struct {
	part     *part
	redact   *redactor
	base     string
	sessions []*replay.Session
	// open is the object that the next message may go into, with what all of its
	// messages have in common; nil for none.
	open  *replay.Session
	hello *greeting
	auth  policy.Auth
	grant grantMark
}

// stretch is a run of commands of one message that had the same relay grant.
type stretch struct {
	// from and to are the recipients.
	from, to int
	// later: it is not the first one of its message, which has the MAIL command.
	later bool
	grant grantMark
}

// message adds one message, unless it cannot be recorded.
func (b *builder) message(m *message) bool {
	written, x, ok := b.facts(m)
	if !ok {
		return false
	}
	runs, whole := m.stretches(len(written.Rcpt))
	if len(runs) == 1 {
		b.begin(m, runs[0])
		b.open.Messages = append(b.open.Messages, written)
		b.open.Expect = append(b.open.Expect, x...)
		if !whole {
			b.open = nil
		}
		return true
	}
	// What the message was told at its end rests on all of it, so no object expects
	// that.
	recipients := x[1 : 1+len(written.Rcpt)]
	for i, run := range runs {
		b.open = nil
		b.begin(m, run)
		piece := written
		piece.Rcpt, piece.Headers = written.Rcpt[run.from:run.to], nil
		b.open.Messages = append(b.open.Messages, piece)
		if i == 0 {
			b.open.Expect = append(b.open.Expect, x[0])
		}
		b.open.Expect = append(b.open.Expect, recipients[run.from:run.to]...)
	}
	b.open = nil
	return true
}

// stretches cuts a message where its relay grant changes. whole says that a replay of
// its commands ends as the message has ended.
func (m *message) stretches(recipients int) (runs []stretch, whole bool) {
	run := stretch{grant: m.verdict.grant}
	accepted := false
	for i, r := range m.rcpts[:recipients] {
		if g := r.verdict.grant; run.grant == 0 {
			run.grant = g
		} else if g != 0 && g != run.grant {
			run.to = i
			runs = append(runs, run)
			run = stretch{from: i, later: true, grant: g}
		}
		accepted = accepted || r.verdict.goesOn()
	}
	run.to = recipients
	ends := accepted && !m.discarded(recipients)
	if m.ended && ends && run.grant == 0 {
		run.grant = m.end.grant
	}
	whole = !ends || m.expectsEnd(run.grant)
	return append(runs, run), whole
}

// expectsEnd reports whether the verdict on the whole message can be expected of a
// replay under a relay grant.
func (m *message) expectsEnd(grant grantMark) bool {
	return m.ended && !m.cut && (m.end.grant == 0 || grant == 0 || m.end.grant == grant)
}

// discarded reports whether the last recipient ended the message.
func (m *message) discarded(recipients int) bool {
	return recipients > 0 && m.rcpts[recipients-1].verdict.action == policy.ActionDiscard
}

// reachable is how many recipients a replay comes to.
func (m *message) reachable() int {
	if !m.verdict.goesOn() {
		return 0
	}
	for i, r := range m.rcpts {
		if r.verdict.action == policy.ActionDiscard {
			return i + 1
		}
	}
	return len(m.rcpts)
}

// goesOn reports whether the transaction continues after a verdict.
func (v verdict) goesOn() bool {
	return v.action == policy.ActionAccept || v.action == policy.ActionQuarantine
}

// begin makes sure that open can take a message in.
func (b *builder) begin(m *message, run stretch) {
	same := b.open != nil && m.auth == b.auth && m.hello.equal(b.hello) && (run.grant == 0 || b.grant == 0 || run.grant == b.grant)
	if same {
		if b.grant == 0 {
			b.grant = run.grant
			b.open.Grants = b.grants(run.grant)
		}
		return
	}
	b.hello, b.auth, b.grant = m.hello, m.auth, run.grant
	v := b.redact.message()
	s := &replay.Session{ID: b.base, Connect: connect(b.part.facts), Auth: v.auth(m.auth), Grants: b.grants(run.grant)}
	if m.number > 1 || run.later {
		s.ID += fmt.Sprintf("-%04d", m.number)
	}
	if run.later {
		s.ID += fmt.Sprintf("-%04d", run.from+1)
	}
	if m.hello != nil {
		s.HELO, s.TLS = m.hello.helo, v.tls(m.hello.tls)
	}
	b.open = s
	b.sessions = append(b.sessions, s)
}

func (g *greeting) equal(other *greeting) bool {
	if g == nil || other == nil {
		return g == other
	}
	return *g == *other
}

// grants is the client's relay grant as a session has it.
func (b *builder) grants(g grantMark) []string {
	addr := b.part.facts.Addr
	switch {
	case !addr.IsValid():
		return nil
	case g == markOf(policy.GrantHeld):
		return []string{addr.String()}
	case g == markOf(policy.GrantTemporary):
		return []string{addr.String() + " " + temporaryGrant}
	}
	return nil
}

func connect(c policy.Connection) replay.Connect {
	r := replay.Connect{
		Port: c.Port, Name: c.Name, PTR: c.PTR, Resolve: string(c.Resolve),
		Daemon: c.DaemonName, DaemonPort: c.DaemonPort, DaemonAddr: c.DaemonAddr, DaemonFlags: c.DaemonFlags,
	}
	if c.Addr.IsValid() {
		r.Addr = c.Addr.String()
	}
	return r
}

// facts makes what is written of one message: the commands that a replay comes to, and
// the verdicts it should give. ok is false for a message that cannot be recorded.
func (b *builder) facts(m *message) (written replay.Message, x []replay.Expect, ok bool) {
	r := b.redact.message()
	if auth := r.auth(m.auth); !validGreeting(m.hello) || !valid(auth.Type, auth.Authen, auth.Author) {
		return written, nil, false
	}
	reachable := m.reachable()
	written.Mail = replay.Mail{
		From: r.address(m.mail.From), Args: r.args(m.mail.Args),
		Mailer: m.mail.Mailer, Host: m.mail.Host, Addr: r.address(m.mail.Addr),
	}
	for _, rcpt := range m.rcpts[:reachable] {
		f := rcpt.facts
		written.Rcpt = append(written.Rcpt, replay.Rcpt{
			To: r.address(f.To), Args: r.args(f.Args), Mailer: f.Mailer, Host: f.Host, Addr: r.address(f.Addr),
		})
	}
	// Only now every local part is known, that of a host field too.
	written.Mail.Host = r.host(written.Mail.Host)
	x = append(x, r.expect(policy.StageMail, written.Mail.From, m.verdict))
	for i := range written.Rcpt {
		rcpt := &written.Rcpt[i]
		rcpt.Host = r.host(rcpt.Host)
		x = append(x, r.expect(policy.StageRcpt, rcpt.To, m.rcpts[i].verdict))
	}
	written.Headers = headerPairs(m.headers)
	if runs, whole := m.stretches(reachable); whole && m.ended && len(runs) == 1 && m.accepted(reachable) {
		end := r.expect(policy.StageEOM, "", m.end)
		if len(written.Headers) > 0 {
			end.Headers = leaving(m.headers, m.edits)
		}
		x = append(x, end)
	}
	return written, x, r.fits && validMessage(&written)
}

// accepted reports whether a replay comes to the end of the message.
func (m *message) accepted(recipients int) bool {
	return !m.discarded(recipients) && slices.ContainsFunc(m.rcpts[:recipients], func(r recipient) bool { return r.verdict.goesOn() })
}

// headerPairs are header fields as a session has them. Where one cannot be written
// down, none is: the places of the others would be wrong.
func headerPairs(fields []policy.HeaderField) [][]string {
	var pairs [][]string
	for _, f := range fields {
		if !valid(f.Name, f.Value) {
			return nil
		}
		pairs = append(pairs, []string{f.Name, f.Value})
	}
	return pairs
}

// leaving are the fields of the edited names as the message leaves with them.
func leaving(fields []policy.HeaderField, edits []header.Edit) [][]string {
	after := header.Apply(fields, edits)
	var left [][]string
	var done []string
	for _, edit := range edits {
		name := strings.ToLower(edit.Name)
		if slices.Contains(done, name) {
			continue
		}
		done = append(done, name)
		before := len(left)
		for _, f := range after {
			if !valid(f.Name, f.Value) {
				return nil
			}
			if strings.EqualFold(f.Name, name) {
				left = append(left, []string{f.Name, f.Value})
			}
		}
		if len(left) == before {
			left = append(left, []string{edit.Name})
		}
	}
	return left
}

// valid reports whether texts can be written as JSON and read again as they were.
func valid(texts ...string) bool {
	for _, t := range texts {
		if !utf8.ValidString(t) {
			return false
		}
	}
	return true
}

func validConnection(c policy.Connection) bool {
	return valid(c.Name, c.PTR, c.DaemonName, c.DaemonAddr, c.DaemonFlags) &&
		slices.Contains([]policy.Resolve{"", policy.ResolveOK, policy.ResolveFail, policy.ResolveForged, policy.ResolveTemp}, c.Resolve)
}

func validGreeting(g *greeting) bool {
	return g == nil || valid(g.helo, g.tls.Version, g.tls.Cipher, g.tls.Verify, g.tls.CertSubject, g.tls.CertIssuer)
}

func validMessage(m *replay.Message) bool {
	if !valid(m.Mail.From, m.Mail.Mailer, m.Mail.Host, m.Mail.Addr) || !valid(m.Mail.Args...) {
		return false
	}
	for _, r := range m.Rcpt {
		if !valid(r.To, r.Mailer, r.Host, r.Addr) || !valid(r.Args...) {
			return false
		}
	}
	return true
}
