package advice

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"milterd/configs"
	"milterd/policy/printable"
)

// Found is a finding about a file, a key or a server.
func Found(severity configs.Severity, where, text string) configs.Finding {
	return configs.Finding{Problem: configs.Problem{File: where, Text: text}, Severity: severity}
}

// Write prints findings, each with what cures it, and how many there are; or as JSON.
func Write(w io.Writer, findings []configs.Finding, asJSON bool) error {
	if asJSON {
		type line struct {
			Severity configs.Severity `json:"severity"`
			File     string           `json:"file"`
			Line     int              `json:"line,omitempty"`
			Text     string           `json:"text"`
			Cure     string           `json:"cure,omitempty"`
		}
		lines := make([]line, 0, len(findings))
		for _, f := range findings {
			lines = append(lines, line{f.Severity, f.File, f.Line, f.Text, f.Cure})
		}
		out := json.NewEncoder(w)
		out.SetEscapeHTML(false)
		out.SetIndent("", "  ")
		return out.Encode(lines)
	}
	var b strings.Builder
	counts := make(map[configs.Severity]int)
	for _, f := range findings {
		counts[f.Severity]++
		fmt.Fprintf(&b, "%s: %s\n", f.Severity, f)
		if f.Cure != "" {
			fmt.Fprintf(&b, "    change: %s\n", strings.ReplaceAll(printable.Lines(f.Cure), "\n", "\n            "))
		}
	}
	fmt.Fprintf(&b, "%d errors, %d warnings, %d notes\n", counts[configs.Severe], counts[configs.Warning], counts[configs.Note])
	_, err := io.WriteString(w, b.String())
	return err
}
