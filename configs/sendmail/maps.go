package sendmail

import "strings"

// Map is a map, the one of the access table or another.
type Map struct {
	Name string
	// Type is hash, btree, ldap, socket and so on; empty without
	// FEATURE(access_db).
	Type string
	// Text is the text file the map is made from, and File what makemap makes of
	// it; both are empty if the map is not made of a text.
	Text, File string
	// Socket is the address of a map of type socket, in sendmail's notation.
	Socket string
	// Temporary is what a look-up that fails for now has behind its key
	// (-T<TMPF>), for the rules to see. Without it such a look-up looks to them
	// like one that finds nothing.
	Temporary string
	// Optional: a map that cannot be opened is one that holds nothing (-o).
	Optional bool
	// Asked: a ruleset that sendmail calls asks a map of type socket.
	Asked bool
	// AskedOld: what it is asked is the question of an older milterd.m4.
	AskedOld bool
	// Line is where the sendmail.cf defines the map.
	Line int
}

// fileMapEnding is the ending of a map that makemap makes from a text file of the
// same name; ok tells such types from others.
func fileMapEnding(mapType string) (ending string, ok bool) {
	switch mapType {
	case "hash", "btree":
		return ".db", true
	case "dbm", "implicit":
		return "", true
	case "cdb":
		return ".cdb", true
	}
	return "", false
}

// mapCommand reads a K command.
func (p *parser) mapCommand(rest string, number int) {
	words := strings.Fields(rest)
	if len(words) < 2 {
		return
	}
	// sendmail takes the names of maps and of their types in any case.
	m := Map{Name: words[0], Type: strings.ToLower(strings.TrimRight(words[1], ":")), Line: number}
	isAccess := strings.EqualFold(m.Name, "access")
	subject := ""
	for _, word := range words[2:] {
		if !strings.HasPrefix(word, "-") {
			subject = strings.Trim(p.expand(word), `"`)
			break
		}
		switch {
		case strings.HasPrefix(word, "-T"):
			m.Temporary = word[2:]
		case strings.HasPrefix(word, "-o"):
			m.Optional = true
		}
	}
	ending, isFile := fileMapEnding(m.Type)
	if isFile {
		m.Text = strings.TrimSuffix(subject, ending)
		m.File = m.Text + ending
	}
	switch {
	case m.Type == "socket":
		m.Socket = subject
		p.config.Sockets = append(p.config.Sockets, m)
	case !isAccess:
	case !isFile:
		p.settled("access.file", number, "the access map is of type %s, which milterd does not read; set access.file to a text as makemap takes it", m.Type)
	default:
		if m.Text == "" {
			p.settled("access.file", number, "the access map has no file; set access.file")
			m.File = ""
		}
	}
	p.config.Maps = append(p.config.Maps, m)
	if isAccess {
		p.config.Access = m
	}
}
