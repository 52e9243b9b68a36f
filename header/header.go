package header

// Field is one header field of a message.
type Field struct {
	Name string
	// Value is what follows the colon, without the white space before it. Lines
	// of a folded field are separated by "\n" and begin with a blank or a tab, as
	// an MTA hands them to a milter.
	Value string
}

// Rules say what to take out of a message's header.
type Rules struct {
	// Client takes the client's host name, HELO name, address and ident out of
	// Received fields.
	Client bool
	// Version takes the names and versions of mail software out of them.
	Version bool
	// With takes the protocol (with) and what is said of TLS out of them.
	With bool
	// From stands in place of the client, e.g. "from SMTP". Empty: nothing does.
	From string
	// By stands in place of mail software, e.g. "(SMTP server)". Empty: nothing
	// does.
	By string
	// Fields are rules for other fields, in the order of the configuration; the
	// first one for a name counts.
	Fields []FieldRule
}

// What stands in place of the client and of mail software if a text is needed
// and Rules have none, or one that CheckFrom or CheckBy refuses.
const (
	DefaultFrom = "from SMTP"
	DefaultBy   = "(SMTP server)"
)

// FieldAction is what becomes of a field that is not a Received field.
type FieldAction string

// The actions.
const (
	// Remove deletes the field.
	Remove FieldAction = "remove"
	// Version takes version numbers and what is in parentheses out of the value.
	Version FieldAction = "version"
	// Replace writes another value.
	Replace FieldAction = "replace"
)

// FieldRule is a rule for every field of one name.
type FieldRule struct {
	// Name is the field's name; case does not count.
	Name   string
	Action FieldAction
	// Text is the new value for Replace.
	Text string
}

// Edit is one change.
type Edit struct {
	// Name is spelled as in the message.
	Name string
	// Index counts the message's own fields of that name, from 1 at the top.
	Index int
	// Delete takes the field away; else Value is its new value, which is never
	// empty.
	Delete bool
	Value  string
	// Old is the value before the edit.
	Old string
}

// Kept is a field that a rule applies to but that is left alone.
type Kept struct {
	Name   string
	Index  int
	Reason string
}
