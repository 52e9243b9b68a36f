package replay

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"

	"milterd/header"
	"milterd/policy"
)

// missingFacts says what the verdicts rest on although the session does not tell it.
func missingFacts(s *Session) []string {
	if s.Connect.Addr == "" || s.Connect.Resolve != "" {
		return nil
	}
	return []string{"connect.resolve is missing, so rdns passes unless it looks for itself (source: own), and the client's name entitles to nothing"}
}

// WriteText prints one session's verdicts, a line each, with what was expected
// if that differs, and with the trace if explain is set.
func WriteText(w io.Writer, s *Session, o Outcome, explain bool) error {
	p := printer{w: w}
	for _, n := range append(missingFacts(s), s.Notes...) {
		p.printf("%s note: %s\n", s.ID, n)
	}
	for _, r := range o.Results {
		p.result(s, r, explain)
	}
	p.missing(s, o)
	return p.err
}

// WriteDifferences prints only the verdicts that are not as expected.
func WriteDifferences(w io.Writer, s *Session, o Outcome) error {
	p := printer{w: w}
	for _, r := range o.Results {
		if len(r.Differences) > 0 {
			p.result(s, r, false)
		}
	}
	p.missing(s, o)
	return p.err
}

func (p *printer) result(s *Session, r Result, explain bool) {
	p.printf("%s %s\n", s.ID, r.Verdict)
	if explain {
		p.trace(r.Verdict)
	}
	for _, d := range r.Differences {
		p.printf("    DIFFERENT: %s:%d expects %s\n", s.File, s.Line, d)
	}
}

func (p *printer) missing(s *Session, o Outcome) {
	for i := range o.Missing {
		x := &o.Missing[i]
		p.printf("%s %s: no verdict\n    DIFFERENT: %s:%d expects %s\n", s.ID, x.place(), s.File, s.Line, x)
	}
}

type printer struct {
	w   io.Writer
	err error
}

// printf prints numbers as they are and everything else without what might act on
// a terminal, or look like a line of its own: a recorded peer may have said it.
func (p *printer) printf(format string, args ...any) {
	if p.err != nil {
		return
	}
	for i, arg := range args {
		if _, number := arg.(int); !number {
			args[i] = policy.Printable(fmt.Sprint(arg))
		}
	}
	_, p.err = fmt.Fprintf(p.w, format, args...)
}

func (p *printer) trace(v policy.Verdict) {
	for _, step := range v.Trace {
		p.printf("    %-10s %-9s %s\n", step.Check, step.Result, step.Reason)
		for _, probe := range step.Probes {
			if probe.Line == 0 {
				p.printf("        %s: not found\n", probe.Name())
			} else {
				p.printf("        %s: line %d: %s\n", probe.Name(), probe.Line, probe.Value)
			}
		}
		for _, answer := range step.Answers {
			p.printf("        %s\n", answer)
		}
	}
}

// The objects of -json output, one a verdict.
type (
	jsonVerdict struct {
		jsonPlace
		jsonDecision
		Shadow []jsonDecision `json:"shadow"`
		Edits  []jsonEdit     `json:"edits"`
		Trace  []jsonStep     `json:"trace"`
	}
	jsonPlace struct {
		Session string `json:"session"`
		File    string `json:"file"`
		Message int    `json:"message"`
		Stage   string `json:"stage"`
		Arg     string `json:"arg"`
	}
	jsonDecision struct {
		Action   string `json:"action"`
		Code     int    `json:"code"`
		Enhanced string `json:"enhanced"`
		Text     string `json:"text"`
		Check    string `json:"check"`
		Rule     string `json:"rule"`
	}
	jsonEdit struct {
		Name   string `json:"name"`
		Index  int    `json:"index"`
		Action string `json:"action"`
		Old    string `json:"old"`
		Value  string `json:"value"`
	}
	jsonStep struct {
		Check   string      `json:"check"`
		Result  string      `json:"result"`
		Reason  string      `json:"reason"`
		Keys    []jsonProbe `json:"keys"`
		Answers []string    `json:"answers"`
	}
	jsonProbe struct {
		Key   string `json:"key"`
		Line  int    `json:"line"`
		Value string `json:"value"`
	}
)

// WriteJSON prints one session's verdicts as one JSON object a line.
func WriteJSON(w io.Writer, s *Session, o Outcome) error {
	e := newEncoder(w)
	for _, r := range o.Results {
		if err := e.Encode(jsonOf(s, r)); err != nil {
			return err
		}
	}
	return nil
}

func jsonOf(s *Session, r Result) jsonVerdict {
	v := r.Verdict
	j := jsonVerdict{
		jsonPlace:    jsonPlace{s.ID, s.File, r.Message, string(v.Stage), v.Arg},
		jsonDecision: decision(v.Action, v.Reply, v.Check, v.Rule),
		Shadow:       []jsonDecision{}, Edits: jsonEdits(v.Edits), Trace: []jsonStep{},
	}
	for _, x := range v.Shadow {
		j.Shadow = append(j.Shadow, decision(x.Action, x.Reply, x.Check, x.Rule))
	}
	for _, step := range v.Trace {
		keys := []jsonProbe{}
		for _, probe := range step.Probes {
			keys = append(keys, jsonProbe{Key: probe.Name(), Line: probe.Line, Value: probe.Value})
		}
		j.Trace = append(j.Trace, jsonStep{Check: step.Check, Result: step.Result, Reason: step.Reason, Keys: keys, Answers: append([]string{}, step.Answers...)})
	}
	return j
}

func decision(action policy.Action, r policy.Reply, check, rule string) jsonDecision {
	return jsonDecision{Action: string(action), Code: r.Code, Enhanced: r.Enhanced, Text: r.Text, Check: check, Rule: rule}
}

func jsonEdits(edits []header.Edit) []jsonEdit {
	list := make([]jsonEdit, len(edits))
	for i, e := range edits {
		list[i] = jsonEdit{Name: e.Name, Index: e.Index, Action: "change", Old: e.Old, Value: e.Value}
		if e.Delete {
			list[i].Action, list[i].Value = "delete", ""
		}
	}
	return list
}

// newEncoder writes JSON objects, one a line, that may be looked at on a terminal.
func newEncoder(w io.Writer) *json.Encoder {
	e := json.NewEncoder(escaper{w})
	e.SetEscapeHTML(false)
	return e
}

// escaper escapes control and format characters beyond ASCII, as \u009b, in the JSON
// that is written through it, whole values at a time: some act on a terminal, others
// make text read in another order. Outside of strings JSON has nothing but ASCII.
type escaper struct{ w io.Writer }

func (e escaper) Write(p []byte) (int, error) {
	out := p
	if bytes.ContainsFunc(p, isUnprintable) {
		out = nil
		for _, r := range string(p) {
			if !isUnprintable(r) {
				out = utf8.AppendRune(out, r)
				continue
			}
			for _, unit := range utf16.AppendRune(nil, r) {
				out = fmt.Appendf(out, `\u%04x`, unit)
			}
		}
	}
	if _, err := e.w.Write(out); err != nil {
		return 0, err
	}
	return len(p), nil
}

func isUnprintable(r rune) bool { return r >= 0x7f && unicode.In(r, unicode.Cc, unicode.Cf) }
