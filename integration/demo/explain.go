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
	cmd := exec.Command(w.Binary, "-config", harness.ConfigFile, "-check", "-json", file)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, 0, fmt.Errorf("milterd -check %s: %w\n%s%s", file, err, out, stderr.Bytes())
	}
	e = make(explanations)
	for objects := json.NewDecoder(bytes.NewReader(out)); ; {
		var v struct {
			Stage, Arg, Action string
			Trace              []struct{ Check, Result, Reason string }
		}
		if err := objects.Decode(&v); errors.Is(err, io.EOF) {
			return e, verdicts, nil
		} else if err != nil {
			return nil, 0, fmt.Errorf("milterd -check -json %s: %w", file, err)
		}
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
}
