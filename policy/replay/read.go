package replay

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"reflect"
	"regexp"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"gopkg.in/yaml.v3"
)

// ReadFile reads the sessions of one file and hands them over one by one. Files
// that end in .jsonl or .json hold one JSON object a line, others YAML documents;
// with .gz or .zst behind that they are compressed. What is no session is passed over;
// the errors, each beginning with FILE:LINE:, are joined.
func ReadFile(name string, each func(*Session)) error { return Input{Name: name}.read(each) }

// Read reads a text as ReadFile reads a file of the name.
func Read(name string, r io.Reader, each func(*Session)) error {
	return Input{Name: name, stdin: r}.read(each)
}

func (in Input) read(each func(*Session)) error {
	var errs []error
	s := Stream[struct{}]{
		New:     func() (nothing struct{}) { return },
		Each:    func(_ struct{}, s *Session) { each(s) },
		Collect: func(_ struct{}, err error) error { errs = append(errs, err); return nil },
		keep:    true,
	}
	return errors.Join(append(errs, s.Run([]Input{in}))...)
}

// decoder reads sessions out of the records of a file.
type decoder struct {
	*format
	name string
	// reused is the one session that all lines are read into, for those who have
	// done with a session when its turn is over; nil makes a new one for each.
	reused *Session
}

func (d *decoder) sessions(p *piece, each func(*Session)) {
	line, begin := p.line, 0
	for i, end := range p.ends {
		record := p.data[begin:end]
		switch text := bytes.TrimSpace(record); {
		case len(text) > d.max, p.tooLong && i == len(p.ends)-1:
			p.unreadable.addf("%s:%d: %s of more than %d bytes", d.name, line, d.record, d.max)
		case len(text) == 0:
		case large(text) && d.values(text) > maxValues:
			p.unreadable.addf("%s:%d: %s of more than %d values", d.name, line, d.record, maxValues)
		case d.format == yamlDocuments:
			d.documents(record, line, &p.unreadable, each)
		default:
			d.line(text, line, &p.unreadable, each)
		}
		line += bytes.Count(record, []byte("\n"))
		begin = end
	}
}

// line reads one line of JSON. What is wrong with it is put in words only if they will
// be read, as that takes longer than reading.
func (d *decoder) line(text []byte, number int, bad *unreadable, each func(*Session)) {
	s := d.reused
	if s == nil {
		s = new(Session)
	} else {
		// What the slices hold is written over.
		*s = Session{Messages: s.Messages[:0], Grants: s.Grants[:0], DNS: s.DNS[:0], Expect: s.Expect[:0]}
	}
	s.File, s.Line = d.name, number
	err := json.Unmarshal(text, s, json.RejectUnknownMembers(true), jsontext.AllowInvalidUTF8(true))
	if err != nil && !bad.full() {
		err = jsonError(text, err)
	} else if err == nil {
		err = s.check()
	}
	if err != nil {
		bad.addf("%s:%d: %w", d.name, number, err)
		return
	}
	each(s)
}

// documents reads a YAML document. Others may follow without a marker, behind "...".
func (d *decoder) documents(text []byte, first int, bad *unreadable, each func(*Session)) {
	report := func(line int, text string, args ...any) {
		bad.addf("%s:%d: "+text, append([]any{d.name, first + line - 1}, args...)...)
	}
	documents := yaml.NewDecoder(bytes.NewReader(text))
	for {
		node := new(yaml.Node)
		if err := documents.Decode(node); errors.Is(err, io.EOF) {
			return
		} else if err != nil {
			line, text := yamlError(err)
			report(line, "%s", text)
			return
		}
		root, s := node.Content[0], new(Session)
		before := bad.count()
		(&schemaCheck{report: report, left: maxValues}).value(root, reflect.TypeFor[Session]())
		if bad.count() > before {
			continue
		}
		if err := root.Decode(s); err != nil {
			line, text := yamlError(err)
			report(line, "%s", text)
			continue
		}
		s.File, s.Line = d.name, first+root.Line-1
		if err := s.check(); err != nil {
			report(lineOf(root, err), "%w", err)
			continue
		}
		each(s)
	}
}

var yamlLine = regexp.MustCompile(`^yaml: (?:unmarshal errors:\n\s*)?(?:line (\d+): )?`)

// yamlError cuts the line off an error of the YAML library.
func yamlError(err error) (line int, text string) {
	text = err.Error()
	if m := yamlLine.FindStringSubmatch(text); m != nil {
		line, _ = strconv.Atoi(m[1])
		text = text[len(m[0]):]
	}
	return max(line, 1), strings.ReplaceAll(text, "\n", ";")
}

// lineOf finds the line of a field error's path in the document.
func lineOf(node *yaml.Node, err error) int {
	if field := new(fieldError); errors.As(err, &field) {
		for _, step := range field.path {
			next := child(node, step)
			if next == nil {
				break
			}
			node = next
		}
	}
	return node.Line
}

func child(node *yaml.Node, step string) *yaml.Node {
	if node.Kind == yaml.AliasNode {
		node = node.Alias
	}
	switch node.Kind {
	case yaml.MappingNode:
		for i := 0; i+1 < len(node.Content); i += 2 {
			if node.Content[i].Value == step {
				return node.Content[i+1]
			}
		}
	case yaml.SequenceNode:
		if i, err := strconv.Atoi(step); err == nil && i < len(node.Content) {
			return node.Content[i]
		}
	}
	return nil
}

// maxReported is how many records of a file that are no sessions are reported one by one.
const maxReported = 20

// unreadable are records that are no sessions: what is wrong with the first ones, and
// how many others there are. A file may hold nothing else, so no more is kept.
type unreadable struct {
	errs []error
	more int
}

func (u *unreadable) full() bool { return len(u.errs) >= maxReported }

func (u *unreadable) count() int { return len(u.errs) + u.more }

// addf adds an error, which is made only if it is kept.
func (u *unreadable) addf(format string, args ...any) {
	if u.full() {
		u.more++
	} else {
		u.errs = append(u.errs, fmt.Errorf(format, args...))
	}
}

// merge takes those of the piece that comes next, and gives those of them that are
// to be reported.
func (u *unreadable) merge(next unreadable) error {
	begin := len(u.errs)
	for _, err := range next.errs {
		u.addf("%w", err)
	}
	u.more += next.more
	return errors.Join(u.errs[begin:]...)
}

// rest says how many records of a file are not reported one by one.
func (u *unreadable) rest(name string) error {
	switch u.more {
	case 0:
		return nil
	case 1:
		return fmt.Errorf("%s: 1 more line cannot be read", name)
	}
	return fmt.Errorf("%s: %d more lines cannot be read", name, u.more)
}
