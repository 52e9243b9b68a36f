package header

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestEditsAreAppliedAsSendmailDoes(t *testing.T) {
	fields := []Field{{"Received", "1"}, {"X", "a"}, {"x", "b"}, {"Y", "c"}}
	for name, c := range map[string]struct {
		edits []Edit
		want  string
	}{
		"no edit":                            {nil, "Received: 1\nX: a\nx: b\nY: c\n"},
		"names are compared without case":    {[]Edit{{Name: "X", Index: 2, Value: "B"}}, "Received: 1\nX: a\nx: B\nY: c\n"},
		"index 0 is the first":               {[]Edit{{Name: "x", Index: 0, Value: "A"}}, "Received: 1\nX: A\nx: b\nY: c\n"},
		"an empty value deletes":             {[]Edit{{Name: "X", Index: 1}}, "Received: 1\nx: b\nY: c\n"},
		"a deleted field still counts":       {[]Edit{{Name: "X", Index: 1, Delete: true}, {Name: "X", Index: 2, Value: "B"}}, "Received: 1\nx: B\nY: c\n"},
		"a deleted field can come back":      {[]Edit{{Name: "X", Index: 1, Delete: true}, {Name: "X", Index: 1, Value: "A"}}, "Received: 1\nX: A\nx: b\nY: c\n"},
		"past the last is added above":       {[]Edit{{Name: "X", Index: 3, Value: "n"}}, "Received: 1\nX: n\nX: a\nx: b\nY: c\n"},
		"what is added counts":               {[]Edit{{Name: "X", Index: 3, Value: "n"}, {Name: "X", Index: 2, Value: "A"}}, "Received: 1\nX: n\nX: A\nx: b\nY: c\n"},
		"a new name is added at the end":     {[]Edit{{Name: "Z", Index: 1, Value: "n"}}, "Received: 1\nX: a\nx: b\nY: c\nZ: n\n"},
		"deleting what is not there is idle": {[]Edit{{Name: "Z", Index: 1, Delete: true}}, "Received: 1\nX: a\nx: b\nY: c\n"},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(c.want, textOf(Apply(fields, c.edits))); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if fields[1].Value != "a" || fields[2].Value != "b" {
				t.Errorf("the header that was given is changed: %v", fields)
			}
		})
	}
}

func TestEditsComeInAnOrderInWhichTheirIndexesHold(t *testing.T) {
	fields := []Field{{"A", "1.1"}, {"A", "x 1.2"}, {"B", "b"}, {"a", "1.3"}, {"A", "y 1.4"}}
	rules := &Rules{Fields: []FieldRule{{Name: "A", Action: Version}, {Name: "B", Action: Remove}}}
	edits, kept := Plan(fields, rules, "")
	want := []Edit{
		{Name: "A", Index: 2, Value: "x", Old: "x 1.2"},
		{Name: "A", Index: 4, Value: "y", Old: "y 1.4"},
		{Name: "a", Index: 3, Delete: true, Old: "1.3"},
		{Name: "B", Index: 1, Delete: true, Old: "b"},
		{Name: "A", Index: 1, Delete: true, Old: "1.1"},
	}
	if diff := cmp.Diff(want, edits); diff != "" || kept != nil {
		t.Errorf("kept %v (-want +got):\n%s", kept, diff)
	}
}

func TestTheFirstRuleForANameCounts(t *testing.T) {
	fields := []Field{{"X-Mailer", "Mutt 2.2"}, {"Received", "from laptop.lan by mx.example"}}
	rules := &Rules{Fields: []FieldRule{{Name: "x-mailer", Action: Version}, {Name: "X-Mailer", Action: Remove}, {Name: "Received", Action: Remove}}}
	edits, _ := Plan(fields, rules, "")
	if diff := cmp.Diff([]Edit{{Name: "X-Mailer", Index: 1, Value: "Mutt", Old: "Mutt 2.2"}}, edits); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestWhatIsNotConfiguredIsNotWritten(t *testing.T) {
	for _, c := range []struct{ rules, from, by, value, want string }{
		{"client, version", "", "", "from laptop.lan by mx.example (Postfix) id 1", "by mx.example id 1"},
		{"client, version", "", "", "from laptop.lan", DefaultFrom},
		{"version", "", "", "(qmail 1 invoked by uid 0)", DefaultBy},
		{"client, version", "from elsewhere (hidden)", "(mail)", "from laptop.lan (x) by mx.example (Postfix) (Debian)", "from elsewhere (hidden) by mx.example (mail)"},
		{"client, version", "by me", "me", "from laptop.lan (x) by mx.example (Postfix)", DefaultFrom + " by mx.example " + DefaultBy},
	} {
		rules := rulesOf(t, c.rules)
		rules.From, rules.By = c.from, c.by
		edits, _ := Plan([]Field{{"Received", c.value}}, rules, "")
		if diff := cmp.Diff([]Edit{{Name: "Received", Index: 1, Value: c.want, Old: c.value}}, edits); diff != "" {
			t.Errorf("%+v (-want +got):\n%s", c, diff)
		}
	}
}

func TestRulesAreValidated(t *testing.T) {
	for name, c := range map[string]struct {
		rules Rules
		want  string
	}{
		"the defaults":           {Rules{From: DefaultFrom, By: DefaultBy}, ""},
		"no texts":               {Rules{}, ""},
		"every action":           {Rules{Fields: []FieldRule{{"X-A", Remove, ""}, {"X-B", Version, ""}, {"X-C", Replace, "none"}}}, ""},
		"from without from":      {Rules{From: "SMTP"}, `from: "SMTP", expected "from " and a name, such as "from SMTP"`},
		"from without a value":   {Rules{From: "from (x)"}, `from: "from (x)", expected "from " and a name, such as "from SMTP"`},
		"from with by":           {Rules{From: "from x by y"}, `from: "from x by y": expected nothing but comments in parentheses behind the name, each after a blank`},
		"from with a semicolon":  {Rules{From: "from x;"}, `from: "from x;": expected nothing but comments in parentheses behind the name, each after a blank`},
		"from that is open":      {Rules{From: "from x (y"}, `from: "from x (y": a parenthesis is not closed`},
		"from with a line break": {Rules{From: "from x\ny"}, `from: "from x\ny", expected printable ASCII on one line`},
		"from that is long":      {Rules{From: "from " + strings.Repeat("x", 96)}, `from: "from ` + strings.Repeat("x", 75) + `...": 101 octets, expected 100 at most`},
		"by without parentheses": {Rules{By: "server"}, `by: "server", expected a comment in parentheses, such as "(SMTP server)", or ""`},
		"by with two comments":   {Rules{By: "(a) (b)"}, `by: "(a) (b)": expected nothing behind the comment`},
		"a Received field":       {Rules{Fields: []FieldRule{{"received", Remove, ""}}}, `field "received": the Received fields of a message have rules of their own`},
		"a name with a colon":    {Rules{Fields: []FieldRule{{"X-A:", Remove, ""}}}, `field "X-A:": "X-A:", expected the name of a header field, such as X-Mailer`},
		"an unknown action":      {Rules{Fields: []FieldRule{{"X-A", "hide", ""}}}, `field "X-A": action "hide", expected remove, version or replace`},
		"nothing to replace by":  {Rules{Fields: []FieldRule{{"X-A", Replace, " "}}}, `field "X-A": " ", expected printable ASCII on one line, without blanks around it`},
	} {
		t.Run(name, func(t *testing.T) {
			got := ""
			if err := c.rules.Validate(); err != nil {
				got = err.Error()
			}
			if got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
		})
	}
}

func TestWhatIsTooLongForALineGoes(t *testing.T) {
	long := strings.Repeat("x", maxToken+1)
	for _, c := range []struct{ rules, value, want string }{
		{"client", "from " + long + " (HELO laptop) by mx.example (laptop) id 1", "from SMTP by mx.example id 1"},
		{"client", "from " + long + " by mx.example (laptop) id 1", "from SMTP by mx.example id 1"},
		{"client", "from laptop.lan by mx.example (" + long + ") id 1 for " + long + "; Mon, 5 Feb 2024 10:00:00 +0100", "from SMTP by mx.example id 1; Mon, 5 Feb 2024 10:00:00 +0100"},
		{"client", "from " + strings.Repeat("a.b ", 100) + "by mx.example (Postfix) id 1", "from SMTP by mx.example (Postfix) id 1"},
		{"version X-Mailer", "Mutt " + long, "Mutt"},
	} {
		name := "Received"
		if strings.Contains(c.rules, "X-Mailer") {
			name = "X-Mailer"
		}
		edits, _ := Plan([]Field{{name, c.value}}, rulesOf(t, c.rules), "")
		if diff := cmp.Diff([]Edit{{Name: name, Index: 1, Value: c.want, Old: c.value}}, edits); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.rules, diff)
		}
	}
}
