package replay

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"
	"sync/atomic"

	"gopkg.in/yaml.v3"
)

// Bounds of what is read: a YAML file is held whole, a JSON line likewise.
const (
	maxYAML = 16 << 20
	maxLine = 4 << 20
)

// ReadFile reads the sessions of one file and hands them over one by one. Files
// that end in .jsonl or .json hold one JSON object a line, others YAML documents;
// with .gz or .zst behind that they are compressed. A session that cannot be read
// ends a YAML file, and is passed over in a JSON file; the errors, each beginning
// with FILE:LINE:, are joined.
func ReadFile(name string, each func(*Session)) error {
	var read atomic.Int64
	s, err := Input{Name: name}.open(&read)
	if err != nil {
		return err
	}
	defer s.Close()
	if s.json {
		return ReadJSON(name, s, each)
	}
	return ReadYAML(name, s, each)
}

// ReadYAML reads YAML documents; name stands in messages.
func ReadYAML(name string, r io.Reader, each func(*Session)) error {
	data, err := readWhole(name, r, nil)
	if err != nil {
		return err
	}
	return decodeYAML(name, data, each)
}

func decodeYAML(name string, data []byte, each func(*Session)) error {
	typed := yaml.NewDecoder(bytes.NewReader(data))
	typed.KnownFields(true)
	nodes := yaml.NewDecoder(bytes.NewReader(data))
	for count := 0; ; count++ {
		var node yaml.Node
		if err := nodes.Decode(&node); errors.Is(err, io.EOF) {
			if count == 0 {
				return fmt.Errorf("%s:1: no session, expected a YAML document", name)
			}
			return nil
		} else if err != nil {
			return yamlError(name, err)
		}
		var s Session
		if err := typed.Decode(&s); err != nil {
			return yamlError(name, err)
		}
		s.File, s.Line = name, node.Line
		if len(node.Content) > 0 {
			s.Line = node.Content[0].Line
		}
		if err := s.check(); err != nil {
			return fmt.Errorf("%s:%d: %w", name, lineOf(&node, err), err)
		}
		s.name()
		each(&s)
	}
}

// name gives a session without an id one.
func (s *Session) name() {
	if s.ID == "" {
		s.ID = fmt.Sprintf("line-%d", s.Line)
	}
}

var yamlLine = regexp.MustCompile(`^(?:yaml: )?(?:unmarshal errors:\n\s*)?line (\d+): `)

// yamlError puts FILE:LINE: before each error of the YAML library.
func yamlError(name string, err error) error {
	var typeError *yaml.TypeError
	if !errors.As(err, &typeError) || len(typeError.Errors) == 0 {
		line, text := splitLine(err.Error())
		return fmt.Errorf("%s:%s: %s", name, line, text)
	}
	var lines broken
	for _, e := range typeError.Errors {
		line, text := splitLine(e)
		lines.add(fmt.Errorf("%s:%s: %s", name, line, inWords(text)))
	}
	return lines.err(name)
}

// splitLine cuts the line off an error of the YAML library.
func splitLine(text string) (line, rest string) {
	if m := yamlLine.FindStringSubmatch(text); m != nil {
		return m[1], text[len(m[0]):]
	}
	return "1", strings.TrimPrefix(text, "yaml: ")
}

// lineOf finds the line of a field error's path in the document.
func lineOf(node *yaml.Node, err error) int {
	var field *fieldError
	if !errors.As(err, &field) {
		return node.Line
	}
	if node.Kind == yaml.DocumentNode && len(node.Content) > 0 {
		node = node.Content[0]
	}
	for _, step := range field.path {
		next := child(node, step)
		if next == nil {
			break
		}
		node = next
	}
	return node.Line
}

// child is the value under a key, or the item of a list.
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
