package header

import (
	"strings"
	"testing"
)

// FuzzReceived scrubs a value by each set of rules: what results is a valid
// field that is left alone the second time, whatever the texts in the rules.
func FuzzReceived(f *testing.F) {
	for _, s := range readSamples(f) {
		for _, field := range fieldsOf(s.header) {
			f.Add(field.Value, DefaultFrom, DefaultBy)
		}
	}
	for _, style := range styles {
		f.Add(style, "from a (b) c", "(d (e))")
	}
	for _, form := range readForms(f) {
		f.Add(form.in, DefaultFrom, DefaultBy)
	}
	for _, value := range []string{
		"by\n\tfrom\"", "from by (SMTP server)", "from (TLS1.3) from with", "from from with (SMTP server)", "from from tls (SMTP server) tls",
		"with Mon, 5 Feb 2024 10:00:00 +0100 by (SMTP server)", "Mon, 5 Feb 2024 10:00:00 +0100(CET)with", "id 203.0.113.9 203.0.113.9", "id)\"203.0.113.9",
		"by \" ( 203.0.113.9", "by < from ) > \" with", "< from (TLS1.3) > (CET)", "\";(SMTP server)Mon, 5 Feb 2024 10:00:00 +0100\"(\"",
	} {
		f.Add(value, DefaultFrom, DefaultBy)
		f.Add(value, DefaultFrom, "(TLS)")
	}
	f.Fuzz(func(t *testing.T, value, from, by string) {
		for bits := range 8 {
			rules := &Rules{Client: bits&1 > 0, Version: bits&2 > 0, With: bits&4 > 0, From: from, By: by}
			fields := []Field{{"Received", value}}
			edits, _ := Plan(fields, rules, sender)
			checkPlan(t, fields, edits, rules)
		}
	})
}

// FuzzPlan plans a whole header.
func FuzzPlan(f *testing.F) {
	for _, s := range readSamples(f) {
		for _, rules := range s.rules {
			f.Add(s.header, rules, "X-Mailer")
		}
	}
	f.Fuzz(func(t *testing.T, header, text, name string) {
		rules := &Rules{Client: strings.Contains(text, "client"), Version: strings.Contains(text, "version"), With: strings.Contains(text, "with"), From: DefaultFrom, By: DefaultBy}
		rules.Fields = []FieldRule{{Name: "User-Agent", Action: Version}, {Name: name, Action: Replace, Text: text}, {Name: "X-Mailer", Action: Remove}}
		if rules.Validate() != nil {
			rules.Fields = rules.Fields[:1]
		}
		fields := fieldsOf(header)
		edits, kept := Plan(fields, rules, sender)
		checkPlan(t, fields, edits, rules)
		if len(edits)+len(kept) > len(fields) {
			t.Fatalf("%d edits and %d kept of %d fields", len(edits), len(kept), len(fields))
		}
	})
}
