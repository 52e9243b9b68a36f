package header

import (
	"slices"
	"strings"
)

// Plan says what to change in a message's header by the rules, and what is left
// alone although a rule applies to it. fields are the message's own, in order, and
// sender is the address that its envelope comes from, empty for the null sender.
//
// The edits have an order in which every index is right when its edit is made,
// whether or not a deleted field still counts (it does for sendmail, not for
// Postfix): changes from the top of the header to its end, then deletions from
// the end to the top. A plan for the header that results has no edits.
func Plan(fields []Field, rules *Rules, sender string) (edits []Edit, kept []Kept) {
	targets := targetsOf(rules)
	if len(targets) == 0 {
		return nil, nil
	}
	countFields(fields, targets)
	received := newScrubber(rules, sender)
	var deletions []Edit
	for _, f := range fields {
		t := find(targets, f.Name)
		if t == nil {
			continue
		}
		t.seen++
		value, changed := t.change(f.Value, received)
		switch index := t.seen; {
		case !changed:
		case index > t.total-t.signed:
			kept = append(kept, Kept{Name: f.Name, Index: index, Reason: t.signer.reason()})
		case value == "":
			deletions = append(deletions, Edit{Name: f.Name, Index: index, Delete: true, Old: f.Value})
		default:
			edits = append(edits, Edit{Name: f.Name, Index: index, Value: value, Old: f.Value})
		}
	}
	slices.Reverse(deletions)
	return append(edits, deletions...), kept
}

// target is a name that a rule applies to, and what is known of the fields that
// have it.
type target struct {
	FieldRule
	// total is the number of such fields, seen of those looked at.
	total, seen int
	// signed is how many of them, from the last up, a signature covers, and signer
	// the signature that covers most.
	signed int
	signer signature
}

// scrub is the action for Received fields.
const scrub FieldAction = "scrub"

// change returns a field's new value, empty to delete it, and false if nothing is to
// change.
func (t *target) change(value string, received *scrubber) (string, bool) {
	switch t.Action {
	case scrub:
		return received.scrub(value)
	case Remove:
		return "", true
	case Version:
		return withoutVersion(t.Name, value)
	case Replace:
		text := textValue(t.Name, split(t.Text, blank))
		return text, !sameText(text, value)
	}
	return value, false
}

// targetsOf lists the names that the rules apply to.
func targetsOf(rules *Rules) []target {
	targets := make([]target, 0, 1+len(rules.Fields))
	if rules.Client || rules.Version || rules.With {
		targets = append(targets, target{FieldRule: FieldRule{Name: "Received", Action: scrub}})
	}
	for _, rule := range rules.Fields {
		if !sameName(rule.Name, "Received") && find(targets, rule.Name) == nil {
			targets = append(targets, target{FieldRule: rule})
		}
	}
	return targets
}

func find(targets []target, name string) *target {
	for i := range targets {
		if sameName(targets[i].Name, name) {
			return &targets[i]
		}
	}
	return nil
}

// sameName reports whether two names are those of one field. Case does not count.
func sameName(a, b string) bool { return len(a) == len(b) && strings.EqualFold(a, b) }

// countFields counts the fields of each target and reads the signatures.
func countFields(fields []Field, targets []target) {
	for _, f := range fields {
		if t := find(targets, f.Name); t != nil {
			t.total++
		}
		if isSignature(f.Name) {
			cover(targets, f)
		}
	}
}

// Apply makes edits to a header as sendmail does and returns what results; fields
// is left as it was. An edit changes the field that has its index among those of
// its name: index 0 is the first, a field deleted by an earlier edit still counts
// and is there again once it has a value, and a value for an index past the last
// is added above the first of that name, else at the end.
func Apply(fields []Field, edits []Edit) []Field {
	type slot struct {
		Field
		deleted bool
	}
	slots := make([]slot, len(fields))
	places := make(map[string][]int)
	locate := func() {
		clear(places)
		for i, s := range slots {
			name := lower(s.Name)
			places[name] = append(places[name], i)
		}
	}
	for i, f := range fields {
		slots[i].Field = f
	}
	locate()
	for _, e := range edits {
		same := places[lower(e.Name)]
		index := max(e.Index, 1)
		switch remove := e.Delete || e.Value == ""; {
		case index <= len(same):
			s := &slots[same[index-1]]
			s.deleted = remove
			s.Value = e.Value
		case !remove:
			at := len(slots)
			if len(same) > 0 {
				at = same[0]
			}
			slots = slices.Insert(slots, at, slot{Field: Field{Name: e.Name, Value: e.Value}})
			locate()
		}
	}
	var result []Field
	for _, s := range slots {
		if !s.deleted {
			result = append(result, s.Field)
		}
	}
	return result
}

// sameText reports whether two values differ in white space only.
func sameText(a, b string) bool {
	return slices.Equal(strings.FieldsFunc(a, isBlank), strings.FieldsFunc(b, isBlank))
}
