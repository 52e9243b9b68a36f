package milter

import (
	"strings"

	gomilter "github.com/d--j/go-milter"
)

// macros are the macros in force on a connection, by the step they came for. The guard
// keeps them, and the library never sees a MACRO frame: it would put each into a map of
// its own, of which nearly nothing is asked.
//
// They are forgotten as sendmail means them: with a new macro list for the same step or an
// earlier one, with the next HELO, MAIL or RCPT, and at the end of the message.
type macros struct {
	// lists are the data of the frames, "name NUL value NUL ...".
	lists [macroSteps]string
}

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
	switch command {
	case cmdConnect:
		return stepConnect
	case cmdHelo:
		return stepHelo
	case cmdMail:
		return stepMail
	case cmdRcpt:
		return stepRcpt
	case cmdData:
		return stepData
	}
	return stepOther
}

// take keeps the data of a MACRO frame: the command that the macros are for, and the list.
func (m *macros) take(data []byte) {
	step := macroStep(data[0])
	m.forget(step)
	m.lists[step] = string(data[1:])
}

// forget forgets those of a step and of the later ones.
func (m *macros) forget(step int) { clear(m.lists[step:]) }

// Get is the value of a macro, empty without one.
func (m *macros) Get(name gomilter.MacroName) string {
	value, _ := m.GetEx(name)
	return value
}

// GetEx tells a macro without a value from one that is not known. What came for a later
// step counts, and the last of a list.
func (m *macros) GetEx(name gomilter.MacroName) (value string, ok bool) {
	for step := macroSteps - 1; step >= 0; step-- {
		list := m.lists[step]
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
