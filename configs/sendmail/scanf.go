package sendmail

import (
	"fmt"
	"strconv"
	"strings"
)

// format is a format of scanf(3) up to its first conversion that is kept: all that
// sendmail takes from a line of a class file.
type format []directive

// directive is one step of a format.
type directive struct {
	// space skips white space; literal, if it is not empty, has to come next.
	space   bool
	literal string
	// takes says which octets a conversion takes, most of them at the most; drop
	// says that they do not count.
	takes *[256]bool
	most  int
	drop  bool
}

// parseFormat reads a format with one conversion to keep, of %s or %[...].
func parseFormat(text string) (format, error) {
	fail := func() (format, error) {
		return nil, fmt.Errorf("the format %s is none that milterd knows, expected one with a single %%s or %%[...]", text)
	}
	var f format
	for rest := text; rest != ""; {
		if strings.TrimLeft(rest[:1], " \t\n") == "" {
			f, rest = append(f, directive{space: true}), rest[1:]
			continue
		}
		if rest[0] != '%' {
			f, rest = append(f, directive{literal: rest[:1]}), rest[1:]
			continue
		}
		d, after, ok := parseConversion(rest[1:])
		if !ok {
			return fail()
		}
		f, rest = append(f, d), after
		if !d.drop {
			if strings.Contains(strings.ReplaceAll(rest, "%*", ""), "%") {
				return fail()
			}
			return f, nil
		}
	}
	return fail()
}

// parseConversion reads what stands behind a %.
func parseConversion(text string) (d directive, rest string, ok bool) {
	text, d.drop = strings.CutPrefix(text, "*")
	rest = strings.TrimLeft(text, "0123456789")
	d.most, _ = strconv.Atoi(text[:len(text)-len(rest)])
	switch {
	case strings.HasPrefix(rest, "s"):
		d.space, d.takes = true, octets(" \t\n\v\f\r", true)
		return d, rest[1:], true
	case strings.HasPrefix(rest, "["):
		set, not := strings.CutPrefix(rest[1:], "^")
		// A ] that comes first is one of the set.
		end := strings.IndexByte(set[min(1, len(set)):], ']') + 1
		if end == 0 && (set != "" || !not) {
			return d, "", false
		}
		// "%[^" takes everything. It is what a sendmail.cf has of "%[^#]", where the
		// # begins a comment unless it is written \#.
		d.takes = octets(set[:end], not)
		return d, set[min(end+1, len(set)):], true
	}
	return d, "", false
}

// octets is a set as %[...] writes it, or all other octets.
func octets(set string, not bool) *[256]bool {
	in := new([256]bool)
	for i := 0; i < len(set); i++ {
		in[set[i]] = true
		if i > 0 && i+1 < len(set) && set[i] == '-' {
			for c := int(set[i-1]); c <= int(set[i+1]); c++ {
				in[c] = true
			}
		}
	}
	if not {
		for i := range in {
			in[i] = !in[i]
		}
	}
	return in
}

// scan returns what the format takes from a line; ok tells whether it fits.
func (f format) scan(line string) (text string, ok bool) {
	for _, d := range f {
		if d.space {
			line = strings.TrimLeft(line, " \t\n\v\f\r")
		}
		if line, ok = strings.CutPrefix(line, d.literal); !ok {
			return "", false
		}
		if d.takes == nil {
			continue
		}
		n := 0
		for n < len(line) && d.takes[line[n]] && (d.most == 0 || n < d.most) {
			n++
		}
		if n == 0 {
			return "", false
		}
		if !d.drop {
			return line[:n], true
		}
		line = line[n:]
	}
	return "", false
}
