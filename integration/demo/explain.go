package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"milterd/integration/harness"
	"milterd/policy/replay"
)

// explanations are what else the checks saw of an accepted recipient, by the
// words its verdict begins with in the log: "rcpt <a@b>: accept". The log says why a
// recipient was taken or refused, not what did not keep milterd from taking it.
type explanations map[string][]string

// of finds the explanations for a line of the log.
func (e explanations) of(verdict string) []string {
	for begin, reasons := range e {
		if strings.HasPrefix(verdict, begin) {
			return reasons
		}
	}
	return nil
}

// told are the checks whose view is worth a line.
var told = []string{"friend", "sender", "client", "rdns"}

// verdict is what -json prints, as far as it is shown.
type verdict struct {
	Stage, Arg, Action, Enhanced, Text string
	Code                               int
	Trace                              []struct{ Check, Result, Reason string }
}

// explain decides a dialogue's recorded sessions with the configuration that
// the running milterd has. verdicts is how many the live one gave when they were
// recorded: none where there is no session, because milterd is not asked.
func explain(w *harness.World, dir, name string) (e explanations, verdicts int, err error) {
	file := filepath.Join(dir, "sessions", name+".yaml")
	if _, err := os.Stat(file); errors.Is(err, os.ErrNotExist) {
		return nil, 0, nil
	}
	if err := replay.ReadFile(file, func(s *replay.Session) { verdicts += len(s.Expect) }); err != nil {
		return nil, 0, err
	}
	given, err := decide(w.Binary, harness.ConfigFile, file)
	if err != nil {
		return nil, 0, err
	}
	return reasonsFor(given), verdicts, nil
}

// decide runs milterd -check -json on a file of sessions. Where a verdict is not
// the expected one there are verdicts and an error.
func decide(binary, config, file string) ([]verdict, error) {
	cmd := exec.Command(binary, "-config", config, "-check", "-json", file)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, failed := cmd.Output()
	if failed != nil {
		failed = fmt.Errorf("milterd -check %s: %w: %s", file, failed, strings.ReplaceAll(strings.TrimSpace(stderr.String()), "\n", "; "))
	}
	var given []verdict
	for objects := json.NewDecoder(bytes.NewReader(out)); ; {
		var v verdict
		if err := objects.Decode(&v); errors.Is(err, io.EOF) {
			return given, failed
		} else if err != nil {
			return nil, errors.Join(failed, fmt.Errorf("milterd -check -json %s: %w", file, err))
		}
		given = append(given, v)
	}
}

// reasonsFor are the explanations of accepted recipients.
func reasonsFor(given []verdict) explanations {
	e := make(explanations)
	for _, v := range given {
		if v.Stage != "rcpt" || v.Action != "accept" {
			continue
		}
		var reasons []string
		for _, step := range v.Trace {
			// That nothing was found in the table is not; reverse DNS always is.
			worth := step.Result != "pass" || step.Check == "rdns"
			if worth && slices.Contains(told, step.Check) {
				reasons = append(reasons, fmt.Sprintf("%s %s: %s", step.Check, step.Result, step.Reason))
			}
		}
		e[fmt.Sprintf("rcpt <%s>: accept", v.Arg)] = reasons
	}
	return e
}
