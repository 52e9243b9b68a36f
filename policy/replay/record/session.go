package record

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"milterd/header"
	"milterd/policy"
	"milterd/policy/replay"
)

// idTime is the time in an id and in the name of a file: it sorts.
const idTime = "20060102T150405.000000Z"

// messageTime is the time at which a message began (RFC 3339).
const messageTime = "2006-01-02T15:04:05.000Z"

// sessions makes what is written of a part of a connection. leftOut counts the
// messages of which nothing is.
func (p *part) sessions(redact *redactor) (sessions []*replay.Session, leftOut int) {
	b := builder{part: p, redact: redact, connect: connect(p.facts)}
	if !valid(p.facts.Name, p.facts.PTR, p.facts.DaemonName, p.facts.DaemonAddr, p.facts.DaemonFlags) ||
		p.facts.Resolve != "" && !p.facts.Resolve.Known() {
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

func (o *origin) id() string {
	id := fmt.Sprintf("%s-%06d", o.began.UTC().Format(idTime), o.number)
	if q := queueWord(o.queueID); q != "" {
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

// builder puts the messages of a connection into sessions. A session holds messages
// under one HELO name, TLS state, AUTH state and relay grant.
type builder struct {
	*part
	redact   *redactor
	connect  replay.Connect
	sessions []*replay.Session
	// open is the session that the next message may go into, with what all of its
	// messages have in common; nil for none.
	open  *replay.Session
	said  said
	grant grantAnswer
}

// grantRun is a run of recipients of one message that had the same relay grant.
type grantRun struct {
	from, to int
	grant    grantAnswer
}

func (b *builder) message(m *message) bool {
	recipients := m.reachable()
	runs, whole := m.grantRuns(recipients)
	written, expect, ok := b.write(m, recipients, whole && len(runs) == 1)
	if !ok {
		return false
	}
	for i, run := range runs {
		b.begin(m, run, i > 0)
		piece := written
		piece.Rcpt = written.Rcpt[run.from:run.to]
		piece.Limits = limitLines(m.verdicts[1+run.from : 1+run.to])
		from, to := 1+run.from, 1+run.to
		if i == 0 {
			from = 0
		}
		if len(runs) == 1 {
			to = len(expect)
		} else {
			// What the message was told at its end rests on all of it, so no session
			// has that.
			piece.Headers = nil
		}
		b.open.Messages = append(b.open.Messages, piece)
		b.open.Expect = append(b.open.Expect, expect[from:to]...)
		if !whole || len(runs) > 1 {
			b.open = nil
		}
	}
	return true
}

func limitLines(verdicts []verdict) (lines []string) {
	for i, v := range verdicts {
		for _, line := range v.limits {
			lines = append(lines, strconv.Itoa(i+1)+" "+line)
		}
	}
	return lines
}

// grantRuns cuts a message where its relay grant changes. whole says that a replay of
// its commands ends as the message has ended.
func (m *message) grantRuns(recipients int) (runs []grantRun, whole bool) {
	run := grantRun{grant: m.verdicts[0].grant}
	for i := range recipients {
		if g := m.verdicts[1+i].grant; run.grant == 0 {
			run.grant = g
		} else if g != 0 && g != run.grant {
			run.to = i
			runs = append(runs, run)
			run = grantRun{from: i, grant: g}
		}
	}
	run.to = recipients
	ends := m.reachesEnd(recipients)
	if m.ended && ends && run.grant == 0 {
		run.grant = m.end.grant
	}
	whole = !ends || m.ended && !m.cut && !m.unreached && (m.end.grant == 0 || run.grant == 0 || m.end.grant == run.grant)
	return append(runs, run), whole
}

// reachable is how many recipients a replay comes to.
func (m *message) reachable() int {
	if !m.verdicts[0].action.Accepts() {
		return 0
	}
	discarded := slices.IndexFunc(m.verdicts[1:], func(v verdict) bool { return v.action == policy.ActionDiscard })
	if discarded >= 0 {
		return discarded + 1
	}
	return len(m.Rcpt)
}

func (m *message) reachesEnd(recipients int) bool {
	given := m.verdicts[1 : 1+recipients]
	return slices.ContainsFunc(given, func(v verdict) bool { return v.action.Accepts() }) && given[recipients-1].action != policy.ActionDiscard
}

// begin makes sure that open can take a message in; later says that run is not the
// first of the message.
func (b *builder) begin(m *message, run grantRun, later bool) {
	if b.open != nil && !later && m.said == b.said && (run.grant == 0 || b.grant == 0 || run.grant == b.grant) {
		if b.grant == 0 {
			b.grant, b.open.Grants = run.grant, b.grants(run.grant)
		}
		return
	}
	b.said, b.grant = m.said, run.grant
	v := b.redact.message()
	b.open = &replay.Session{
		ID: b.id(), Connect: b.connect, HELO: v.helo(m.said.helo), TLS: v.tls(m.said.tls), Auth: v.auth(m.said.auth), Grants: b.grants(run.grant),
	}
	if m.number > 1 || later {
		b.open.ID += fmt.Sprintf("-%04d", m.number)
	}
	if later {
		b.open.ID += fmt.Sprintf("-%04d", run.from+1)
	}
	b.sessions = append(b.sessions, b.open)
}

// grants is the client's relay grant as a session has it.
func (b *builder) grants(g grantAnswer) []string {
	switch addr := b.facts.Addr; {
	case !addr.IsValid():
	case g == grantAnswerOf(policy.GrantHeld):
		return []string{addr.String()}
	case g == grantAnswerOf(policy.GrantTemporary), g == grantAnswerOf(policy.GrantUnknown):
		return []string{addr.String() + " " + replay.TemporaryGrant}
	}
	return nil
}

func connect(c policy.Connection) replay.Connect {
	r := replay.Connect{
		Port: c.Port, Name: c.Name, PTR: c.PTR, Resolve: string(c.Resolve),
		Daemon: c.DaemonName, DaemonPort: c.DaemonPort, DaemonAddr: c.DaemonAddr, DaemonFlags: c.DaemonFlags,
		Shared: c.Shared,
	}
	if c.Addr.IsValid() {
		r.Addr = c.Addr.String()
	}
	return r
}

// write makes what is written of one message: the commands that a replay comes to, and
// the verdicts it should give. whole says that a replay ends as the message has ended.
// ok is false for a message that cannot be recorded.
func (b *builder) write(m *message, recipients int, whole bool) (written replay.Message, expect []replay.Expect, ok bool) {
	v := b.redact.message()
	// A reply may repeat who has authenticated, and HELO.
	auth := v.auth(m.said.auth)
	v.helo(m.said.helo)
	written = replay.Message{At: m.At, Mail: m.Mail, Rcpt: slices.Clone(m.Rcpt[:recipients])}
	mail := &written.Mail
	mail.From, mail.Args, mail.Addr = v.address(mail.From), v.args(mail.Args), v.address(mail.Addr)
	for i := range written.Rcpt {
		r := &written.Rcpt[i]
		r.To, r.Args, r.Addr = v.address(r.To), v.args(r.Args), v.address(r.Addr)
	}
	// Only now every local part is known, that of a host field too.
	mail.Host = v.host(mail.Host)
	expect = append(make([]replay.Expect, 0, 2+recipients), v.expect(policy.StageMail, mail.From, m.verdicts[0]))
	for i := range written.Rcpt {
		r := &written.Rcpt[i]
		r.Host, r.Domain = v.host(r.Host), v.host(r.Domain)
		expect = append(expect, v.expect(policy.StageRcpt, r.To, m.verdicts[1+i]))
	}
	written.Headers, _ = headerPairs(m.headers)
	if whole && m.ended && m.reachesEnd(recipients) {
		end := v.expect(policy.StageEOM, "", m.end)
		if len(written.Headers) > 0 {
			end.Headers = leaving(m.headers, m.edits)
		}
		expect = append(expect, end)
	}
	tls := m.said.tls
	ok = v.fits && valid(auth.Type, auth.Authen, auth.Author) &&
		valid(m.said.helo, tls.Version, tls.Cipher, tls.Verify, tls.CertSubject, tls.CertIssuer) && validMessage(&written)
	return written, expect, ok
}

// headerPairs are header fields as a session has them. If one cannot be written down,
// none is: the places of the others would be wrong.
func headerPairs(fields []policy.HeaderField) (pairs [][]string, ok bool) {
	for _, f := range fields {
		if !valid(f.Name, f.Value) {
			return nil, false
		}
		pairs = append(pairs, []string{f.Name, f.Value})
	}
	return pairs, true
}

// leaving are the fields of the edited names as the message leaves with them.
func leaving(fields []policy.HeaderField, edits []header.Edit) [][]string {
	after, ok := headerPairs(header.Apply(fields, edits))
	if !ok {
		return nil
	}
	var left [][]string
	done := make(map[string]bool)
	for _, edit := range edits {
		name := strings.ToLower(edit.Name)
		if done[name] {
			continue
		}
		done[name] = true
		before := len(left)
		for _, pair := range after {
			if strings.EqualFold(pair[0], name) {
				left = append(left, pair)
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
	return !slices.ContainsFunc(texts, func(t string) bool { return !utf8.ValidString(t) })
}

func validMessage(m *replay.Message) bool {
	return valid(m.Mail.From, m.Mail.Mailer, m.Mail.Host, m.Mail.Addr) && valid(m.Mail.Args...) &&
		!slices.ContainsFunc(m.Rcpt, func(r replay.Rcpt) bool {
			return !valid(r.To, r.Mailer, r.Host, r.Addr, r.Domain) || !valid(r.Args...)
		})
}
