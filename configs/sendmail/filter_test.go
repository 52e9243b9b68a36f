package sendmail

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestFilters(t *testing.T) {
	milterd := func(flags string, used bool) []Filter {
		return []Filter{{Name: "milterd", Socket: "local:/run/milterd/milter.sock", Flags: flags, Used: used, Line: 1}}
	}
	timed := milterd("T", true)
	timed[0].Reply = 10 * time.Second
	const line = "Xmilterd, S=local:/run/milterd/milter.sock"
	cases := []struct {
		name, text string
		want       []Filter
	}{
		{"none", "O InputMailFilters=milterd\n", nil},
		{"defined and asked", line + ", F=T, T=S:10s;R:10s;E:1m\nO InputMailFilters=other, milterd\n", timed},
		{"defined only, as MAIL_FILTER does", line + ", F=R\n", milterd("R", false)},
		{"asked by one daemon", line + "\nO DaemonPortOptions=Name=MTA, Port=25, InputMailFilters=other;milterd\nO DaemonPortOptions=Name=MSA\n", milterd("", true)},
		{"two, in one case or the other", "XA,F=4,S=inet:8891@localhost\nXb, S=inet6:1@[::1]\nO InputMailFilters=a\n", []Filter{
			{Name: "A", Socket: "inet:8891@localhost", Flags: "4", Used: true, Line: 1}, {Name: "b", Socket: "inet6:1@[::1]", Line: 2}}},
		{"a name and nothing else", "Xmilterd\n", []Filter{{Name: "milterd", Line: 1}}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			if diff := cmp.Diff(c.want, read(t, c.text).Filters); diff != "" {
				t.Errorf("filters (-want +got):\n%s", diff)
			}
		})
	}
}

func TestAGeneratedSendmailCFGivesItsFilters(t *testing.T) {
	c, err := Parse(generate(t,
		"INPUT_MAIL_FILTER(`milterd', `S=local:/run/milterd/milter.sock, F=T, T=S:10s;R:10s;E:1m')",
		"MAIL_FILTER(`other', `S=inet:8891@localhost')"), "vm.example.test")
	if err != nil {
		t.Fatal(err)
	}
	for i := range c.Filters {
		c.Filters[i].Line = 0
	}
	want := []Filter{
		{Name: "milterd", Socket: "local:/run/milterd/milter.sock", Flags: "T", Reply: 10 * time.Second, Used: true},
		{Name: "other", Socket: "inet:8891@localhost"},
	}
	if diff := cmp.Diff(want, c.Filters); diff != "" {
		t.Errorf("filters (-want +got):\n%s", diff)
	}
	if c.Submission {
		t.Error("a server's file is taken for one of a submission program")
	}
}

func TestASubmissionProgramsFileIsTold(t *testing.T) {
	if read(t, "#O UseMSP=False\n").Submission {
		t.Error("a server's file is taken for one of a submission program")
	}
	if !read(t, "O UseMSP=True\n").Submission {
		t.Error("FEATURE(msp) is not seen")
	}
}

func TestAGeneratedSendmailCFGivesItsSocketMaps(t *testing.T) {
	c, err := Parse(generate(t,
		"FEATURE(`access_db', `socket -T<TMPF> local:/run/milterd/map.sock')",
		"LOCAL_CONFIG",
		"Kreceived socket -T<TMPF> local:/run/milterd/map.sock"), "vm.example.test")
	if err != nil {
		t.Fatal(err)
	}
	for i := range c.Sockets {
		c.Sockets[i].Line = 0
	}
	m := Map{Name: "received", Type: "socket", Socket: "local:/run/milterd/map.sock", Temporary: "<TMPF>"}
	access := m
	access.Name, access.Asked = "access", true
	want := []Map{m, access}
	slices.SortFunc(c.Sockets, func(a, b Map) int { return strings.Compare(b.Name, a.Name) })
	if diff := cmp.Diff(want, c.Sockets); diff != "" {
		t.Errorf("maps (-want +got):\n%s", diff)
	}
	if c.Access.Name != "access" || c.Access.Socket != access.Socket {
		t.Errorf("access map %+v", c.Access)
	}
}

func TestTheTimeForAnAnswer(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"": 0, "S:10s": 0, "R:2s": 2 * time.Second, "C:10m;S:10s;R:2;E:5m": 2 * time.Second, "r:1M30s": 90 * time.Second,
		"R:": 0, "R:x": 0, "R:1y": 0, "R:99999999999999s": 0, " R: 1h ": time.Hour,
	} {
		if got := replyTime(text); got != want {
			t.Errorf("T=%s: %v, expected %v", text, got, want)
		}
	}
}

func TestAGreetPauseBeforeTheAccessTableIsTold(t *testing.T) {
	const pause = "FEATURE(`greet_pause', `5000')"
	tables := []string{"FEATURE(`access_db')", "FEATURE(`access_db', `socket -T<TMPF> local:/run/milterd/map.sock')"}
	for _, table := range tables {
		for want, lines := range map[int][]string{0: {table, pause}, 1: {pause, table}} {
			c, err := Parse(generate(t, lines...), "vm.example.test")
			if err != nil {
				t.Fatal(err)
			}
			told := 0
			for _, p := range c.Problems {
				if strings.HasPrefix(p.Text, "FEATURE(`greet_pause') stands before the access table") && p.Line > 0 {
					told++
				}
			}
			if told != want {
				t.Errorf("%q: told of %d times, expected %d: %v", lines, told, want, c.Problems)
			}
		}
	}
	c, err := Parse(generate(t, pause), "vm.example.test")
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range c.Problems {
		if strings.Contains(p.Text, "greet_pause") {
			t.Errorf("told of without an access table: %v", p)
		}
	}
}
