package sendmail

import (
	"slices"
	"strings"
)

// class is a class while the file is read.
type class struct {
	Class
	has map[string]bool
	// unread is what sendmail takes names from and milterd does not: programs,
	// maps, and classes that are empty.
	unread []Problem
}

func (c *class) add(names ...string) {
	for _, name := range names {
		if name != "" && !c.has[name] {
			c.has[name] = true
			c.Names = append(c.Names, name)
		}
	}
}

// addClass adds what another class has so far, its files included.
func (c *class) addClass(from *class) {
	c.add(from.Names...)
	for _, f := range from.Files {
		if !slices.Contains(c.Files, f) {
			c.Files = append(c.Files, f)
		}
	}
	for _, p := range from.unread {
		if !slices.Contains(c.unread, p) {
			c.unread = append(c.unread, p)
		}
	}
}

// class is a class as it is so far.
func (p *parser) class(name string) *class {
	if p.classes[name] == nil {
		p.classes[name] = &class{has: make(map[string]bool)}
	}
	return p.classes[name]
}

// addToClass adds the words of a C command. $=X stands for what class X has so far.
func (p *parser) addToClass(name, text string, number int) {
	c := p.class(name)
	for _, word := range strings.Fields(text) {
		ref, ok := strings.CutPrefix(word, "$=")
		if !ok {
			c.add(strings.Fields(p.expand(word))...)
			continue
		}
		from, _ := cutName(ref)
		other := p.class(from)
		c.addClass(other)
		if len(other.Names)+len(other.Files)+len(other.unread) == 0 {
			c.unread = append(c.unread, problem(number, "class %s takes the names of class %s, which has none here; list them in the configuration if it gets them elsewhere", name, from))
		}
	}
}

// classFile reads an F command.
func (p *parser) classFile(rest string, number int) {
	name, text := cutName(rest)
	c := p.class(name)
	unread := func(format string, args ...any) {
		c.unread = append(c.unread, problem(number, "class "+name+": "+format, args...))
	}
	f := ClassFile{Line: number}
	text = strings.TrimLeft(text, " \t\n")
	if strings.HasPrefix(text, "-o") {
		f.Optional = true
		_, text, _ = strings.Cut(text, " ")
		text = strings.TrimLeft(text, " \t\n")
	}
	path, format, _ := strings.Cut(strings.ReplaceAll(text, `"`, ""), " ")
	f.Path, f.Format = path, strings.TrimSpace(format)
	if f.Format == "" {
		f.Format = "%s"
	}
	switch {
	case path == "":
		unread("an F command without a file")
	case strings.HasPrefix(path, "|"):
		unread("the output of a program (%s) is not read; list the names in the configuration", text)
	case !strings.HasPrefix(path, "/"):
		unread("%s is not a file and is not read; list the names in the configuration", path)
	case name == "TrustAuthMech":
		unread("the file %s is not read; list the mechanisms in the configuration", path)
	default:
		if _, err := parseFormat(f.Format); err != nil {
			unread("%s is not read: %v; list the names in the configuration", path, err)
			return
		}
		c.Files = append(c.Files, f)
	}
}

// tellUnread reports what milterd does not know of the classes that it uses.
func (p *parser) tellUnread() {
	for _, name := range []string{"w", "R", "TrustAuthMech", "m"} {
		if name == "m" && !p.config.Features.RelayEntireDomain {
			continue
		}
		for _, unread := range p.class(name).unread {
			if !slices.Contains(p.config.Problems, unread) {
				p.config.Problems = append(p.config.Problems, unread)
			}
		}
	}
}
