package sendmail

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// read parses a sendmail.cf with one ruleset more than the text has.
func read(t *testing.T, text string) *Config {
	t.Helper()
	c, err := Parse([]byte(text+"\nSmilterd_test\n"), "vm.example.test")
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// machine are the names that every class w holds on the machine of these tests.
const machine = "vm.example.test"

func TestClassWords(t *testing.T) {
	cases := []struct {
		name, text, local, relay string
	}{
		{"names on one line and on several", "Cwa.example b.example\nCw c.example\n", "a.example b.example c.example", ""},
		{"a name in braces is the same class", "C{w}a.example\nC{R}b.example\n", "a.example", "b.example"},
		{"a line that begins with white space goes on", "Cwa.example\n\tb.example\n c.example\n", "a.example b.example c.example", ""},
		{"lines may end in CR LF", "Cwa.example\r\n  b.example\r\nCR c.example\r\n", "a.example b.example", "c.example"},
		{"comments count neither alone nor behind names", "#Cwno.example\n  Cwnor.example\nCwa.example # not.example\n", "a.example", ""},
		{"$# and \\# begin no comment", "CRa\\#b\n", "", "a#b"},
		{"macros are replaced by what they are so far", "DDx.example\nCRa.$D ${D} $m $X\nDXlater\n", "", "a.x.example x.example example.test"},
		{"a class gives its names so far to another", "C{VirtHost}v.example\nCR$={VirtHost}\nC{VirtHost}late.example\n", "", "v.example"},
		{"other classes are none of our business", "CPx.example\nC{Tls}VERIFY\nCO @ %\n", "", ""},
		{"a macro of an unknown name is nothing", "CR$Q ${none}\n", "", ""},
		{"$$ is a dollar sign", "CRa$$b\n", "", "a$b"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			got := read(t, c.text)
			local := strings.Fields(machine + " " + c.local)
			if diff := cmp.Diff(local, got.Local.Names); diff != "" {
				t.Errorf("class w (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(c.relay, strings.Join(got.Relay.Names, " ")); diff != "" {
				t.Errorf("class R (-want +got):\n%s", diff)
			}
			if len(got.Problems) > 0 {
				t.Errorf("problems %v", got.Problems)
			}
		})
	}
}

func TestClassFiles(t *testing.T) {
	cases := []struct {
		name, text string
		want       []ClassFile
		problem    string
	}{
		{"as FEATURE(use_cw_file) writes it", `Fw/etc/mail/local-host-names %[^\#]`,
			[]ClassFile{{Path: "/etc/mail/local-host-names", Format: "%[^#]", Line: 1}}, ""},
		{"with -o the file is optional", `Fw-o /etc/mail/local-host-names %[^\#]`,
			[]ClassFile{{Path: "/etc/mail/local-host-names", Optional: true, Format: "%[^#]", Line: 1}}, ""},
		{"without a format the first word counts", "Fw /etc/names",
			[]ClassFile{{Path: "/etc/names", Format: "%s", Line: 1}}, ""},
		{"in quotes", `F{w}"/etc/names" %[^\#]`,
			[]ClassFile{{Path: "/etc/names", Format: "%[^#]", Line: 1}}, ""},
		{"several", "Fw/etc/a %s\nFw-o /etc/b\n",
			[]ClassFile{{Path: "/etc/a", Format: "%s", Line: 1}, {Path: "/etc/b", Optional: true, Format: "%s", Line: 2}}, ""},
		{"a program is not run", "Fw|/usr/bin/names -a", nil,
			"1: class w: the output of a program (|/usr/bin/names -a) is not read; list the names in the configuration"},
		{"a map is not asked", "Fw@LDAP", nil,
			"1: class w: @LDAP is not a file and is not read; list the names in the configuration"},
		{"a command without a file", "Fw", nil, "1: class w: an F command without a file"},
		{"files of other classes are not listed", "F{VirtHost}-o /etc/mail/virtual", nil, ""},
		{"those of a class that it takes in are", "F{VirtHost}-o /etc/virtual\nCw$={VirtHost}\nF{VirtHost}/etc/later",
			[]ClassFile{{Path: "/etc/virtual", Optional: true, Format: "%s", Line: 1}}, ""},
		{"through several classes, once each", "F{A}/etc/a\nC{B}$={A}\nF{B}/etc/b\nCw$={A} $={B}\nFw/etc/w\n",
			[]ClassFile{{Path: "/etc/a", Format: "%s", Line: 1}, {Path: "/etc/b", Format: "%s", Line: 3}, {Path: "/etc/w", Format: "%s", Line: 5}}, ""},
		{"a class in it that cannot be read", "F{VirtHost}@LDAP\nF{VirtHost}|/bin/hosts\nF{None}@LDAP\nCw$={VirtHost} $={VirtHost}", nil,
			"1: class VirtHost: @LDAP is not a file and is not read; list the names in the configuration\n" +
				"2: class VirtHost: the output of a program (|/bin/hosts) is not read; list the names in the configuration"},
		{"a file for GENERICS_DOMAIN", "F{G}/etc/generics\nC{G}g.example", nil, ""},
		{"a format that takes numbers", "Fw/etc/names %d", nil,
			"1: class w: /etc/names is not read: the format %d is none that milterd knows, expected one with a single %s or %[...]; list the names in the configuration"},
		{"a # that begins a comment cuts the format short", "Fw/etc/names %[^#]", []ClassFile{{Path: "/etc/names", Format: "%[^", Line: 1}}, ""},
		{"mechanisms in a file", "F{TrustAuthMech}/etc/mechs", nil,
			"1: class TrustAuthMech: the file /etc/mechs is not read; list the mechanisms in the configuration"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			got := read(t, c.text)
			if diff := cmp.Diff(c.want, got.Local.Files); diff != "" {
				t.Errorf("files (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(c.problem, problems(got)); diff != "" {
				t.Errorf("problems (-want +got):\n%s", diff)
			}
		})
	}
}

func problems(c *Config) string {
	var lines []string
	for _, p := range c.Problems {
		lines = append(lines, fmt.Sprintf("%d: %s", p.Line, p.Text))
	}
	return strings.Join(lines, "\n")
}

func TestAccessMap(t *testing.T) {
	access := func(m Map) Map {
		m.Name, m.Line = "access", max(m.Line, 1)
		return m
	}
	cases := []struct {
		name, text string
		want       Map
		problem    string
	}{
		{"as FEATURE(access_db) writes it", "Kaccess hash -T<TMPF> /etc/mail/access", access(Map{Type: "hash", Text: "/etc/mail/access", File: "/etc/mail/access.db", Temporary: "<TMPF>"}), ""},
		{"with the ending of the compiled map", "Kaccess hash -o -T<TMPF> /etc/mail/access.db", access(Map{Type: "hash", Text: "/etc/mail/access", File: "/etc/mail/access.db", Temporary: "<TMPF>", Optional: true}), ""},
		{"btree, behind other maps", "Karith arith\nKaccess btree /etc/access", access(Map{Type: "btree", Text: "/etc/access", File: "/etc/access.db", Line: 2}), ""},
		{"cdb", "Kaccess cdb -T<TMPF> /etc/mail/access.cdb", access(Map{Type: "cdb", Text: "/etc/mail/access", File: "/etc/mail/access.cdb", Temporary: "<TMPF>"}), ""},
		{"a macro in the name", "DD/etc/mail\nKaccess hash $D/access", access(Map{Type: "hash", Text: "/etc/mail/access", File: "/etc/mail/access.db", Line: 2}), ""},
		{"the last command counts, and letters in any case", "Kaccess hash /etc/old\nK access HASH -oX /etc/new", access(Map{Type: "hash", Text: "/etc/new", File: "/etc/new.db", Optional: true, Line: 2}), ""},
		{"none", "Kresolve host -a<OKR>", Map{}, ""},
		{"a socket", "Kaccess socket -T<TMPF> local:/run/map.sock", access(Map{Type: "socket", Socket: "local:/run/map.sock", Temporary: "<TMPF>"}), ""},
		{"a colon behind the type", "Kaccess hash: -o /etc/access", access(Map{Type: "hash", Text: "/etc/access", File: "/etc/access.db", Optional: true}), ""},
		{"ldap", "Kaccess ldap -1 -k (x=%0)", access(Map{Type: "ldap"}),
			"1: the access map is of type ldap, which milterd does not read; set access.file to a text as makemap takes it"},
		{"without a file", "Kaccess hash -o", access(Map{Type: "hash", Optional: true}), "1: the access map has no file; set access.file"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			got := read(t, c.text)
			if diff := cmp.Diff(c.want, got.Access); diff != "" {
				t.Errorf("map (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(c.problem, problems(got)); diff != "" {
				t.Errorf("problems (-want +got):\n%s", diff)
			}
		})
	}
}

func TestSocketMapsAreListedWhateverTheirName(t *testing.T) {
	got := read(t, "Kresolve host -a<OKR>\nKmilterd socket local:/run/map.sock\nKaccess socket -o -T<TMPF> inet:8892@127.0.0.1\nKbare socket\n")
	want := []Map{
		{Name: "milterd", Type: "socket", Socket: "local:/run/map.sock", Line: 2},
		{Name: "access", Type: "socket", Socket: "inet:8892@127.0.0.1", Temporary: "<TMPF>", Optional: true, Line: 3},
		{Name: "bare", Type: "socket", Line: 4},
	}
	if diff := cmp.Diff(want, got.Sockets); diff != "" {
		t.Errorf("maps (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(want[1], got.Access); diff != "" {
		t.Errorf("access map (-want +got):\n%s", diff)
	}
	if len(got.Problems) > 0 {
		t.Errorf("problems %v", got.Problems)
	}
}

func TestMacrosAndClassesThatDoubleEachOtherStayBounded(t *testing.T) {
	var cf strings.Builder
	cf.WriteString("DA0123456789\nC{A}one two\n")
	for c := 'A'; c < 'Z'; c++ {
		fmt.Fprintf(&cf, "D%c$%c$%c$%c$%c\nC{%c}$={%c} $={%c}\n", c+1, c, c, c, c, c+1, c, c)
	}
	cf.WriteString("Dj$Z\nCR$={Z}\n")
	got := read(t, cf.String())
	if len(got.Hostname) == 0 || len(got.Hostname) > 2*maxExpanded || len(got.Relay.Names) != 2 {
		t.Errorf("a host name of %d octets, %d names", len(got.Hostname), len(got.Relay.Names))
	}
}

func TestHostNameAndMechanisms(t *testing.T) {
	got := read(t, "Dj$w.of.$m\nC{TrustAuthMech}GSSAPI PLAIN\nC{TrustAuthMech}LOGIN\n")
	if got.Hostname != "vm.of.example.test" {
		t.Errorf("host name %q", got.Hostname)
	}
	if diff := cmp.Diff([]string{"GSSAPI", "PLAIN", "LOGIN"}, got.TrustAuthMech); diff != "" {
		t.Errorf("mechanisms (-want +got):\n%s", diff)
	}
	if got := read(t, ""); got.Hostname != "vm.example.test" || got.TrustAuthMech != nil {
		t.Errorf("without a word about it: host name %q, mechanisms %q", got.Hostname, got.TrustAuthMech)
	}
}

func TestAClassThatIsEmptyIsAProblemForOneThatTakesItsNames(t *testing.T) {
	got := read(t, "CR$={VirtHost}\nF{VirtHost}-o /etc/mail/virtual\n")
	want := "1: class R takes the names of class VirtHost, which has none here; list them in the configuration if it gets them elsewhere"
	if diff := cmp.Diff(want, problems(got)); diff != "" {
		t.Errorf("problems (-want +got):\n%s", diff)
	}
}

// TestOwnDomains has what sendmail -bt shows for $m and $=m.
func TestOwnDomains(t *testing.T) {
	for _, c := range []struct{ name, machine, text, domain, class string }{
		{"the machine's name without its first label", "mx.host.test", "", "host.test", "host.test"},
		{"never a top-level domain", "shop.example", "", "", ""},
		{"a machine without a domain", "vm", "", "", ""},
		{"Dm", "mx.host.test", "Dmdm.example", "dm.example", "dm.example"},
		{"Dm on a machine that is a domain", "shop.example", "Dmshop.example", "shop.example", "shop.example"},
		{"an empty Dm", "mx.host.test", "Dm", "", ""},
		{"a Dm of another macro", "mx.host.test", "Dm$w.x.example", "mx.x.example", "mx.x.example"},
		{"Dj does not change it", "mx.host.test", "Djmail.other.example", "host.test", "host.test"},
		{"Cm adds to it", "mx.host.test", "Cm second.example third.example", "host.test", "second.example third.example host.test"},
		{"C{m} and Cm are one", "vm", "C{m}a.example\nCmb.example", "", "a.example b.example"},
		{"a class that it takes in", "vm", "C{VirtHost}v.example\nCm$={VirtHost}", "", "v.example"},
	} {
		got, err := Parse([]byte(c.text+"\nSmilterd_test\n"), c.machine)
		if err != nil {
			t.Fatal(err)
		}
		if got.Domain != c.domain || strings.Join(got.OwnDomains.Names, " ") != c.class {
			t.Errorf("%s: $m %q, class m %q; expected %q, %q", c.name, got.Domain, got.OwnDomains.Names, c.domain, c.class)
		}
	}
	got := read(t, "CR$=m\nFm-o /etc/mine %[^\\#]\n")
	if len(got.Relay.Names) != 0 {
		t.Errorf("class R has %q of class m, which sendmail gives $m only at the end", got.Relay.Names)
	}
	if diff := cmp.Diff([]ClassFile{{Path: "/etc/mine", Optional: true, Format: "%[^#]", Line: 2}}, got.OwnDomains.Files); diff != "" {
		t.Errorf("files of class m (-want +got):\n%s", diff)
	}
}

func TestWhatIsNoSendmailCFIsRefused(t *testing.T) {
	for name, text := range map[string]string{
		"an empty file": "", "another file": "access: {file: access}\n", "a binary": "\x7fELF\x00\x01S1\n",
	} {
		if c, err := Parse([]byte(text), "vm"); err == nil {
			t.Errorf("%s: %+v", name, c)
		}
	}
}

// TestClassFileText has what sendmail -bt shows of a class that is read in a format.
func TestClassFileText(t *testing.T) {
	const text = "q1.example # c\n  q2.example q3.example\nq4.example,q5.example\n# com\n#com2\n\nq6.example;x\nQ7.Example\tq8.example\r\n9\n:q10.example"
	for _, c := range []struct{ format, want string }{
		{"%s", "q1.example:1 q2.example:2 q4.example,q5.example:3 q6.example;x:7 Q7.Example:8 9:9 :q10.example:10"},
		{"%[^#]", "q1.example:1 q2.example:2 q3.example:2 q4.example,q5.example:3 q6.example;x:7 Q7.Example:8 q8.example:8 9:9 :q10.example:10"},
		{"%[^", "q1.example:1 #:1 c:1 q2.example:2 q3.example:2 q4.example,q5.example:3 q6.example;x:7 Q7.Example:8 q8.example:8 9:9 :q10.example:10"},
		{"%5s", "q1.ex:1 q2.ex:2 q4.ex:3 q6.ex:7 Q7.Ex:8 9:9 :q10.:10"},
		{"%[a-z0-9.]", "q1.example:1 q4.example:3 q6.example:7 9:9"},
		{"%[^:,]", "q1.example:1 #:1 c:1 q2.example:2 q3.example:2 q4.example:3 q6.example;x:7 Q7.Example:8 q8.example:8 9:9"},
		{"q%s", "1.example:1 4.example,q5.example:3 6.example;x:7"},
		{":%s", "q10.example:10"},
		{"%[^ ]", "q1.example:1 q4.example,q5.example:3 q6.example;x:7 Q7.Example:8 q8.example:8 9:9 :q10.example:10"},
		{"%3[]:]", "::10"},
	} {
		entries, err := ParseClassFile([]byte(text), c.format)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, e := range entries {
			got = append(got, fmt.Sprintf("%s:%d", e.Name, e.Line))
		}
		if diff := cmp.Diff(c.want, strings.Join(got, " ")); diff != "" {
			t.Errorf("%s: entries (-want +got):\n%s", c.format, diff)
		}
	}
	for _, format := range []string{"", "x", "%d", "%s %s", "%*s %s", "%[z-a]", "%c", "%", "%*s", "%[", "%[a", "%n", "%[]", "%[^]"} {
		if entries, err := ParseClassFile([]byte("a.example b.example\n"), format); err == nil {
			t.Errorf("%q: %v", format, entries)
		}
	}
	if entries, _ := ParseClassFile([]byte("\xef\xbb\xbfa.example\nb.example\n"), "%s"); !entries[0].Marked || entries[1].Marked {
		t.Errorf("a byte order mark: %+v", entries)
	}
}

func FuzzParse(f *testing.F) {
	f.Add("Cwa $=R $m ${x\n\tmore\nFw-o \"/a b\" %s\nKaccess hash -T<TMPF> /x.db\nDj$w\nSD\nR$+ < @ $=w >\t$@ RELAY # \\#\n")
	f.Add("C\nF\nD\nK\nS\nR\nC{\nF{w}\nD{j\n$\n")
	f.Fuzz(func(t *testing.T, text string) {
		c, err := Parse([]byte(text), "vm.example.test")
		if err != nil {
			return
		}
		for _, file := range append(c.Local.Files, c.Relay.Files...) {
			if !strings.HasPrefix(file.Path, "/") || file.Line < 1 {
				t.Errorf("class file %+v", file)
			}
		}
		for _, name := range append(c.Local.Names, c.Relay.Names...) {
			if name == "" || strings.ContainsAny(name, " \t\n") {
				t.Errorf("name %q in a class", name)
			}
		}
	})
}
