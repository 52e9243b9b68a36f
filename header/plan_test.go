package header

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"milterd/integration/testkit"
)

// sample is a file of testdata: what it shows, a header with the sender of its
// message, and under each set of rules the header that is left of it.
type sample struct {
	name, about, header string
	sender              string
	rules               []string
	want                map[string]string
}

func readSamples(t testing.TB) []sample {
	t.Helper()
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no headers in testdata: %v", err)
	}
	var samples []sample
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		parts := strings.Split(string(text), "== ")
		s := sample{name: strings.TrimSuffix(filepath.Base(file), ".txt"), about: parts[0], want: make(map[string]string)}
		for i, part := range parts[1:] {
			title, body, _ := strings.Cut(part, "\n")
			if i == 0 {
				text, from, _ := strings.Cut(title, " from ")
				if text != "header" {
					t.Fatalf("%s: first section %q, expected header", file, title)
				}
				s.header, s.sender = body, from
				continue
			}
			s.rules = append(s.rules, title)
			s.want[title] = body
		}
		if s.header == "" || len(s.rules) == 0 {
			t.Fatalf("%s: expected a header and rules", file)
		}
		samples = append(samples, s)
	}
	return samples
}

// text is the file of the sample.
func (s sample) text() string {
	title := "header"
	if s.sender != "" {
		title += " from " + s.sender
	}
	text := s.about + "== " + title + "\n" + s.header
	for _, rules := range s.rules {
		text += "== " + rules + "\n" + s.want[rules]
	}
	return text
}

// fieldsOf reads a header as an MTA hands it to a milter.
func fieldsOf(text string) []Field {
	var fields []Field
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		if n := len(fields); n > 0 && (strings.HasPrefix(line, " ") || strings.HasPrefix(line, "\t")) {
			fields[n-1].Value += "\n" + line
			continue
		}
		name, value, _ := strings.Cut(line, ":")
		fields = append(fields, Field{name, strings.TrimLeft(value, " \t")})
	}
	return fields
}

func textOf(fields []Field) string {
	var b strings.Builder
	for _, f := range fields {
		fmt.Fprintf(&b, "%s: %s\n", f.Name, f.Value)
	}
	return b.String()
}

// rulesOf reads "client, version, with, remove NAME, version NAME, replace NAME TEXT".
func rulesOf(t testing.TB, text string) *Rules {
	t.Helper()
	r := &Rules{From: DefaultFrom, By: DefaultBy}
	for part := range strings.SplitSeq(text, ", ") {
		switch words := strings.SplitN(part, " ", 3); {
		case part == "client":
			r.Client = true
		case part == "version":
			r.Version = true
		case part == "with":
			r.With = true
		case len(words) > 1:
			rule := FieldRule{Name: words[1], Action: FieldAction(words[0])}
			if len(words) > 2 {
				rule.Text = words[2]
			}
			r.Fields = append(r.Fields, rule)
		default:
			t.Fatalf("rule %q", part)
		}
	}
	if err := r.Validate(); err != nil {
		t.Fatal(err)
	}
	return r
}

// TestHeadersAreScrubbed plans each header of testdata by each of its rules,
// applies the plan and compares what is left with the file.
func TestHeadersAreScrubbed(t *testing.T) {
	for _, s := range readSamples(t) {
		got := s
		got.want = make(map[string]string)
		for _, rules := range s.rules {
			fields := fieldsOf(s.header)
			edits, kept := Plan(fields, rulesOf(t, rules), s.sender)
			text := textOf(Apply(fields, edits))
			for _, k := range kept {
				text += fmt.Sprintf("kept %s %d: %s\n", k.Name, k.Index, k.Reason)
			}
			if len(edits) == 0 {
				text = "no edits\n" + strings.TrimPrefix(text, textOf(fields))
			}
			got.want[rules] = text
		}
		t.Run(s.name, func(t *testing.T) { testkit.Golden(t, "testdata/"+s.name+".txt", got.text()) })
	}
}
