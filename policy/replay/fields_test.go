package replay

import (
	"bytes"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"milterd/header"
	"milterd/policy"
)

// relayed is a message with three Received fields and a folded one.
const relayed = `id: s
connect: {addr: 203.0.113.8, resolve: OK}
messages:
  - mail: {from: a@good.example}
    rcpt: [{to: x@example.test}]
    headers:
      - [Received, "from one by two"]
      - [Subject, hi]
      - [received, "from two\n\tby three"]
      - [X-Mailer, Browser 1.0]
`

func TestExpectedFieldsAreCompared(t *testing.T) {
	for _, c := range []struct {
		name, expect string
		want         []Difference
	}{
		{"all of a name, in order, however folded and spelled",
			`headers: [[RECEIVED, "from one by two"], [Received, "from two by  three"]]`, nil},
		{"fields nobody mentions do not count", `headers: [[Subject, hi]]`, nil},
		{"no field of a name", `headers: [[X-Originating-IP]]`, nil},
		{"another value", `headers: [[Subject, ho]]`,
			[]Difference{{Place: "eom header Subject", Want: `"ho"`, Got: `"hi"`, header: true}}},
		{"another order", `headers: [[Received, from two by three], [Received, from one by two]]`,
			[]Difference{{Place: "eom header Received", Want: `"from two by three", "from one by two"`, Got: `"from one by two", "from two by three"`, header: true}}},
		{"one field too few", `headers: [[Received, from one by two]]`,
			[]Difference{{Place: "eom header Received", Want: `"from one by two"`, Got: `"from one by two", "from two by three"`, header: true}}},
		{"a field that should be gone", `headers: [[X-Mailer]]`,
			[]Difference{{Place: "eom header X-Mailer", Want: "none", Got: `"Browser 1.0"`, header: true}}},
		{"a field that is gone", `headers: [[X-Mailer, Browser 1.0], [X-Gone, x]]`,
			[]Difference{{Place: "eom header X-Gone", Want: `"x"`, Got: "none", header: true}}},
		{"the verdict as well", `action: reject, headers: [[Subject, ho]]`, []Difference{
			{Place: "eom <>", Want: "reject", Got: "accept"},
			{Place: "eom header Subject", Want: `"ho"`, Got: `"hi"`, header: true}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := read(t, relayed+"expect: [{stage: eom, "+c.expect+"}]\n")[0]
			results := Run(fixture(t), s, nil).Results
			got := results[len(results)-1].Differences
			if diff := cmp.Diff(c.want, got, cmp.AllowUnexported(Difference{})); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestExpectedFieldsAreThoseAfterTheEdits(t *testing.T) {
	s := read(t, relayed)[0]
	x := Expect{Stage: "eom", Headers: [][]string{{"Received", "from SMTP by three"}, {"X-Mailer"}}}
	v := policy.Verdict{Stage: policy.StageEOM, Action: policy.ActionAccept, Edits: []header.Edit{
		{Name: "Received", Index: 1, Delete: true}, {Name: "received", Index: 2, Value: "from SMTP\n\tby three"},
		{Name: "X-Mailer", Index: 1, Delete: true},
	}}
	if got := x.differences(v, s.Messages[0].fields()); got != nil {
		t.Errorf("differences: %v", got)
	}
	v.Edits = v.Edits[1:]
	want := `eom header Received: "from SMTP by three"; got "from one by two", "from SMTP by three"`
	if got := x.differences(v, s.Messages[0].fields()); len(got) != 1 || got[0].String() != want {
		t.Errorf("differences: %v, want %s", got, want)
	}
}

func TestADifferenceInTheHeaderIsReported(t *testing.T) {
	s := read(t, relayed+"expect: [{stage: eom, headers: [[Subject, ho]]}]\n")[0]
	var out bytes.Buffer
	if err := WriteText(&out, s, Run(fixture(t), s, nil), false); err != nil {
		t.Fatal(err)
	}
	want := "s eom: accept\n    DIFFERENT: test.yaml:1 expects eom header Subject: \"ho\"; got \"hi\"\n"
	if !strings.HasSuffix(out.String(), want) {
		t.Errorf("%s", out.String())
	}
}

func TestEditsAreInTheJSON(t *testing.T) {
	s := &Session{ID: "s"}
	o := Outcome{Results: []Result{{Message: 1, Verdict: policy.Verdict{Stage: policy.StageEOM, Edits: []header.Edit{
		{Name: "Received", Index: 2, Old: "from a", Value: "from SMTP"}, {Name: "X-Mailer", Index: 1, Old: "B 1", Delete: true},
	}}}}}
	var out bytes.Buffer
	if err := WriteJSON(&out, s, o); err != nil {
		t.Fatal(err)
	}
	want := `"edits":[{"name":"Received","index":2,"action":"change","old":"from a","value":"from SMTP"},{"name":"X-Mailer","index":1,"action":"delete","old":"B 1","value":""}]`
	if !strings.Contains(out.String(), want) {
		t.Errorf("%s", out.String())
	}
}
