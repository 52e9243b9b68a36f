package configs

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestHostileFilesAreRefusedInBoundedTime(t *testing.T) {
	cases := map[string]string{
		"deeply nested lists":           strings.Repeat("[", maxConfig-1),
		"deeply nested mappings":        strings.Repeat("{a: ", maxConfig/5),
		"deep indentation":              nested(2000),
		"a very long key":               strings.Repeat("k", maxConfig-10) + ": 1",
		"a very long value":             "mode: " + strings.Repeat("v", maxConfig-10),
		"very many keys":                many(maxConfig / 20),
		"an expansion bomb":             "a: &a [x,x,x]\nb: &b [*a,*a,*a]\nc: &c [*b,*b,*b]\n",
		"a list that is never finished": "mode: shadow\nx: [" + strings.Repeat("\n1,", 900),
	}
	for name, text := range cases {
		t.Run(name, func(t *testing.T) {
			_, err := Parse("bad.yaml", []byte(text))
			var problems *Error
			if !errors.As(err, &problems) {
				t.Fatalf("Parse = %v, expected an *Error", err)
			}
			for _, p := range problems.Problems {
				if len(p.Text) > 1000 && name != "very many keys" && !strings.Contains(p.Text, "unknown key") {
					t.Errorf("a message of %d octets", len(p.Text))
				}
			}
		})
	}
}

func nested(depth int) string {
	var b strings.Builder
	for i := range depth {
		fmt.Fprintf(&b, "%sk:\n", strings.Repeat(" ", i%200+i/200))
	}
	return b.String()
}

func many(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "key%d: value\n", i)
	}
	return b.String()
}

func FuzzParse(f *testing.F) {
	f.Add(reference)
	for _, pattern := range []string{"testdata/*/*.yaml", "*.yaml"} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			f.Fatal(err)
		}
		for _, file := range files {
			data, err := os.ReadFile(file)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(data)
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := Parse("fuzz.yaml", data)
		if err == nil {
			if len(c.Listen.Milter) == 0 || c.Listen.MaxConnections < 1 || c.Access.File == "" || c.Mode == "" ||
				c.Received.Rules.From == "" || c.Grants.TTL <= 0 || c.Record.Sample <= 0 || c.Record.Buffer < 1 {
				t.Errorf("an accepted configuration lacks values: %+v", c)
			}
			return
		}
		var problems *Error
		if !errors.As(err, &problems) || len(problems.Problems) == 0 {
			t.Fatalf("Parse = %v, expected an *Error", err)
		}
		lines := bytes.Count(data, []byte("\n")) + bytes.Count(data, []byte("\r")) + 1
		for _, p := range problems.Problems {
			if p.File != "fuzz.yaml" || p.Line > lines+1 || strings.ContainsAny(p.Text, "\n\r") {
				t.Errorf("problem %q in a file of %d lines", p, lines)
			}
		}
	})
}
