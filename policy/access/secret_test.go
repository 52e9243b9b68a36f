package access

import (
	"strings"
	"testing"
)

func TestAPasswordIsNotShown(t *testing.T) {
	for _, c := range []struct{ name, key, value, want string }{
		{"an ordinary value", "connect:203.0.113.8", "REJECT", "REJECT"},
		{"a reply text", "from:a@b.example", "ERROR:5.7.1:550 ask p:1", "ERROR:5.7.1:550 ask p:1"},
		{"AuthInfo", "authinfo:smart.example", `"U:user" "P:TopSecretPw" "M:PLAIN"`, "(not shown)"},
		{"in another case", "AuthInfo:[203.0.113.9]", "anything", "(not shown)"},
		{"for all hosts", "AUTHINFO:", "anything", "(not shown)"},
		{"under a misspelled tag", "autinfo:smart.example", `"U:user" "P:TopSecretPw"`, "(not shown)"},
		{"in base64", "smart.example", `"p=VG9w"`, "(not shown)"},
		{"nothing found", "authinfo:smart.example", "", ""},
		{"a name like the tag", "connect:authinfo.example", "OK", "OK"},
	} {
		if got := Shown(c.key, c.value); got != c.want {
			t.Errorf("%s: %q, expected %q", c.name, got, c.want)
		}
	}
}

// TestAMisspelledEntryDoesNotShowItsPassword has lines whose password is not where
// a value is.
func TestAMisspelledEntryDoesNotShowItsPassword(t *testing.T) {
	for _, line := range []string{
		`AuthInfo:host,"P:TopSecretPw"`,
		`AuthInfo:host,"U:user","P:TopSecretPw"` + "\tx",
		`AuthInfo:"P:TopSecretPw"`,
		`AuthInfo:host,P:TopSecretPw`,
		`AuthInfo:P:TopSecretPw`,
		`AuthInfo:host:P:TopSecretPw`,
		`AuthInfo:host"P=TopSecretPw"`,
		`AutInfo:host,"P:TopSecretPw"`,
		`"P:TopSecretPw"`,
		`Greetpause:host "P:TopSecretPw"`,
		`ClientRate: "P:TopSecretPw" x`,
		`Connect: "P:TopSecretPw"`,
		`AuthInfo:host/P:TopSecretPw`,
		`AuthInfo:192.0.2.1/33,"P:TopSecretPw"`,
		"\xef\xbb\xbf" + `AuthInfo:host,"P:TopSecretPw"`,
		` AuthInfo:host "P:TopSecretPw"`,
		`host,"P:TopSecretPw" REJECT` + "\n" + `host,"P:TopSecretPw" OK`,
		`AuthInfo:host,"P:TopSecretPw" x` + "\n" + `AuthInfo:host,"P:TopSecretPw" y`,
	} {
		table, problems, err := Parse("access", strings.NewReader(line+"\n"), Features{})
		if err != nil {
			t.Fatal(err)
		}
		if len(problems) == 0 && table.Len() == 0 {
			t.Errorf("%s: nothing is said of it", line)
		}
		for _, p := range problems {
			if strings.Contains(strings.ToLower(p.String()), "topsecretpw") {
				t.Errorf("%s: %s", line, p)
			}
		}
	}
}

// TestAClientCannotAskForAPassword: an untagged look-up of a domain that a client
// gives finds no entry of AuthInfo, whose value would be the reply; sendmail's own
// look-up does.
func TestAClientCannotAskForAPassword(t *testing.T) {
	table := parsed(t, "AuthInfo:smart.example \"U:user\" \"P:TopSecretPw\"\nAuthInfo:a@smart.example \"P:TopSecretPw\"\nAuthInfo: \"P:TopSecretPw\"\n")
	for _, domain := range []string{"authinfo:smart.example", "x.AuthInfo:smart.example", "authinfo:"} {
		s := Search{Table: table, Features: &Features{}}
		if m := s.Domain(From, domain); m.Found() {
			t.Errorf("domain %s: found %+v", domain, m)
		}
		if m := s.Full(To, strings.Replace(domain, ":", ":a@", 1)); m.Found() {
			t.Errorf("address in %s: found %+v", domain, m)
		}
	}
	if value, _, ok := table.Lookup("authinfo:smart.example"); !ok || !strings.Contains(value, "TopSecretPw") {
		t.Errorf("sendmail is answered %q", value)
	}
}
