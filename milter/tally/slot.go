package tally

import (
	"bytes"
	"strings"
	"time"

	"milterd/milter/door"
	"milterd/policy"
	"milterd/policy/printable"
)

// The most octets that are kept of a text.
const (
	maxName = 64
	maxText = 256
	// maxShadow is how many things that shadow would have done are kept of a line.
	maxShadow = 4
)

// Verdict is a line as a Snapshot has it. All texts are printable.
type Verdict struct {
	Time   time.Time `json:"time"`
	Action string    `json:"action"`
	Door   string    `json:"door,omitempty"`
	Stage  string    `json:"stage,omitempty"`
	Queue  string    `json:"queue,omitempty"`
	Client string    `json:"client,omitempty"`
	Name   string    `json:"name,omitempty"`
	PTR    string    `json:"ptr,omitempty"`
	Helo   string    `json:"helo,omitempty"`
	User   string    `json:"user,omitempty"`
	From   string    `json:"from,omitempty"`
	To     string    `json:"to,omitempty"`
	Check  string    `json:"check,omitempty"`
	Rule   string    `json:"rule,omitempty"`
	Reply  string    `json:"reply,omitempty"`
	Reason string    `json:"reason,omitempty"`
	Relay  string    `json:"relay,omitempty"`
	Edits  string    `json:"edits,omitempty"`
	Shadow []string  `json:"shadow,omitempty"`
}

// texts are the fields of a Verdict, in the order that a slot has them.
func (v *Verdict) texts() []*string {
	return []*string{&v.Action, &v.Door, &v.Stage, &v.Queue, &v.Client, &v.Name, &v.PTR, &v.Helo, &v.User, &v.From, &v.To,
		&v.Check, &v.Rule, &v.Reply, &v.Reason, &v.Relay, &v.Edits}
}

// slot is a line as it is kept: its texts one behind the other, each with a zero octet at
// its end. It is used again and again, so keeping a line takes no new memory.
type slot struct {
	at   time.Time
	text []byte
}

func (s *slot) fill(at time.Time, line *door.Line) {
	s.at, s.text = at, s.text[:0]
	for _, text := range [...]string{string(line.Action), line.Door, string(line.Stage), line.Queue} {
		s.add(text)
	}
	if line.Client.Addr.IsValid() {
		s.text = line.Client.Addr.Unmap().AppendTo(s.text)
	}
	s.text = append(s.text, 0)
	for _, text := range [...]string{door.HostText(line.Client.Name), door.HostText(line.Client.PTR), line.Helo, line.Auth.Login(), line.From, line.To,
		line.Check, line.Rule, line.Reply, line.Reason, line.Relay, line.Edits} {
		s.add(text)
	}
	for i := range line.Shadow[:min(len(line.Shadow), maxShadow)] {
		s.addShadow(&line.Shadow[i])
	}
}

func (s *slot) add(text string) { s.text = append(bounded(s.text, text, maxText), 0) }

func (s *slot) addShadow(shadow *policy.Shadow) {
	text := shadow.String()
	if shadow.Reason != "" {
		text += ": " + shadow.Reason
	}
	s.add(text)
}

// bounded appends the first octets of a text, without zero octets.
func bounded(to []byte, text string, most int) []byte {
	begin := len(to)
	if len(text) > most {
		to = append(append(to, text[:most]...), "…"...)
	} else {
		to = append(to, text...)
	}
	for i := begin; i < len(to); i++ {
		if to[i] == 0 {
			to[i] = '?'
		}
	}
	return to
}

func (s *slot) verdict() Verdict {
	v := Verdict{Time: s.at}
	fields := strings.Split(string(bytes.TrimSuffix(s.text, []byte{0})), "\x00")
	for i, to := range v.texts() {
		if i < len(fields) {
			*to = printable.Text(fields[i])
		}
	}
	for _, text := range fields[min(len(v.texts()), len(fields)):] {
		v.Shadow = append(v.Shadow, printable.Text(text))
	}
	return v
}
