package replay

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// names is a form of input with a session a line: its name; "?" is one that cannot be.
func names() Form {
	return Form{
		Recognise: func(head []byte) bool { return strings.HasPrefix(string(head), "names\n") },
		Read: func(name string, r io.Reader, each func(*Session) bool) error {
			text, err := io.ReadAll(r)
			if err != nil {
				return err
			}
			for i, id := range strings.Fields(string(text))[1:] {
				s := &Session{File: name, Line: i + 2, ID: id, Messages: []Message{{}}}
				if id == "?" {
					s.Messages = nil
				}
				if !each(s) {
					return nil
				}
			}
			return fmt.Errorf("%s:1: the end", name)
		},
	}
}

// collected streams texts, each an input of its own, and lists the sessions and errors.
func collected(t *testing.T, failAt string, texts ...string) (ids []string, err error) {
	t.Helper()
	s := &Stream[*[]string]{
		Forms: []Form{names()}, Workers: 2,
		New:  func() *[]string { return new([]string) },
		Each: func(ids *[]string, s *Session) { *ids = append(*ids, s.ID) },
		Collect: func(block *[]string, err error) error {
			ids = append(ids, *block...)
			*block = nil
			if err != nil {
				ids = append(ids, err.Error())
			}
			if failAt != "" && strings.Contains(strings.Join(ids, " "), failAt) {
				return errors.New("no more")
			}
			return nil
		},
	}
	var inputs []Input
	for _, text := range texts {
		inputs = append(inputs, Input{Name: "stdin", stdin: strings.NewReader(text)})
	}
	err = s.Run(inputs)
	return ids, err
}

func TestAFurtherFormIsStreamedLikeSessionFiles(t *testing.T) {
	var log, want []string
	for i := range 5 * sessionsInBlock {
		log = append(log, fmt.Sprintf("n-%d", i))
	}
	want = append(want, log...)
	want = append(want, "stdin:1: the end", "j")
	got, err := collected(t, "", "names\n"+strings.Join(log, "\n")+"\n", `{"id":"j","messages":[{}]}`+"\n")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("sessions (-want +got):\n%s", diff)
	}
	// Blocks are used again: what has come before is not there any more.
	many := make([]string, 0, 40)
	want = nil
	for i := range cap(many) {
		many = append(many, "names\na b\n", fmt.Sprintf(`{"id":"j-%d","messages":[{}]}`+"\n", i))
		want = append(want, "a", "b", "stdin:1: the end", fmt.Sprintf("j-%d", i))
	}
	if got, err = collected(t, "", many...); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("sessions of many inputs (-want +got):\n%s", diff)
	}
}

func TestASessionOfAFurtherFormThatCannotBeIsAnError(t *testing.T) {
	got, err := collected(t, "", "names\na\n?\nb\n")
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"a", "b", "stdin:3: messages: no message, expected at least one\nstdin:1: the end"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("sessions (-want +got):\n%s", diff)
	}
}

func TestAFurtherFormIsReadNoFurtherThanItsReportIsWanted(t *testing.T) {
	got, err := collected(t, "n-0", "names\n"+strings.Repeat("n-0\n", 1000*sessionsInBlock))
	if err == nil || len(got) == 0 || len(got) > 100*sessionsInBlock {
		t.Errorf("error %v, %d sessions", err, len(got))
	}
}
