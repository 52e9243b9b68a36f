package integration_test

import (
	"os"
	"strings"
	"testing"

	"milterd/integration/harness"
)

// TestEntriesThatAreHardlyMeantDoAsTheirHintSays: a real sendmail with a table of its own
// does not refuse the client, or the sender, by an entry that a hint says never matches,
// and it does by the entry that the hint would have in its place.
func TestEntriesThatAreHardlyMeantDoAsTheirHintSays(t *testing.T) {
	start(t, harness.Options{LocalHostNames: "example.test\n", Config: "sendmail: {cf: " + stockCF + "}\n" + shadow, DNS: []string{
		"77.100.51.198.in-addr.arpa. PTR pc.client.example.", "pc.client.example. A " + clientAddr, "bad.example. A 203.0.113.5"}})
	const table = "/etc/mail/access"
	stock, err := os.ReadFile(table)
	if err != nil {
		t.Fatal(err)
	}
	reply := func(entry string) (string, []finding) {
		writeFile(t, table, string(stock)+entry+"\tREJECT\n")
		sh(t, "makemap hash "+table+" <"+table)
		findings, _ := examine(t, "-offline")
		return conversation(t, stranger, port25, "MAIL FROM:<x@bad.example>", "RCPT TO:<"+anybody+">"), findings
	}
	for _, c := range []struct{ about, wrong, right string }{
		{"is not one sendmail knows", "Client:198.51.100", "Connect:198.51.100"},
		{"regular expressions are not known here", "/bad.*/", "From:bad.example"},
		{"the quotes are a part of the key", `"198.51.100.77"`, "198.51.100.77"},
		{"is a part of the key, so this entry never matches", "Connect:198.51.100.77,", "Connect:198.51.100.77"},
		{"addresses are looked up without < and >", "From:<x@bad.example>", "From:x@bad.example"},
		{"no look-up begins with @", "From:@bad.example", "From:bad.example"},
		{"* is no wildcard", "From:*.example", "From:example"},
		{"a key that begins with a dot needs the feature", "Connect:.client.example", "Connect:client.example"},
		{"a key that ends in a dot never matches", "Connect:198.51.100.", "Connect:198.51.100"},
		{"a range of addresses never matches", "Connect:198.51.100.1-198.51.100.99", "Connect:198.51.100"},
		{"without leading zeros", "Connect:198.051.100.077", "Connect:198.51.100.77"},
		{"a network is looked up for clients only", "From:198.51.100.0/24", "Connect:198.51.100"},
		{"is no keyword but a top-level domain", "Connect:any", "Connect:198"},
	} {
		t.Run(c.wrong, func(t *testing.T) {
			said, findings := reply(c.wrong)
			if _, found := about(findings, c.about); !found {
				t.Errorf("the doctor says nothing of it: %+v", findings)
			}
			shows(t, "with "+c.wrong, said, "^250 ")
			said, findings = reply(c.right)
			if f, found := about(findings, "never matches"); found {
				t.Errorf("of the right entry the doctor says %+v", f)
			}
			shows(t, "with "+c.right, said, "^5[0-9]0 5.7.1")
		})
	}
}

// TestTheDoctorNeedsTheFileOfTheServer: what it says of another file, or of none, is that;
// and that mail passes by milterd it can tell of the right one only.
func TestTheDoctorNeedsTheFileOfTheServer(t *testing.T) {
	const passing = "no INPUT_MAIL_FILTER leads to"
	start(t, harness.Options{LocalHostNames: "example.test\n", Include: "FEATURE(`access_db', , `skip')dnl\n", Config: settled(enforced), Files: map[string]string{"access": refusal}})
	shows(t, "mail", conversation(t, stranger, port25, ours...), "^250 ")
	for file, text := range map[string]string{"/etc/mail/submit.cf": "the file of a submission program", "/etc/mail/none.cf": "so nothing is known of this sendmail"} {
		findings, status := examine(t, "-offline", "-cf", file)
		given, found := about(findings, text)
		if _, told := about(findings, passing); !found || told || status != 2 {
			t.Errorf("-cf %s: status %d, %+v", file, status, findings)
		}
		options := strings.Fields(strings.Replace(given.Cure, "FILE", stockCF, 1))
		findings, _ = examine(t, append([]string{"-offline"}, options...)...)
		if _, told := about(findings, passing); !told {
			t.Errorf("%v: %+v", options, findings)
		}
	}
}
