package rulesets

import (
	"fmt"
	"strings"
	"testing"

	"milterd/configs"
	"milterd/policy"
	"milterd/policy/access"
)

// TestSessionsAreDecidedAsByTheSendmailCF is the same test with everything that
// milterd reads from a sendmail.cf read from there: the FEATUREs, the classes with
// their files and with what they take in, $m, the mechanisms, and the table.
func TestSessionsAreDecidedAsByTheSendmailCF(t *testing.T) {
	requireSendmail(t)
	seed, generators := newGenerators(t)
	for i, g := range generators {
		t.Run(fmt.Sprintf("sendmail.cf-%d", i), func(t *testing.T) {
			t.Parallel()
			u := g.setUp()
			s := newSendmail(t, u)
			compare(t, seed, g, u, s, s.policy(t, u))
		})
	}
}

// policy is what milterd makes of the sendmail.cf.
func (s *sendmail) policy(t *testing.T, u setUp) *policy.Policy {
	t.Helper()
	c, err := configs.Parse(s.path("milterd.yaml"), []byte("sendmail: {cf: sendmail.cf}\n"))
	if err != nil {
		t.Fatal(err)
	}
	p, warnings, err := c.Policy()
	if err != nil {
		t.Fatalf("%v\n%s", err, strings.Join(warnings, "\n"))
	}
	if p.Features != u.features {
		t.Errorf("features %+v, expected %+v", p.Features, u.features)
	}
	mechanisms := p.Checks.Relay.TrustAuthMech
	p.Checks = newPolicy(t, access.Features{}, "").Checks
	p.Checks.Relay.TrustAuthMech = mechanisms
	return p
}

// setUp is a sendmail whose classes come from everywhere that they can come from,
// and a table with lines that are none.
func (g generator) setUp() setUp {
	u := setUp{features: g.features(), table: g.table() + g.flawed(), files: make(map[string]string)}
	for _, command := range []string{"LOCAL_DOMAIN", "RELAY_DOMAIN", "VIRTUSER_DOMAIN", "GENERICS_DOMAIN", "MASQUERADE_DOMAIN"} {
		if g.chance(50) {
			u.classes += fmt.Sprintf("%s(`%s')dnl\n", command, g.name())
		}
		if name := strings.ToLower(command); command != "LOCAL_DOMAIN" && g.chance(50) {
			u.classes += fmt.Sprintf("%s_FILE(`%s')dnl\n", command, g.classFile(&u, name))
		}
	}
	if g.chance(30) {
		u.classes += "define(`confCW_FILE', `" + g.classFile(&u, "names") + "')dnl\nFEATURE(`use_cw_file')dnl\n"
	}
	if g.chance(30) {
		u.classes += "FEATURE(`virtusertable', `hash -o FILES/virtusertable')dnl\n"
	}
	u.config = "Dm" + pick(g, "example.test", "good.example", "example", "") + "\n"
	for i := range g.IntN(8) {
		switch g.IntN(6) {
		case 0:
			u.config += "C" + pick(g, "m", "{m}", "w", "R", "{A}", "{B}") + g.name() + " " + g.name() + "\n"
		case 1:
			u.config += "F" + pick(g, "m", "{m}", "w", "R", "{A}") + g.classFile(&u, fmt.Sprint("file", i)) + "\n"
		case 2:
			u.config += "C{A}" + g.name() + "\nC{B}$={A}\n"
		case 3:
			u.config += "C" + pick(g, "R", "w", "m") + "$={" + pick(g, "A", "B", "VirtHost", "m", "w", "G") + "} " + g.name() + "\n"
		case 4:
			u.config += "D{Mine}" + g.name() + "\nC" + pick(g, "R", "w", "m") + "${Mine}\n"
		case 5:
			u.config += "CR" + pick(g, "203.0.113", "IPv6:2001:db8:1", "192.0.2.1", "198.51", "[203.0.113.8]") + "\n"
		}
	}
	return u
}

// name is one that a class may hold; never localhost, of which sendmail asks the
// hosts file for another name.
func (g generator) name() string {
	for {
		if name := pick(g, domains...); name != "localhost" {
			return name
		}
	}
}

// classFile writes a file of names and returns what stands for it in an F command.
func (g generator) classFile(u *setUp, name string) string {
	var text strings.Builder
	for range 1 + g.IntN(3) {
		text.WriteString(pick(g, "", " ", "# "+g.name()+"\n", "\n") + g.name() + pick(g, "", " # "+g.name(), " "+g.name(), "\t"+g.name(), ";"+g.name()) + "\n")
	}
	option := pick(g, "", "-o ")
	if option == "" || g.chance(70) {
		u.files[name] = text.String()
	}
	return option + "FILES/" + name + pick(g, "", " %s", " %[^\\#]", " %[^;]", " %[a-z.]")
}

// flawed are lines that makemap leaves out or that never match, and values with odd
// white space.
func (g generator) flawed() string {
	var b strings.Builder
	for range g.IntN(12) {
		key := g.key()
		b.WriteString(pick(g,
			" "+key+"\tOK", key+"\t", key, "", "# "+key+"\tOK", "\t",
			"Connect:203.0.113.5/24\tREJECT", "203.0.113.0/255.255.255.0\tRELAY", "Connect:::ffff:192.0.2.0/120\tRELAY",
			key+"\tOK", key+"\t450\ttry later", key+"\tERROR:450 \t 4.7.1\tnow", key+"\tERROR:4.7.1:\t450\tbusy", key+"\t450", "\""+key+"\"\tRELAY",
			key+"\t550 "+strings.Repeat("x", 1100), key+"\tREJECT\r", strings.ToUpper(key)+" \t OK ",
		) + "\n")
	}
	return b.String()
}
