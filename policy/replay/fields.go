package replay

import (
	"fmt"
	"slices"
	"strings"

	"milterd/header"
	"milterd/policy"
)

func (m *Message) fields() []policy.HeaderField {
	fields := make([]policy.HeaderField, len(m.Headers))
	for i, h := range m.Headers {
		fields[i] = policy.HeaderField{Name: h[0], Value: h[1]}
	}
	return fields
}

// headerDifferences compares the fields that an expectation mentions with those
// that a message leaves with: for each name all of them, in order. [NAME] alone
// says that no field of the name is left.
func (x *Expect) headerDifferences(fields []policy.HeaderField, edits []header.Edit) []Difference {
	if len(x.Headers) == 0 {
		return nil
	}
	var names []string
	want, got := make(map[string][]string), make(map[string][]string)
	for _, h := range x.Headers {
		name := strings.ToLower(h[0])
		if _, ok := want[name]; !ok {
			names, want[name] = append(names, h[0]), nil
		}
		if len(h) == 2 {
			want[name] = append(want[name], oneLine(h[1]))
		}
	}
	for _, f := range header.Apply(fields, edits) {
		name := strings.ToLower(f.Name)
		if _, ok := want[name]; ok {
			got[name] = append(got[name], oneLine(f.Value))
		}
	}
	var differences []Difference
	for _, name := range names {
		want, got := want[strings.ToLower(name)], got[strings.ToLower(name)]
		if !slices.Equal(want, got) {
			differences = append(differences, Difference{Place: "eom header " + name, Want: values(want), Got: values(got), header: true})
		}
	}
	return differences
}

func (x *Expect) checkHeaders(path string) error {
	if len(x.Headers) == 0 {
		return nil
	}
	if x.Stage != string(policy.StageEOM) {
		return badField(path, "only the end of a message has a header, expected stage: eom")
	}
	lengths := make(map[string]int)
	for i, h := range x.Headers {
		at := fmt.Sprintf("%s.%d", path, i)
		if len(h) != 1 && len(h) != 2 || h[0] == "" {
			return badField(at, "%d values, expected [NAME, VALUE], or [NAME] for no field of that name", len(h))
		}
		name := strings.ToLower(h[0])
		if before := lengths[name]; before == 1 || before == 2 && len(h) == 1 {
			return badField(at, "[%s] says that no field of the name is left, another line says something else", h[0])
		}
		lengths[name] = len(h)
	}
	return nil
}

// oneLine unfolds a value; any white space counts as one blank.
func oneLine(value string) string { return strings.Join(strings.Fields(value), " ") }

func values(list []string) string {
	if len(list) == 0 {
		return "none"
	}
	quoted := make([]string, len(list))
	for i, v := range list {
		quoted[i] = fmt.Sprintf("%q", v)
	}
	return strings.Join(quoted, ", ")
}
