package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"milterd/integration/harness"
	"milterd/policy/replay"
)

// recorded decides the clients' recorded sessions with milterd -check, and shows
// them as live does.
func recorded(out io.Writer) (ok bool, err error) {
	dir, err := directory()
	if err != nil {
		return false, err
	}
	temp, err := os.MkdirTemp("", "milterd-demo-")
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(temp)) }()
	binary := filepath.Join(temp, "milterd")
	if err := harness.Build(binary); err != nil {
		return false, err
	}
	// Messages are shorter with relative paths.
	if here, err := os.Getwd(); err == nil {
		if relative, err := filepath.Rel(here, dir); err == nil {
			dir = relative
		}
	}
	config := filepath.Join(dir, "scenes", scene, "milterd.yaml")
	p := &page{out: out}
	p.line("")
	p.paragraph("", "Each was recorded when the client spoke to Debian's stock sendmail at "+harness.Hostname+
		". Shown are milterd's verdicts, and below one that accepts what else milterd -check -explain has to say.")
	var results []result
	ok = true
	for i, name := range clients {
		r, err := showRecorded(p, binary, config, dir, i+1, name)
		if err != nil {
			return false, err
		}
		results = append(results, r)
		ok = ok && r.err == nil
	}
	p.summary(results)
	return ok, p.err
}

// showRecorded prints one client's sessions and their verdicts.
func showRecorded(p *page, binary, config, dir string, number int, name string) (result, error) {
	r := result{number: number, name: name, answer: "left to sendmail", by: "sendmail"}
	d, err := harness.ReadDialogue(filepath.Join(dir, "dialogues", name+".txt"))
	if err != nil {
		return r, err
	}
	p.heading(number, name)
	p.paragraph("", d.Title)
	p.line("")
	file := filepath.Join(dir, "sessions", name+".yaml")
	var sessions []*replay.Session
	err = replay.ReadFile(file, func(s *replay.Session) { sessions = append(sessions, s) })
	if errors.Is(err, os.ErrNotExist) {
		p.line("  milterd: (not asked: sendmail decides this alone, so nothing is recorded)")
		return r, nil
	}
	if err != nil {
		return r, err
	}
	for _, s := range sessions {
		r.client = s.Connect.Addr
		p.paragraph("  ", facts(s))
	}
	p.line("")
	given, err := decide(binary, config, file)
	if len(given) == 0 {
		return r, err
	}
	r.err = err
	r.note(given)
	lines, err := verdictLines(binary, config, file, sessions)
	if err != nil {
		return r, err
	}
	why := reasonsFor(given)
	for _, line := range lines {
		p.paragraph("  milterd: ", line)
		for _, reason := range why.of(line) {
			p.paragraph("           - ", reason)
		}
	}
	if r.by == "sendmail" {
		p.line("  (sendmail decides about the recipient by its own rules, and asks milterd no further)")
	}
	if r.err != nil {
		p.line("")
		p.paragraph("  NOT AS EXPECTED: ", r.err.Error())
	}
	return r, nil
}

// facts are what sendmail reports of a client before its first message.
func facts(s *replay.Session) string {
	text := fmt.Sprintf("%s -> port %d, reverse DNS %s", s.Connect.Addr, s.Connect.DaemonPort, s.Connect.Resolve)
	if s.HELO != "" {
		text += ", HELO " + s.HELO
	}
	if s.Auth.Type != "" {
		text += fmt.Sprintf(", AUTH %s as %s", s.Auth.Type, s.Auth.Authen)
	}
	return text
}

// note keeps the first refusal.
func (r *result) note(given []verdict) {
	for _, v := range given {
		switch {
		case v.Action == "reject" || v.Action == "tempfail":
			r.answer, r.by = fmt.Sprintf("%d %s %s", v.Code, v.Enhanced, v.Text), "milterd"
			return
		case v.Stage == "eom" && v.Action == "quarantine":
			r.answer, r.by = "accepted, held in quarantine", "milterd"
		case v.Stage == "rcpt" && r.by != "milterd":
			r.answer, r.by = "accepted", "milterd"
		}
	}
}

// verdictLines are the verdicts as milterd -check prints them, without the names
// of the sessions.
func verdictLines(binary, config, file string, sessions []*replay.Session) ([]string, error) {
	cmd := exec.Command(binary, "-config", config, "-check", file)
	out, err := cmd.Output()
	// That verdicts are not the expected ones is known already.
	if exit := new(exec.ExitError); err != nil && !errors.As(err, &exit) {
		return nil, err
	}
	var lines []string
	for line := range strings.Lines(string(out)) {
		line = strings.TrimRight(line, "\n")
		for _, s := range sessions {
			if text, ok := strings.CutPrefix(line, s.ID+" "); ok {
				lines = append(lines, text)
				break
			}
		}
	}
	return lines, nil
}
