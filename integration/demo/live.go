package main

import (
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"milterd/integration/harness"
)

// logTimeout bounds the wait for milterd's log lines about a client.
const logTimeout = 10 * time.Second

// live runs the server and lets the clients speak to it, one after the other.
func live(w *harness.World, out io.Writer) (ok bool, err error) {
	dir, err := directory()
	if err != nil {
		return false, err
	}
	var dialogues []*harness.Dialogue
	for _, name := range clients {
		d, err := harness.ReadDialogue(filepath.Join(dir, "dialogues", name+".txt"))
		if err != nil {
			return false, err
		}
		dialogues = append(dialogues, d)
	}
	options, err := harness.ReadScene(filepath.Join(dir, "scenes", scene))
	options.Config += "\nlog: {level: debug}\n"
	if err != nil {
		return false, err
	}
	options.AddDNS(dialogues...)
	env, err := w.Start(options)
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, env.Close()) }()

	p := &page{out: out}
	p.paragraph("", "Debian's stock sendmail serves example.test as "+harness.Hostname+", on "+harness.ServerAddr4+" and "+
		harness.ServerAddr6+", ports 25 and 587. It asks milterd about every client. All of them live in a network "+
		"namespace on this machine; nothing leaves it. C is the client, S is sendmail; then come milterd's verdicts as its log has them at level debug, "+
		"and below one that accepts what else milterd -check -explain has to say.")
	var results []result
	ok = true
	for i, d := range dialogues {
		reasons, verdicts, err := explain(w, dir, d.Name)
		if err != nil {
			return false, err
		}
		r := show(p, env, i+1, d)
		r.reasons(p, env, reasons, verdicts)
		results = append(results, r)
		ok = ok && r.err == nil
	}
	p.summary(results)
	return ok, p.err
}

// result is what became of one client.
type result struct {
	number int
	name   string
	client string
	answer string // the first refusal, or what it got instead
	by     string
	mark   int   // into milterd's log, before the client came
	err    error // what was not as expected
}

// show lets one client speak and prints the transcript.
func show(p *page, env *harness.Env, number int, d *harness.Dialogue) result {
	r := result{number: number, name: d.Name, answer: "accepted", by: "milterd", mark: env.Milterd.Log.Len()}
	p.heading(number, d.Name)
	p.paragraph("", d.Title)
	p.line("")
	var reply []string
	r.err = env.Play(d, func(who harness.Speaker, line string) {
		switch who {
		case harness.Connect:
			r.client, _, _ = strings.Cut(line, " ")
			p.line("  " + line)
		case harness.Client:
			p.paragraph("  C: ", line)
		case harness.Server:
			reply = append(reply, line)
			if len(line) > 3 && line[3] == '-' {
				return
			}
			p.reply(reply)
			r.noteReply(line)
			reply = nil
		}
	})
	return r
}

// reasons prints what milterd logged about the client, with the reasons for
// accepting below.
func (r *result) reasons(p *page, env *harness.Env, why explanations, verdicts int) {
	lines, err := env.Milterd.Log.WaitCount(logTimeout, r.mark, verdicts, " action=")
	r.err = errors.Join(r.err, err)
	p.line("")
	for i, line := range lines {
		lines[i] = message(line)
		p.paragraph("  milterd: ", lines[i])
		for _, reason := range why.of(lines[i]) {
			p.paragraph("           - ", reason)
		}
	}
	if len(lines) == 0 {
		p.line("  milterd: (not asked: sendmail has decided already)")
	}
	r.noteReason(lines)
	if r.err != nil {
		p.line("")
		p.paragraph("  NOT AS EXPECTED: ", r.err.Error())
	}
}

// noteReply keeps the first refusal.
func (r *result) noteReply(line string) {
	if r.answer == "accepted" && (line[0] == '4' || line[0] == '5') {
		r.answer = harness.WithoutAddress(line)
	}
}

// noteReason finds out who refused, and what only milterd knows of.
func (r *result) noteReason(lines []string) {
	all := strings.Join(lines, "\n")
	switch {
	case r.answer == "accepted" && strings.Contains(all, ": quarantine "):
		r.answer = "accepted, held in quarantine"
	case r.answer != "accepted" && !strings.Contains(all, r.answer):
		r.by = "sendmail"
	}
}

// logMessage is the message in a line of milterd's log.
var logMessage = regexp.MustCompile(`msg=("(?:[^"\\]|\\.)*"|\S+)`)

// message is the verdict in a line of the log.
func message(line string) string {
	m := logMessage.FindStringSubmatch(line)
	if m == nil {
		return line
	}
	text, err := strconv.Unquote(m[1])
	if err != nil {
		return m[1]
	}
	return text
}

// page prints for a width of 100 columns.
type page struct {
	out io.Writer
	err error
}

const width = 98

func (p *page) line(text string) {
	if p.err == nil {
		_, p.err = fmt.Fprintln(p.out, text)
	}
}

// heading opens the part about one client.
func (p *page) heading(number int, name string) {
	head := fmt.Sprintf("── %d. %s ", number, name)
	p.line("")
	p.line(head + strings.Repeat("─", max(0, width-len([]rune(head)))))
}

// paragraph prints text behind a label, with the lines that follow indented as
// far.
func (p *page) paragraph(label, text string) {
	indent := strings.Repeat(" ", len(label))
	line := label
	for _, word := range strings.Split(text, " ") {
		if len(line)+1+len(word) > width && line != label && strings.TrimSpace(line) != "" {
			p.line(strings.TrimRight(line, " "))
			line = indent
		}
		if line != label && line != indent {
			line += " "
		}
		line += word
	}
	p.line(strings.TrimRight(line, " "))
}

// greeting is sendmail's, with its version and the date in the middle.
var greeting = regexp.MustCompile(`^(220 \S+ ESMTP Sendmail ).*; (\(No UCE/UBE\))`)

// reply prints a reply; of a long one, the first line has to do.
func (p *page) reply(lines []string) {
	text := greeting.ReplaceAllString(lines[0], "$1… $2")
	if len(lines) > 1 {
		text += fmt.Sprintf("  (and %d more lines)", len(lines)-1)
	}
	p.paragraph("  S: ", text)
}

// summary prints a line a client.
func (p *page) summary(results []result) {
	p.line("")
	p.line("── Summary " + strings.Repeat("─", width-len("── Summary ")+4))
	wrong := 0
	for _, r := range results {
		mark := "ok"
		if r.err != nil {
			mark = "WRONG"
			wrong++
		}
		answer := []rune(r.answer)
		if len(answer) > 40 {
			answer = append(answer[:39], '…')
		}
		p.line(fmt.Sprintf("%2d  %-26s %-14s %-40s %-8s %s", r.number, r.name, r.client, string(answer), r.by, mark))
	}
	p.line("")
	if wrong == 0 {
		p.line(fmt.Sprintf("All %d clients got the answer they should.", len(results)))
		return
	}
	p.line(fmt.Sprintf("%d of %d clients did not get the answer they should.", wrong, len(results)))
}
