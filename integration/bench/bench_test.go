package main

import (
	"bytes"
	"flag"
	"os"
	"strings"
	"testing"

	"milterd/integration/testkit"
)

// TestMain lets the test's own binary be the empty filter, as the program is.
func TestMain(m *testing.M) {
	for _, arg := range os.Args[1:] {
		if arg == "-empty" {
			main()
			return
		}
	}
	flag.Parse()
	os.Exit(m.Run())
}

func TestAShortRun(t *testing.T) {
	testkit.Need(t, "gcc")
	if _, err := os.Stat("/usr/include/libmilter/mfapi.h"); err != nil {
		testkit.Missing(t, "package libmilter-dev is needed")
	}
	b := bench{rounds: 1, sessions: 8, counted: 32, idle: 20, fields: true, only: "milterd,go-milter"}
	file := t.TempDir() + "/figures.json"
	if err := b.run(file); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{`"milterd"`, `"go-milter"`, `"empty-C"`} {
		if n := strings.Count(string(text), name); n != 3+1+3 {
			t.Errorf("%s stands %d times in the figures, expected 7:\n%s", name, n, text)
		}
	}
}

func TestRatiosAreThoseWithinARound(t *testing.T) {
	got := rows([]sample{
		{baseline, 16, 0, 100, 1000}, {"x", 16, 0, 50, 2000},
		{baseline, 16, 1, 200, 400}, {"x", 16, 1, 150, 500},
		{baseline, 1, 0, 10, 1}, {"x", 1, 0, 20, 2},
		{"x", 16, 2, 1, 1}, // nothing to compare with
	})
	if len(got) != 4 || got[0].AtOnce != 1 || got[3].Filter != "x" {
		t.Fatalf("rows: %+v", got)
	}
	want := row{"x", 16, spread{100, 50, 150}, spread{.625, .5, .75}, spread{1250, 500, 2000}, spread{1.625, 1.25, 2}}
	if got[3] != want {
		t.Errorf("got  %+v\nwant %+v", got[3], want)
	}
	var out bytes.Buffer
	if err := (&report{Steps: "all steps", Rounds: 3, Rows: got, Once: []once{{"x", 20, 100, 7}}}).print(&out); err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{"all steps; 3 rounds", "0.62 (0.50 to 0.75)", "7.0"} {
		if !strings.Contains(out.String(), text) {
			t.Errorf("%q is not in\n%s", text, out.String())
		}
	}
}
