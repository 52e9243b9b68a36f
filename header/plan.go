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
	for _, f := range fields {
		if i := find(targets, f.Name); i >= 0 {
			targets[i].total++
		}
		if isSignature(f.Name) {
			cover(targets, f)
		}
	}
	received := newScrubber(rules, sender)
	var deletions []Edit
	for _, f := range fields {
		i := find(targets, f.Name)
		if i < 0 {
			continue
		}
		t := &targets[i]
		t.seen++
		switch value, changed := t.change(f.Value, received); {
		case !changed:
		case t.seen > t.total-t.signed:
			kept = append(kept, Kept{Name: f.Name, Index: t.seen, Reason: reason(t.signer)})
		case value == "":
			deletions = append(deletions, Edit{Name: f.Name, Index: t.seen, Delete: true, Old: f.Value})
		default:
			edits = append(edits, Edit{Name: f.Name, Index: t.seen, Value: value, Old: f.Value})
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
	signer Field
}

// scrub is the action for Received fields.
const scrub FieldAction = "scrub"

// targetsOf lists the names that the rules apply to.
func targetsOf(rules *Rules) []target {
	targets := make([]target, 0, 1+len(rules.Fields))
	if rules.Client || rules.Version || rules.With {
		targets = append(targets, target{FieldRule: FieldRule{Name: "Received", Action: scrub}})
	}
	for _, rule := range rules.Fields {
		if !sameName(rule.Name, "Received") && find(targets, rule.Name) < 0 {
			targets = append(targets, target{FieldRule: rule})
		}
	}
	return targets
}

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
		return text, !slices.Equal(slices.Collect(split(text, blank)), slices.Collect(split(value, blank)))
	}
	return value, false
}

// find returns the index of the target of a name, -1 if there is none.
func find(targets []target, name string) int {
	for i := range targets {
		if sameName(targets[i].Name, name) {
			return i
		}
	}
	return -1
}

// sameName reports whether two names are those of one field. Case does not count.
func sameName(a, b string) bool { return len(a) == len(b) && strings.EqualFold(a, b) }

// Apply makes edits to a header as sendmail does and returns what results; fields
// is left as it was. An edit changes the field that has its index among those of
// its name: index 0 is the first, a field deleted by an earlier edit still counts
// and is there again once it has a value, and a value for an index past the last
// is added above the first of that name, else at the end.
func Apply(fields []Field, edits []Edit) []Field {
	header := slices.Clone(fields)
	deleted := make([]bool, len(header))
	places := placesOf(header)
	for _, e := range edits {
		same, remove := places[lower(e.Name)], e.Delete || e.Value == ""
		switch index := max(e.Index, 1); {
		case index <= len(same):
			at := same[index-1]
			header[at].Value, deleted[at] = e.Value, remove
		case !remove:
			at := len(header)
			if len(same) > 0 {
				at = same[0]
			}
			header = slices.Insert(header, at, Field{Name: e.Name, Value: e.Value})
			deleted = slices.Insert(deleted, at, false)
			places = placesOf(header)
		}
	}
	var result []Field
	for i, f := range header {
		if !deleted[i] {
			result = append(result, f)
		}
	}
	return result
}

// placesOf says where the fields of each name, in lower case, stand in a header.
func placesOf(fields []Field) map[string][]int {
	places := make(map[string][]int)
	for i, f := range fields {
		places[lower(f.Name)] = append(places[lower(f.Name)], i)
	}
	return places
}
