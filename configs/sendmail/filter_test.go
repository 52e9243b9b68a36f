package sendmail

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestFilters(t *testing.T) {
	milterd := func(flags string, used bool) []Filter {
		return []Filter{{Name: "milterd", Socket: "local:/run/milterd/milter.sock", Flags: flags, Used: used, Line: 1}}
	}
	const line = "Xmilterd, S=local:/run/milterd/milter.sock"
	cases := []struct {
		name, text string
		want       []Filter
	}{
		{"none", "O InputMailFilters=milterd\n", nil},
		{"defined and asked", line + ", F=T, T=S:10s;R:10s;E:1m\nO InputMailFilters=other, milterd\n", []Filter{
			{Name: "milterd", Socket: "local:/run/milterd/milter.sock", Flags: "T", Timeouts: "S:10s;R:10s;E:1m", Used: true, Line: 1}}},
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
		{Name: "milterd", Socket: "local:/run/milterd/milter.sock", Flags: "T", Timeouts: "S:10s;R:10s;E:1m", Used: true},
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
	access.Name = "access"
	want := []Map{m, access}
	slices.SortFunc(c.Sockets, func(a, b Map) int { return strings.Compare(b.Name, a.Name) })
	if diff := cmp.Diff(want, c.Sockets); diff != "" {
		t.Errorf("maps (-want +got):\n%s", diff)
	}
	if c.Access.Name != "access" || c.Access.Socket != access.Socket {
		t.Errorf("access map %+v", c.Access)
	}
}
