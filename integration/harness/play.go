package harness

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"
)

// logTimeout bounds how long a dialogue waits for a line in a log.
const logTimeout = 10 * time.Second

// Speaker says who a line of a transcript comes from.
type Speaker string

// The speakers of a transcript.
const (
	Client  Speaker = "client"
	Server  Speaker = "server"
	Connect Speaker = "connect" // FROM -> TO
)

// Observer is told every line of a dialogue as it is spoken.
type Observer func(who Speaker, line string)

// player speaks one dialogue.
type player struct {
	env     *Env
	observe Observer
	conn    *Conn
	client  string // the client's address
	sent    string // the last line that was sent
	reply   Reply  // the last reply
	queueID string // of the last message that was taken
	// marks into the logs, set when a client connects
	milterdMark, syslogMark int
}

// Play speaks a dialogue and returns an error, with FILE:LINE, at the first
// thing that is not as it should be. observe may be nil.
func (e *Env) Play(d *Dialogue, observe Observer) error {
	if observe == nil {
		observe = func(Speaker, string) {}
	}
	p := &player{env: e, observe: observe}
	defer p.hangUp()
	for _, s := range d.steps {
		if err := p.perform(s); err != nil {
			return fmt.Errorf("%s:%d: %s: %w", d.File, s.line, s.text, err)
		}
	}
	return nil
}

func (p *player) perform(s step) error {
	switch s.kind {
	case stepClient:
		return p.connect(s.args[0], s.args[1])
	case stepHangUp:
		p.hangUp()
		return nil
	case stepLog:
		return p.awaitLog(s.args[0], s.args[1])
	case stepBy:
		return p.answeredBy(s.args[0])
	case stepQueue, stepQueueHas, stepQueueNot, stepHeader, stepHeaderHas, stepHeaderNot:
		return p.inspectQueue(s.kind, s.args[0])
	}
	if p.conn == nil {
		return errors.New("nobody is connected")
	}
	switch s.kind {
	case stepSend:
		p.sent = s.args[0]
		p.observe(Client, p.sent)
		return p.conn.Send(p.sent)
	case stepReply:
		reply, err := p.conn.ReadReply()
		if err != nil {
			return err
		}
		return p.expect(reply, s.args[0], s.args[1])
	case stepHas, stepHasNot:
		if strings.Contains(p.reply.String(), s.args[0]) != (s.kind == stepHas) {
			return fmt.Errorf("the reply was:\n%s", p.reply)
		}
		return nil
	case stepAuth:
		p.observe(Client, "AUTH "+s.args[0]+" (as "+s.args[1]+")")
		reply, err := p.conn.Auth(s.args[0], s.args[1], s.args[2])
		if err != nil {
			return err
		}
		return p.expect(reply, "235", "")
	case stepTLS:
		p.observe(Client, "STARTTLS")
		reply, err := p.conn.StartTLS()
		if err != nil {
			return err
		}
		return p.expect(reply, "220", "")
	}
	return fmt.Errorf("a step of kind %d is not known", s.kind)
}

func (p *player) connect(from, to string) error {
	p.hangUp()
	addr, err := clientAddr(from)
	if err != nil {
		return err
	}
	p.client = addr.Addr().Unmap().String()
	p.syslogMark = p.env.Syslog.Len()
	p.milterdMark = p.env.Milterd.Log.Len()
	p.observe(Connect, from+" -> "+to)
	p.conn, err = Dial(from, to)
	return err
}

func (p *player) hangUp() {
	if p.conn != nil {
		_ = p.conn.Close()
		p.conn = nil
	}
}

// expect compares a reply with the code, with or without its enhanced code, and
// the text, all of it unless it ends with "...". No text leaves it open.
func (p *player) expect(reply Reply, code, text string) error {
	p.reply = reply
	for _, line := range strings.Split(reply.String(), "\n") {
		p.observe(Server, line)
	}
	p.noteQueueID(reply)
	got, want := reply.First()+" ", code+" "
	ok := strings.HasPrefix(got, want)
	if ok && text != "" {
		got, want = reply.First(), code+" "+text
		if prefix, open := strings.CutSuffix(want, "..."); open {
			ok = strings.HasPrefix(got, prefix)
		} else {
			ok = got == want
		}
	}
	if !ok {
		return fmt.Errorf("got %q", reply.First())
	}
	return nil
}

var acceptedMessage = regexp.MustCompile(`^2\.0\.0 (\w+) Message accepted for delivery`)

// noteQueueID remembers the message that a reply says was taken.
func (p *player) noteQueueID(reply Reply) {
	if reply.Code == 250 && len(reply.Lines) > 0 {
		if m := acceptedMessage.FindStringSubmatch(reply.Lines[0]); m != nil {
			p.queueID = m[1]
		}
	}
}

// awaitLog waits for a line of milterd's log about this client, or any line of
// sendmail's.
func (p *player) awaitLog(of, text string) error {
	if of == BySendmail {
		_, err := p.env.Syslog.Wait(logTimeout, p.syslogMark, text)
		return err
	}
	_, err := p.env.Milterd.Log.Wait(logTimeout, p.milterdMark, p.clientMark(), text)
	return err
}

// clientMark is how a line of milterd's log names the client. The blank keeps
// 203.0.113.1 from being found in 203.0.113.10.
func (p *player) clientMark() string { return "client=" + p.client + " " }

// answeredBy tells by milterd's log who gave the last reply.
func (p *player) answeredBy(who string) error {
	reply := WithoutAddress(p.reply.First())
	if who == ByMilterd {
		_, err := p.env.Milterd.Log.Wait(logTimeout, p.milterdMark, p.clientMark(), reply)
		return err
	}
	for _, line := range p.env.Milterd.Log.FindAll(p.milterdMark, p.clientMark(), reply) {
		// sendmail itself refuses by an entry that it found at the map door.
		if !strings.Contains(line, " door=map ") {
			return fmt.Errorf("milterd gave this reply: %s", line)
		}
	}
	return nil
}

// inspectQueue looks at what became of the last message that was taken.
func (p *player) inspectQueue(kind stepKind, arg string) error {
	if p.queueID == "" {
		return errors.New("no message was taken")
	}
	files, err := p.env.Queue()
	if err != nil {
		return err
	}
	state, text, fields := "gone", "", QueueFile{}
	for _, f := range files {
		if f.ID == p.queueID {
			state, text, fields = "kept", f.Text, f
			if f.Held {
				state = "held"
			}
		}
	}
	switch kind {
	case stepQueueHas:
		if !strings.Contains(text, arg) {
			return fmt.Errorf("message %s (%s) is:\n%s", p.queueID, state, text)
		}
	case stepQueueNot:
		if strings.Contains(text, arg) {
			return fmt.Errorf("message %s (%s) is:\n%s", p.queueID, state, text)
		}
	case stepHeaderHas, stepHeaderNot:
		if header := fields.Header(); strings.Contains(header, arg) != (kind == stepHeaderHas) {
			return fmt.Errorf("the header of message %s (%s) is:\n%s", p.queueID, state, header)
		}
	case stepHeader:
		if names := strings.Join(fields.FieldNames(), " "); names != arg {
			return fmt.Errorf("the fields of message %s (%s) are: %s", p.queueID, state, names)
		}
	default:
		if state != arg {
			return fmt.Errorf("message %s is %s", p.queueID, state)
		}
	}
	return nil
}
