package replay

import (
	"os"
	"reflect"
	"strings"
	"testing"
)

// manual documents the schema for administrators.
const manual = "../../configs/manual/milterd-sessions.5.md"

func TestTheManualNamesEveryKey(t *testing.T) {
	text, err := os.ReadFile(manual)
	if err != nil {
		t.Fatal(err)
	}
	for _, part := range []reflect.Type{
		reflect.TypeFor[Session](), reflect.TypeFor[Connect](), reflect.TypeFor[TLS](), reflect.TypeFor[Auth](),
		reflect.TypeFor[Message](), reflect.TypeFor[Mail](), reflect.TypeFor[Rcpt](), reflect.TypeFor[Expect](),
	} {
		names, _ := keysOf(part)
		for _, key := range names {
			if !strings.Contains(string(text), "`"+key) && !strings.Contains(string(text), "."+key+"`") && !strings.Contains(string(text), "."+key+"[]`") {
				t.Errorf("%s: the key %s is not described", part.Name(), key)
			}
		}
	}
}

func TestTheSessionInTheManualCanBeDecided(t *testing.T) {
	text, err := os.ReadFile(manual)
	if err != nil {
		t.Fatal(err)
	}
	_, after, _ := strings.Cut(string(text), "```yaml\n")
	session, _, ok := strings.Cut(after, "```")
	if !ok {
		t.Fatal("no example")
	}
	if got := verdicts(t, session); strings.Count(got, "\n") != 3 || strings.Contains(got, "note:") {
		t.Errorf("verdicts:\n%s", got)
	}
}
