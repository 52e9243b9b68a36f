package milter

import (
	"bytes"
	"strings"

	gomilter "github.com/d--j/go-milter"

	"milterd/policy"
)

// kept is what the guard keeps of a connection, for the session on it: the library never
// sees it. The guard writes while it reads, and the library reads from the goroutine that
// makes the callbacks.
type kept struct {
	macros macros
	// quiet: the MTA awaits no answer to a header field, so that the library need not see
	// any. wanted: they are collected in fields.
	quiet, wanted bool
	fields        []policy.HeaderField
}

// field takes the data of a HEADER frame, "name NUL value NUL".
func (k *kept) field(data []byte) {
	if k.fields == nil {
		k.fields = make([]policy.HeaderField, 0, 16) // a usual header
	}
	name, value, _ := strings.Cut(string(data), "\x00")
	k.fields = append(k.fields, policy.HeaderField{Name: name, Value: value[:len(value)-1]})
}

// macros are the macros in force on a connection, by the step they came for: the data of
// the frames, "name NUL value NUL ...". The library would put each list into a map of its own, of which nearly nothing is asked.
//
// They are forgotten as sendmail means them: with a new macro list for the same step or an
// earlier one, with the next HELO, MAIL or RCPT, and at the end of the message.
type macros [macroSteps]string

// The steps that macros come for, in the order of the dialogue. A step that is not here is
// the last one.
const (
	stepConnect = iota
	stepHelo
	stepMail
	stepRcpt
	stepData
	stepOther
	macroSteps
)

func macroStep(command byte) int {
	if step := bytes.IndexByte([]byte{cmdConnect, cmdHelo, cmdMail, cmdRcpt, cmdData}, command); step >= 0 {
		return step
	}
	return stepOther
}

// take keeps the data of a MACRO frame: the command that the macros are for, and the list.
func (m *macros) take(data []byte) {
	step := macroStep(data[0])
	m.forget(step)
	m[step] = string(data[1:])
}

func (m *macros) forget(step int) { clear(m[step:]) }

// Get is the value of a macro, empty without one.
func (m *macros) Get(name gomilter.MacroName) string {
	value, _ := m.GetEx(name)
	return value
}

// GetEx tells a macro without a value from one that is not known. What came for a later
// step counts, and the last of a list.
func (m *macros) GetEx(name gomilter.MacroName) (value string, ok bool) {
	for step := macroSteps - 1; step >= 0; step-- {
		list := m[step]
		if !strings.Contains(list, name) {
			continue
		}
		// The guard has checked that names and values take turns.
		for list != "" {
			var key, v string
			key, list, _ = strings.Cut(list, "\x00")
			v, list, _ = strings.Cut(list, "\x00")
			if key == name {
				value, ok = v, true
			}
		}
		if ok {
			return value, true
		}
	}
	return "", false
}

var _ gomilter.Macros = (*macros)(nil)
