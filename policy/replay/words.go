package replay

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"reflect"
	"regexp"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"gopkg.in/yaml.v3"
)

var (
	yamlUnknown = regexp.MustCompile(`^field (.*) not found in type replay\.(\w+)$`)
	yamlType    = regexp.MustCompile("(?s)^cannot unmarshal !!(\\w+)(?: `(.*)`)? into (.*)$")
)

// inWords says what the YAML library says of a value, without Go's types.
func inWords(text string) string {
	if m := yamlUnknown.FindStringSubmatch(text); m != nil {
		return fmt.Sprintf("unknown key %q, expected one of %s", m[1], strings.Join(keysOf(m[2]), ", "))
	}
	m := yamlType.FindStringSubmatch(text)
	if m == nil {
		return text
	}
	return fmt.Sprintf("%s, expected %s", found(m[1], m[2]), expected(m[3]))
}

// found names a value of a YAML type.
func found(tag, value string) string {
	switch tag {
	case "map":
		return "keys and values"
	case "seq":
		return "a list"
	case "null":
		return "no value"
	}
	return fmt.Sprintf("%q", value)
}

// expected names what a Go type takes.
func expected(goType string) string {
	switch {
	case strings.HasPrefix(goType, "[]"):
		return "a list"
	case goType == "uint16":
		return "a number from 0 to 65535"
	case strings.Contains(goType, "int"):
		return "a number"
	case goType == "string":
		return "text"
	}
	return "keys and values"
}

// keysOf lists the keys of a part of the schema.
func keysOf(part string) []string {
	var keys []string
	for _, t := range []reflect.Type{
		reflect.TypeFor[Session](), reflect.TypeFor[Connect](), reflect.TypeFor[TLS](), reflect.TypeFor[Auth](),
		reflect.TypeFor[Message](), reflect.TypeFor[Mail](), reflect.TypeFor[Rcpt](), reflect.TypeFor[Expect](),
	} {
		for i := 0; t.Name() == part && i < t.NumField(); i++ {
			if key, _, _ := strings.Cut(t.Field(i).Tag.Get("yaml"), ","); key != "-" {
				keys = append(keys, key)
			}
		}
	}
	return keys
}

// jsonError says what is wrong with a line of JSON. JSON is YAML as well, so what
// is wrong with its values and keys is told by the YAML library.
func jsonError(line []byte, err error) error {
	syntax := new(jsontext.SyntacticError)
	if errors.As(err, &syntax) {
		return syntaxError(line, syntax)
	}
	typed := yaml.NewDecoder(bytes.NewReader(line))
	typed.KnownFields(true)
	var typeError *yaml.TypeError
	if errors.As(typed.Decode(new(Session)), &typeError) && len(typeError.Errors) > 0 {
		_, text := splitLine(typeError.Errors[0])
		return errors.New(inWords(text))
	}
	// YAML takes a number for text, JSON does not.
	if wrong := new(json.SemanticError); errors.As(err, &wrong) && wrong.GoType != nil {
		path := strings.ReplaceAll(strings.TrimPrefix(string(wrong.JSONPointer), "/"), "/", ".")
		return fmt.Errorf("%s: a JSON %s, expected %s", path, kindName(wrong.JSONKind), expected(wrong.GoType.String()))
	}
	return fmt.Errorf("not a session: %s", strings.TrimPrefix(err.Error(), "json: "))
}

// syntaxError says where a line is not JSON.
func syntaxError(line []byte, err *jsontext.SyntacticError) error {
	key := strings.ReplaceAll(strings.TrimPrefix(string(err.JSONPointer), "/"), "/", ".")
	switch {
	case errors.Is(err.Err, jsontext.ErrDuplicateName):
		return fmt.Errorf("%s: the key is there twice", key)
	case errors.Is(err.Err, io.ErrUnexpectedEOF):
		return errors.New("not a session: the line ends too early")
	case key == "" && err.ByteOffset > 0 && jsontext.Value(line[:err.ByteOffset]).IsValid():
		return errors.New("more than one JSON value in a line, expected one object")
	}
	return fmt.Errorf("not a session: %v at column %d", err.Err, err.ByteOffset+1)
}

// kindName names a kind of JSON value.
func kindName(k jsontext.Kind) string {
	switch k {
	case 't', 'f':
		return "boolean"
	case '0':
		return "number"
	case '{':
		return "object"
	case '[':
		return "array"
	}
	return k.String()
}
