package configs

import (
	"fmt"
	"slices"
	"strings"
)

// sectionHint says how to write a section that was given a plain value.
func (v value) sectionHint(fields []field) string {
	names := namesOf(fields)
	key := v.path[strings.LastIndexByte(v.path, '.')+1:]
	meant := map[string]string{
		"enforce": "enforce", "yes": "enforce", "true": "enforce", "on": "enforce",
		"off": "off", "no": "off", "false": "off", "shadow": "shadow",
	}[strings.ToLower(v.node.Value)]
	if !slices.Contains(names, "mode") || meant == "" {
		return " (" + strings.Join(names, ", ") + ")"
	}
	return fmt.Sprintf("; write %s: {mode: %s}", key, meant)
}

// hint says what an unknown key was probably meant to be.
func (d *decoder) hint(key string, fields []field) string {
	names := namesOf(fields)
	elsewhere := placesOf(key, "", d.top)
	if len(elsewhere) > 0 && nearest(key, names) == "" {
		return "did you mean " + strings.Join(elsewhere, " or ") + "?"
	}
	return meant(key, names, "one of "+strings.Join(names, ", "))
}

// placesOf lists the paths that end in a key.
func placesOf(key, path string, fields []field) []string {
	var places []string
	for _, f := range fields {
		if f.name == key {
			places = append(places, join(path, f.name))
		}
		places = append(places, placesOf(key, join(path, f.name), f.section)...)
	}
	return places
}

func namesOf(fields []field) []string {
	names := make([]string, len(fields))
	for i, f := range fields {
		names[i] = f.name
	}
	return names
}

// meant says which word was probably meant in place of s, or else what was expected.
func meant(s string, words []string, expected string) string {
	if near := nearest(s, words); near != "" {
		return "did you mean " + near + "?"
	}
	return "expected " + expected
}

// nearest is the word that s was probably meant to be, empty if none is near.
func nearest(s string, words []string) string {
	s = strings.ToLower(s)
	best, bestDistance := "", 3
	for _, w := range words {
		limit := min(bestDistance, 1+len(w)/4)
		if d := distance(s, strings.ToLower(w), limit); d < bestDistance && d <= limit {
			best, bestDistance = w, d
		}
	}
	return best
}

// distance counts the insertions, deletions, replacements and swaps of
// neighbours that make b of a. It is exact up to limit.
func distance(a, b string, limit int) int {
	if len(a)-len(b) > limit || len(b)-len(a) > limit {
		return limit + 1
	}
	before, last, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(last[j]+1, row[j-1]+1, last[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, last, row = last, row, before
	}
	return last[len(b)]
}
