package configs

import (
	"slices"
	"strings"

	"milterd/header"
)

// Record says whether sessions are recorded, and what of them.
type Record struct {
	// Dir is a complete path, empty for none.
	Dir      string
	MaxSize  int64 // octets
	Keep     int
	Compress string
	Sample   float64
	// RedactKey is that of RedactKeyFile once Policy has read it; an empty one stands for
	// a random one that is not kept.
	Redact        bool
	RedactKey     Secret
	RedactKeyFile string
	// Headers and AllHeaders (the word all) are empty with Redact.
	Headers    []string
	AllHeaders bool
	Buffer     int // sessions
}

// headers takes names of header fields, or all.
func (r *Record) headers(v value) {
	var names []string
	list(&names, header.CheckName)(v)
	r.AllHeaders = slices.Contains(names, "all")
	r.Headers = slices.DeleteFunc(names, func(name string) bool { return name == "all" })
}

func (c *Config) checkRecord(d *decoder) {
	r := &c.Record
	if r.Redact && (r.AllHeaders || len(r.Headers) > 0) {
		d.wrong(d.said("record.redact", "record.headers"), "what people write into other fields cannot be redacted, expected redact: false or no headers")
	}
	if r.AllHeaders && len(r.Headers) > 0 {
		d.wrong("record.headers", "all stands for every field, expected [all] or names")
	}
	for i, name := range r.Headers {
		if slices.ContainsFunc(r.Headers[:i], func(other string) bool { return strings.EqualFold(other, name) }) {
			d.wrong("record.headers", "%s is listed twice; the case of a field's name does not count", quote(name))
		}
	}
}
