package harness

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// maxDialogue bounds the size of a dialogue file.
const maxDialogue = 64 << 10

// Who gave a reply, as a dialogue says with "by".
const (
	ByMilterd  = "milterd"
	BySendmail = "sendmail"
)

// Dialogue is one SMTP situation: what clients say, what they must be told, and
// what must become of the mail. The format is described in the README beside
// the files.
type Dialogue struct {
	// Name is the file's name without directory and ending.
	Name string
	// File is where it was read from.
	File string
	// Title is the comment that the file begins with.
	Title string
	// DNS are the records and faults it needs.
	DNS []string

	steps []step
}

// step is one line of a dialogue. perform does it.
type step struct {
	line int
	text string
	kind stepKind
	// args are the words or texts behind the verb, as the kind has them.
	args []string
}

type stepKind int

const (
	stepClient    stepKind = iota // from, to
	stepSend                      // the line
	stepReply                     // code, text
	stepHas                       // text
	stepHasNot                    // text
	stepBy                        // milterd or sendmail
	stepAuth                      // mechanism, user, password
	stepTLS                       //
	stepHangUp                    //
	stepLog                       // milterd or sendmail, text
	stepQueue                     // kept, held or gone
	stepQueueHas                  // text
	stepQueueNot                  // text
	stepHeader                    // the names of the fields
	stepHeaderHas                 // text
	stepHeaderNot                 // text
)

// grammar is how each step is written. An expression's groups become the
// step's arguments; the order matters where one begins like another.
var grammar = []struct {
	kind stepKind
	form *regexp.Regexp
}{
	{stepClient, regexp.MustCompile(`^client (\S+) -> (\S+)$`)},
	{stepSend, regexp.MustCompile(`^>(?: (.*))?$`)},
	{stepHasNot, regexp.MustCompile(`^<!~ (.+)$`)},
	{stepHas, regexp.MustCompile(`^<~ (.+)$`)},
	{stepReply, regexp.MustCompile(`^< (\d\d\d(?: [245]\.\d{1,3}\.\d{1,3})?)(?: (\S.*))?$`)},
	{stepBy, regexp.MustCompile(`^by (milterd|sendmail)$`)},
	{stepAuth, regexp.MustCompile(`^auth (PLAIN|LOGIN|CRAM-MD5) (\S+) (\S+)$`)},
	{stepTLS, regexp.MustCompile(`^starttls$`)},
	{stepHangUp, regexp.MustCompile(`^hangup$`)},
	{stepLog, regexp.MustCompile(`^log (milterd|sendmail) ~ (.+)$`)},
	{stepQueueHas, regexp.MustCompile(`^queue ~ (.+)$`)},
	{stepQueueNot, regexp.MustCompile(`^queue !~ (.+)$`)},
	{stepHeaderHas, regexp.MustCompile(`^header ~ (.+)$`)},
	{stepHeaderNot, regexp.MustCompile(`^header !~ (.+)$`)},
	{stepHeader, regexp.MustCompile(`^header fields (.+)$`)},
	{stepQueue, regexp.MustCompile(`^queue (kept|held|gone)$`)},
}

// ReadDialogues reads all dialogues of a directory, in the order of their
// names.
func ReadDialogues(dir string) ([]*Dialogue, error) {
	files, err := filepath.Glob(filepath.Join(dir, "*.txt"))
	if err != nil {
		return nil, err
	}
	if len(files) == 0 {
		return nil, fmt.Errorf("read dialogues: no *.txt in %s", dir)
	}
	slices.Sort(files)
	var all []*Dialogue
	for _, file := range files {
		d, err := ReadDialogue(file)
		if err != nil {
			return nil, err
		}
		all = append(all, d)
	}
	return all, nil
}

// ReadDialogue reads one dialogue. Its errors begin with FILE:LINE:.
func ReadDialogue(file string) (*Dialogue, error) {
	info, err := os.Stat(file)
	if err != nil {
		return nil, fmt.Errorf("read dialogue: %w", err)
	}
	if info.Size() > maxDialogue {
		return nil, fmt.Errorf("%s:1: %d bytes, expected at most %d", file, info.Size(), maxDialogue)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("read dialogue: %w", err)
	}
	return parseDialogue(file, string(text))
}

func parseDialogue(file, text string) (*Dialogue, error) {
	d := &Dialogue{Name: strings.TrimSuffix(filepath.Base(file), ".txt"), File: file}
	var title []string
	inTitle, client := true, ""
	for i, line := range strings.Split(text, "\n") {
		line = strings.TrimRight(line, " \t\r")
		comment, isComment := strings.CutPrefix(line, "#")
		if isComment && inTitle {
			title = append(title, strings.TrimSpace(comment))
		}
		inTitle = inTitle && isComment
		if isComment || line == "" {
			continue
		}
		if record, ok := strings.CutPrefix(line, "dns "); ok {
			d.DNS = append(d.DNS, record)
			continue
		}
		s, err := parseStep(line)
		if err != nil {
			return nil, fmt.Errorf("%s:%d: %w", file, i+1, err)
		}
		s.line = i + 1
		if s.kind == stepClient {
			name, err := clientName(s.args[0], s.args[1])
			switch {
			case err != nil:
				return nil, fmt.Errorf("%s:%d: %w", file, i+1, err)
			case client != "" && name != client:
				return nil, fmt.Errorf("%s:%d: client is %s, expected %s as before", file, i+1, name, client)
			}
			client = name
		}
		if client == "" {
			return nil, fmt.Errorf("%s:%d: %q before a client, expected client FROM -> TO first", file, i+1, line)
		}
		d.steps = append(d.steps, s)
	}
	d.Title = strings.Join(title, " ")
	switch {
	case d.Title == "":
		return nil, fmt.Errorf("%s:1: no title, expected a comment that says what the dialogue is about", file)
	case len(d.steps) == 0:
		return nil, fmt.Errorf("%s:1: no steps, expected client FROM -> TO", file)
	}
	return d, nil
}

func parseStep(line string) (step, error) {
	for _, g := range grammar {
		if m := g.form.FindStringSubmatch(line); m != nil {
			return step{text: line, kind: g.kind, args: m[1:]}, nil
		}
	}
	return step{}, fmt.Errorf("%q is not a step, expected one of client > < <~ <!~ by auth starttls hangup log queue header dns", line)
}

// addressPrefix is what sendmail puts before the text of a reply that concerns
// one address, its own replies and a filter's alike.
var addressPrefix = regexp.MustCompile(`^(\d\d\d(?: [245]\.\d+\.\d+)? )<\S*>\.\.\. `)

// WithoutAddress takes "<address>... " out of a reply line, which leaves the
// reply as it was configured.
func WithoutAddress(line string) string {
	return addressPrefix.ReplaceAllString(line, "$1")
}

// Client names who speaks: "ADDR to port PORT". A dialogue may connect several
// times, but always as the same client to the same port.
func (d *Dialogue) Client() string {
	for _, s := range d.steps {
		if s.kind == stepClient {
			name, _ := clientName(s.args[0], s.args[1])
			return name
		}
	}
	return ""
}

// clientName is the name of a client for Client.
func clientName(from, to string) (string, error) {
	local, err := clientAddr(from)
	if err != nil {
		return "", fmt.Errorf("client %q: %w", from, err)
	}
	server, err := netip.ParseAddrPort(to)
	if err != nil {
		return "", fmt.Errorf("server %q: %w", to, err)
	}
	return fmt.Sprintf("%s to port %d", local.Addr(), server.Port()), nil
}

// Refusals are the replies that the dialogue says milterd gave, in order, as
// they are configured.
func (d *Dialogue) Refusals() []string {
	var replies []string
	for i, s := range d.steps {
		if s.kind == stepBy && s.args[0] == ByMilterd && i > 0 && d.steps[i-1].kind == stepReply {
			replies = append(replies, WithoutAddress(strings.TrimPrefix(d.steps[i-1].text, "< ")))
		}
	}
	return replies
}

// Held reports whether the dialogue says that its mail is quarantined.
func (d *Dialogue) Held() bool { return d.queueIs("held") }

// Gone reports whether the dialogue says that its mail is discarded.
func (d *Dialogue) Gone() bool { return d.queueIs("gone") }

func (d *Dialogue) queueIs(state string) bool {
	return slices.ContainsFunc(d.steps, func(s step) bool { return s.kind == stepQueue && s.args[0] == state })
}
