package header

import (
	"errors"
	"fmt"
	"strings"
)

// Validate checks the texts of rules. Plan takes the defaults in place of a From or
// By that is refused here.
func (r *Rules) Validate() error {
	if err := CheckFrom(r.From); err != nil && r.From != "" {
		return fmt.Errorf("from: %w", err)
	}
	if err := CheckBy(r.By); err != nil {
		return fmt.Errorf("by: %w", err)
	}
	for i := range r.Fields {
		if err := r.Fields[i].validate(); err != nil {
			return fmt.Errorf("field %q: %w", r.Fields[i].Name, err)
		}
	}
	return nil
}

func (r *FieldRule) validate() error {
	if err := CheckName(r.Name); err != nil {
		return err
	}
	if strings.EqualFold(r.Name, "Received") {
		return errors.New("the Received fields of a message have rules of their own")
	}
	switch r.Action {
	case Remove, Version:
		return nil
	case Replace:
		return CheckValue(r.Text)
	}
	return fmt.Errorf("action %q, expected %s, %s or %s", r.Action, Remove, Version, Replace)
}
