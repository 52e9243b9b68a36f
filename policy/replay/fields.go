package replay

import (
	"fmt"
	"slices"
	"strings"

	"milterd/header"
	"milterd/policy"
)

// fields is the header of a message as the policy takes it.
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
	left := header.Apply(fields, edits)
	var differences []Difference
	var seen []string
	for _, h := range x.Headers {
		name := strings.ToLower(h[0])
		if slices.Contains(seen, name) {
			continue
		}
		seen = append(seen, name)
		var want, got []string
		for _, h := range x.Headers {
			if len(h) == 2 && strings.EqualFold(h[0], name) {
				want = append(want, oneLine(h[1]))
			}
		}
		for _, f := range left {
			if strings.EqualFold(f.Name, name) {
				got = append(got, oneLine(f.Value))
			}
		}
		if !slices.Equal(want, got) {
			differences = append(differences, Difference{Place: "eom header " + h[0], Want: values(want), Got: values(got), header: true})
		}
	}
	return differences
}

// checkHeaders finds what an expectation cannot say about the header.
func (x *Expect) checkHeaders(path string) error {
	if len(x.Headers) > 0 && x.Stage != string(policy.StageEOM) {
		return badField(path, "only the end of a message has a header, expected stage: eom")
	}
	for i, h := range x.Headers {
		at := fmt.Sprintf("%s.%d", path, i)
		if len(h) != 1 && len(h) != 2 || h[0] == "" {
			return badField(at, "%d values, expected [NAME, VALUE], or [NAME] for no field of that name", len(h))
		}
		for _, other := range x.Headers[:i] {
			if strings.EqualFold(other[0], h[0]) && (len(other) == 1 || len(h) == 1) {
				return badField(at, "[%s] says that no field of the name is left, another line says something else", h[0])
			}
		}
	}
	return nil
}

// oneLine unfolds a value; any white space counts as one blank.
func oneLine(value string) string { return strings.Join(strings.Fields(value), " ") }

// values writes the values of a field for a report.
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
