package header

import (
	"errors"
	"fmt"
	"strings"
)

// The longest texts that rules take, in octets.
const (
	maxText  = 100
	maxValue = 500
	maxName  = 76
)

// Validate reports what is wrong with the texts of rules. Plan takes the defaults
// in place of a From or By that is refused here.
func (r *Rules) Validate() error {
	if err := checkFrom(r.From); err != nil {
		return fmt.Errorf("from %q: %w", r.From, err)
	}
	if err := checkBy(r.By); err != nil {
		return fmt.Errorf("by %q: %w", r.By, err)
	}
	for i := range r.Fields {
		if err := r.Fields[i].validate(); err != nil {
			return fmt.Errorf("field %q: %w", r.Fields[i].Name, err)
		}
	}
	return nil
}

// validate reports what is wrong with a rule.
func (r *FieldRule) validate() error {
	switch {
	case r.Name == "" || len(r.Name) > maxName || strings.IndexFunc(r.Name, notInName) >= 0:
		return fmt.Errorf("not a field name, expected up to %d printable characters without a colon", maxName)
	case strings.EqualFold(r.Name, "Received"):
		return errors.New("the Received fields of a message have rules of their own")
	}
	switch r.Action {
	case Remove, Version:
		return nil
	case Replace:
		if strings.TrimFunc(r.Text, isBlank) == "" || len(r.Text) > maxValue || strings.ContainsFunc(r.Text, isControl) {
			return fmt.Errorf("text %q: expected up to %d characters in one line", r.Text, maxValue)
		}
		return nil
	}
	return fmt.Errorf("action %q, expected %s, %s or %s", r.Action, Remove, Version, Replace)
}

func notInName(r rune) bool { return r <= ' ' || r >= 0x7f || r == ':' }

func isControl(r rune) bool { return r < ' ' || r == 0x7f }

// checkFrom: a from clause with a value and nothing that ends it.
func checkFrom(text string) error {
	tokens, err := checkText(text)
	if err != nil || len(tokens) == 0 {
		return err
	}
	expected := errors.New("expected a from clause such as " + DefaultFrom)
	if len(tokens) < 2 || tokens[0].text != "from" || tokens[1].kind != kindWord {
		return expected
	}
	for _, t := range tokens[1:] {
		if t.kind == kindSemicolon || t.kind == kindWord && keyword(t.text) != clauseNone {
			return expected
		}
	}
	return nil
}

// checkBy: one comment.
func checkBy(text string) error {
	tokens, err := checkText(text)
	if err != nil || len(tokens) == 0 {
		return err
	}
	if len(tokens) != 1 || tokens[0].kind != kindComment {
		return errors.New("expected text in parentheses such as " + DefaultBy)
	}
	return nil
}

// checkText splits a text that may stand in a Received field.
func checkText(text string) ([]token, error) {
	if len(text) > maxText {
		return nil, fmt.Errorf("%d octets, expected %d at most", len(text), maxText)
	}
	for i := 0; i < len(text); i++ {
		if c := text[i]; c < ' ' || c >= 0x7f || strings.IndexByte(`"\<>`, c) >= 0 {
			return nil, fmt.Errorf("character %q, expected printable ASCII without quotes, backslashes and angle brackets", c)
		}
	}
	tokens, clean := lex(text)
	if !clean {
		return nil, errors.New("parentheses that do not match")
	}
	return tokens, nil
}
