package main

import (
	"encoding/json"
	"errors"
	"flag"
	"io"
	"os"
	"strings"
	"time"

	"milterd/configs"
	"milterd/milter/door"
	"milterd/milter/status"
	"milterd/milter/tally"
	"milterd/policy/replay"
	"milterd/policy/replay/dryrun"
)

func reportFlags(o *options, f *flag.FlagSet) {
	f.BoolVar(&o.json, "json", false, "print JSON, as the status page has it at /report.json")
}

func finishReport(o *options, f *flag.FlagSet) error {
	o.recordings = f.Args()
	return nil
}

// runReport prints what became of mail: in the running milterd, which tells at
// listen.http, or of recorded sessions, as this configuration decides them.
func runReport(o *options, stdout, _ io.Writer) (int, error) {
	config, _, err := o.place().Load()
	if err != nil {
		return exitUsage, err
	}
	report, err := reportOf(o, config)
	switch {
	case err != nil:
		return exitFailure, err
	case o.json:
		return written(0, json.NewEncoder(stdout).Encode(report))
	}
	return written(io.WriteString(stdout, report.Text()))
}

func reportOf(o *options, config *configs.Config) (*status.Report, error) {
	if len(o.recordings) > 0 {
		return recordedReport(o.recordings, config)
	}
	if config.Listen.HTTP == "" {
		return nil, errors.New("listen.http is empty, so the running milterd cannot be asked; name a directory of recordings, or set it")
	}
	// This reads status.token_file. What else is wrong does not matter here.
	if _, _, err := config.Policy(); err != nil && config.Status.TokenFile != "" && config.Status.Token == "" {
		return nil, err
	}
	return status.Fetch(config.Listen.HTTP, string(config.Status.Token))
}

// recordedReport is about recorded sessions, as of the last message. A message counts as of
// when it began; one that does not tell, as of the time when its file was written last.
func recordedReport(names []string, config *configs.Config) (*status.Report, error) {
	// Its warnings are for -check: this is about mail.
	rules, err := dryrun.NewRules(config, io.Discard)
	if err != nil {
		return nil, err
	}
	inputs, err := replay.Inputs(names, os.Stdin)
	if err != nil {
		return nil, err
	}
	counted, last := tally.NewEndless(), time.Time{}
	counted.Names(rules.LoginName)
	for _, in := range inputs {
		written := time.Now()
		if info, err := os.Stat(in.Name); err == nil {
			written = info.ModTime()
		}
		at := func(m *replay.Message) time.Time {
			began, _ := m.Began() // checked as it was read
			if began.Unix() < 0 {
				began = written // it does not tell, or nonsense
			}
			if began.After(last) {
				last = began
			}
			return began
		}
		var failed error
		err := replay.ReadFile(in.Name, func(s *replay.Session) {
			outcome, err := rules.Decide(s)
			if err != nil {
				failed = errors.Join(failed, err)
				return
			}
			tallySession(counted, at, s, outcome)
		})
		if err := errors.Join(err, failed); err != nil {
			return nil, err
		}
	}
	if last.IsZero() {
		last = time.Now() // no message has come to an end
	}
	return &status.Report{Recordings: strings.Join(names, " "), Snapshot: counted.Snapshot(last)}, nil
}

// tallySession counts what the filter door would have logged about a session.
func tallySession(to *tally.Tally, at func(*replay.Message) time.Time, s *replay.Session, outcome replay.Outcome) {
	var told door.Message
	for _, r := range outcome.Results {
		if r.Step == 0 {
			told = door.Message{}
		}
		if !told.Count(&r.Verdict) {
			continue
		}
		line := told.Line(&r.Verdict)
		message := &s.Messages[r.Message-1]
		line.Queue, line.Client, line.Helo, line.Auth, line.From = s.ID, s.Connection(), s.HELO, s.Auth, door.SenderText(message.Mail.From)
		to.Add(at(message), &line)
	}
}
