package replay

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"gopkg.in/yaml.v3"
)

// schemaCheck holds a YAML value against the Go types of the schema. The YAML library
// could do so too, but takes quadratic time and names Go's types.
type schemaCheck struct {
	// report takes what is wrong in a line of the document.
	report func(line int, text string, args ...any)
	// left is how many values may still be looked at: aliases can multiply a few
	// lines without end.
	left int
}

func (c *schemaCheck) value(node *yaml.Node, t reflect.Type) {
	if node.Kind == yaml.AliasNode {
		node = node.Alias
	}
	if c.left--; c.left == 0 {
		c.report(node.Line, "more than %d values, those of aliases counted each time", maxValues)
	}
	if c.left <= 0 || node.Tag == "!!null" {
		return
	}
	switch t.Kind() {
	case reflect.Struct:
		if node.Kind == yaml.MappingNode {
			c.keys(node, t)
			return
		}
	case reflect.Slice:
		if node.Kind == yaml.SequenceNode {
			for _, item := range node.Content {
				c.value(item, t.Elem())
			}
			return
		}
	default:
		if node.Kind == yaml.ScalarNode && node.Decode(reflect.New(t).Interface()) == nil {
			return
		}
	}
	c.report(node.Line, "%s, expected %s", foundYAML(node), expected(t))
}

func (c *schemaCheck) keys(node *yaml.Node, t reflect.Type) {
	lines := make(map[string]int)
	for i := 0; i+1 < len(node.Content); i += 2 {
		key, value := node.Content[i], node.Content[i+1]
		if key.Tag == "!!merge" {
			c.value(value, t)
			continue
		}
		if first := lines[key.Value]; first > 0 {
			c.report(key.Line, "mapping key %q already defined at line %d", key.Value, first)
			continue
		}
		lines[key.Value] = key.Line
		names, types := keysOf(t)
		if place := slices.Index(names, key.Value); place >= 0 {
			c.value(value, types[place])
		} else {
			c.report(key.Line, unknownKey, key.Value, strings.Join(names, ", "))
		}
	}
}

// keysOf are the keys of a part of the schema, with the types of what they hold.
func keysOf(t reflect.Type) (names []string, types []reflect.Type) {
	for i := range t.NumField() {
		if key, _, _ := strings.Cut(t.Field(i).Tag.Get("yaml"), ","); key != "-" {
			names, types = append(names, key), append(types, t.Field(i).Type)
		}
	}
	return names, types
}

const unknownKey = "unknown key %q, expected one of %s"

func expected(t reflect.Type) string {
	switch t.Kind() {
	case reflect.Slice:
		return "a list"
	case reflect.Uint16:
		return "a number from 0 to 65535"
	case reflect.Int:
		return "a number"
	case reflect.String:
		return "text"
	}
	return "keys and values"
}

// foundYAML and foundJSON name a value.
func foundYAML(node *yaml.Node) string {
	switch node.Kind {
	case yaml.MappingNode:
		return "keys and values"
	case yaml.SequenceNode:
		return "a list"
	}
	return shortened(node.Value)
}

func foundJSON(line []byte, wrong *json.SemanticError) string {
	switch wrong.JSONKind {
	case '{':
		return "keys and values"
	case '[':
		return "a list"
	}
	d := jsontext.NewDecoder(bytes.NewReader(line))
	for {
		token, err := d.ReadToken()
		if err == nil && d.StackPointer() == wrong.JSONPointer {
			if in, n := d.StackIndex(d.StackDepth()); in == '{' && n%2 == 1 {
				// It was the name of the value.
				token, _ = d.ReadToken()
			}
			return shortened(token.String())
		}
		if err != nil {
			return "this"
		}
	}
}

func shortened(text string) string {
	if len(text) > 10 {
		text = text[:7] + "..."
	}
	return strconv.Quote(text)
}

// jsonError says what is wrong with a line of JSON.
func jsonError(line []byte, err error) error {
	syntax, wrong := new(jsontext.SyntacticError), new(json.SemanticError)
	switch {
	case errors.As(err, &syntax):
		return syntaxError(line, syntax)
	case !errors.As(err, &wrong) || wrong.GoType == nil:
		return fmt.Errorf("not a session: %s", strings.TrimPrefix(err.Error(), "json: "))
	case errors.Is(wrong.Err, json.ErrUnknownName):
		names, _ := keysOf(wrong.GoType)
		return fmt.Errorf(unknownKey, wrong.JSONPointer.LastToken(), strings.Join(names, ", "))
	case wrong.GoType.Kind() == reflect.String && strings.ContainsRune("tf0", rune(wrong.JSONKind)):
		kind := map[jsontext.Kind]string{'0': "number", 't': "boolean", 'f': "boolean"}[wrong.JSONKind]
		return fmt.Errorf("%s: a JSON %s, expected text", dotted(wrong.JSONPointer), kind)
	}
	return fmt.Errorf("%s, expected %s", foundJSON(line, wrong), expected(wrong.GoType))
}

func syntaxError(line []byte, err *jsontext.SyntacticError) error {
	switch {
	case errors.Is(err.Err, jsontext.ErrDuplicateName):
		return fmt.Errorf("%s: the key is there twice", dotted(err.JSONPointer))
	case errors.Is(err.Err, io.ErrUnexpectedEOF):
		return errors.New("not a session: the line ends too early")
	case err.JSONPointer == "" && err.ByteOffset > 0 && jsontext.Value(line[:err.ByteOffset]).IsValid():
		return errors.New("more than one JSON value in a line, expected one object")
	}
	return fmt.Errorf("not a session: %v at column %d", err.Err, err.ByteOffset+1)
}

func dotted(p jsontext.Pointer) string {
	return strings.ReplaceAll(strings.TrimPrefix(string(p), "/"), "/", ".")
}
