package advice

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"milterd/configs"
	"milterd/policy/printable"
)

// Found is a finding about a file, a key or a server, with its cure if it has one.
func Found(severity configs.Severity, where, text, cure string) configs.Finding {
	return configs.Finding{Problem: configs.Problem{File: where, Text: text}, Severity: severity, Cure: cure}
}

// Write prints findings, each with what cures it, and how many there are; or as JSON.
func Write(w io.Writer, findings []configs.Finding, asJSON bool) error {
	if asJSON {
		out := json.NewEncoder(w)
		out.SetEscapeHTML(false)
		out.SetIndent("", "  ")
		return out.Encode(append([]configs.Finding{}, findings...)) // none: [], not null
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
	fmt.Fprintf(&b, "%s, %s, %s\n", counted(counts[configs.Severe], configs.Severe), counted(counts[configs.Warning], configs.Warning), counted(counts[configs.Note], configs.Note))
	_, err := io.WriteString(w, b.String())
	return err
}

// counted is how many findings there are of a severity: "1 error", "2 notes".
func counted(n int, severity configs.Severity) string {
	if n == 1 {
		return "1 " + severity.String()
	}
	return fmt.Sprintf("%d %ss", n, severity)
}
