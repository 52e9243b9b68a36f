package access

// Probe is one key looked up in the table.
type Probe struct {
	// Tag is the tag before the colon, empty for an untagged look-up.
	Tag string
	// Key is the rest of the key, in lower case.
	Key string
	// Line is the line of the table that matched, 0 where none did.
	Line int
	// Value is the entry's right-hand side, empty where none matched.
	Value string
}
