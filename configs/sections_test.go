package configs

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"milterd/header"
	"milterd/policy"
)

// changeHeaderGrantsAndRecord makes of the defaults what everything-changed.yaml
// says in the sections received, grants and record.
func changeHeaderGrantsAndRecord(t *testing.T, want *Config) {
	t.Helper()
	beside := func(name string) string {
		path, err := filepath.Abs(filepath.Join("testdata/good", name))
		if err != nil {
			t.Fatal(err)
		}
		return path
	}
	want.Checks.Relay.GrantTemp = defaultReply(t, "450 4.7.1 Not now, {addr}")
	want.Received = policy.Scrub{
		Mode: policy.ModeShadow, Authenticated: true, Relayed: true, Granted: true,
		Networks: prefixes("203.0.113.0/24", "198.51.100.7/32", "2001:db8::/32", "2001:db8:1::5/128"),
		Rules: header.Rules{With: true, From: `from [IPv6:2001:db8::1] (a b (nested) c) (again)`, Fields: []header.FieldRule{
			{Name: "X-Originating-IP", Action: header.Remove},
			{Name: "User-Agent", Action: header.Version},
			{Name: "x-mailer", Action: header.Replace, Text: "mail program (any)"},
		}},
	}
	want.Grants = Grants{
		TTL: 90 * time.Second, MaxPerUser: 3, Max: 50, RelayOnly: true, ExcludeOwn: true,
		Exclude: prefixes("203.0.113.25/32", "2001:db8::/64", "100.64.0.0/10"),
		Require: prefixes("203.0.113.0/24"),
		Control: "local:/run/milterd/control.sock", ControlGroup: "postmaster",
		Dovecot: Dovecot{Listen: "inet:4001@localhost", SecretFile: beside("dovecot-secret")},
		Logs: []MailLog{
			{File: "/var/log/mail.log", Format: "dovecot"}, {File: "/var/log/mail.log", Format: "cyrus"},
			{File: beside("pop.log"), Format: "regexp", Regexp: `login ok user=(?P<user>\S+) ip=(?P<addr>\S+)$`},
		},
		DRAC: DRAC{Listen: "inet6:0@::1", Allow: prefixes("203.0.113.25/32"), RPCBind: true},
	}
	want.Redis = Redis{
		Addresses: []string{"rediss://redis.example.test:6380", "rediss://other.example.test:6380"}, Master: "mail", CAFile: beside("ca.pem"),
		Username: "milterd", Password: "12345678", DB: 2, Prefix: "mail{1}:", Timeout: time.Second,
	}
	want.Record = Record{
		Dir: beside("sessions"), MaxSize: 2 << 30, Keep: 30, Compress: "none", Sample: 0.125,
		RedactKey: "9182736450918273", Headers: []string{"Subject", "X-Mailer"}, Buffer: 1,
	}
}

func TestNoAddressOrAnEmptyOneClosesTheMapDoor(t *testing.T) {
	for _, none := range []string{`""`, "[]"} {
		if c := parse(t, t.TempDir(), "listen: {map: "+none+"}\n"); len(c.Listen.Map) > 0 {
			t.Errorf("map: %s gives %q", none, c.Listen.Map)
		}
	}
}

func TestAddressesOfRedisAreTakenInTheFormsThatAreKnown(t *testing.T) {
	for text, want := range map[string]string{
		"redis.example.test:6379":  "redis.example.test:6379",
		"[2001:db8::1]:6379":       "[2001:db8::1]:6379",
		"redis://127.0.0.1:6379":   "redis://127.0.0.1:6379",
		"rediss://cache.example:1": "rediss://cache.example:1",
		"local:/run/redis/r.sock":  "/run/redis/r.sock",
		"unix:/run/redis/r.sock":   "/run/redis/r.sock",
		"/run/redis/redis.sock":    "/run/redis/redis.sock",
	} {
		if c := parse(t, t.TempDir(), "redis: {address: '"+text+"'}\n"); len(c.Redis.Addresses) != 1 || c.Redis.Addresses[0] != want {
			t.Errorf("%s is %q, expected %q", text, c.Redis.Addresses, want)
		}
	}
}

func TestGrantsAreConfiguredByAnySourceOrStore(t *testing.T) {
	for _, c := range []struct {
		name, text string
		want       bool
	}{
		{"nothing", "", false},
		{"limits alone", "{ttl: 1h, max: 5, exclude: []}", false},
		{"a file", "{file: grants.db}", true},
		{"Redis", "{}\nredis: {address: 'localhost:6379'}", true},
		{"details of a Redis that is not used", "{}\nredis: {db: 3}", false},
		{"a control socket", "{control: local:/run/milterd/control.sock}", true},
		{"Dovecot", "{dovecot: {listen: local:/run/milterd/dovecot.sock, secret: s3cr3t-of-d0vecot}}", true},
		{"a log", "{logs: [{file: mail.log, format: uw}]}", true},
		{"DRAC", "{drac: {listen: 'inet:0@127.0.0.1'}}", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.text == "" {
				c.text = "{}"
			}
			if got := parse(t, t.TempDir(), "grants: "+c.text+"\n").GrantsConfigured(); got != c.want {
				t.Errorf("GrantsConfigured() = %v, expected %v", got, c.want)
			}
		})
	}
}

func TestTheScrubbingOfAPolicyIsItsOwn(t *testing.T) {
	dir := write(t, map[string]string{"access": ""})
	c := parse(t, dir, "access: {file: access}\ndomains: {local: [], relay: []}\nreceived: {whose: [authenticated, 203.0.113.0/24], fields: {X-Mailer: remove}}\n")
	p, _, err := c.Policy()
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(c.Received, p.Received, sameConfig()); diff != "" {
		t.Errorf("scrubbing (-configured +policy):\n%s", diff)
	}
	c.Received.Networks[0], c.Received.Rules.Fields[0].Name = prefixes("::/0")[0], "X"
	if p.Received.Networks[0].Bits() != 24 || p.Received.Rules.Fields[0].Name != "X-Mailer" {
		t.Errorf("the policy changes with the configuration: %+v", p.Received)
	}
}

func TestTheReferenceNamesEveryKeyOfALogAndEveryActionOnAField(t *testing.T) {
	for key, words := range map[string][]string{
		"\n  logs: []":   {"file:", "format:", "regexp:", "dovecot", "qpopper", "uw", "courier", "cyrus", "(?P<addr>", "(?P<user>"},
		"\n  fields: {}": {"remove", "version", "{replace: TEXT}"},
		"\n  whose: []":  {"authenticated", "relayed", "granted"},
	} {
		_, comment, ok := strings.Cut(string(reference), key)
		comment, _, _ = strings.Cut(comment, "\n")
		for _, word := range words {
			if !ok || !strings.Contains(comment, word) {
				t.Errorf("the comment of %s does not name %s", strings.TrimSpace(key), word)
			}
		}
	}
}

func TestExamplesInTheCommentsOfTheReferenceAreTaken(t *testing.T) {
	for comment, text := range map[string]string{
		`[authenticated, 203.0.113.0/24, "2001:db8::/32"]`:              "received: {whose: EXAMPLE}",
		"{X-Originating-IP: remove, User-Agent: version}":               "received: {fields: EXAMPLE}",
		"[{file: /var/log/mail.log, format: dovecot}]":                  "grants: {logs: EXAMPLE}",
		`'\S+ \S+ pop3d: login ok user=(?P<user>\S+) ip=(?P<addr>\S+)'`: "grants: {logs: [{file: a, format: regexp, regexp: EXAMPLE}]}",
		"inet:0@0.0.0.0":                  "grants: {drac: {listen: 'EXAMPLE'}}",
		"inet:9180@127.0.0.1":             "listen: {http: 'EXAMPLE'}",
		"local:/run/milterd/control.sock": "grants: {control: 'EXAMPLE'}",
		"/var/lib/milterd/grants.db":      "grants: {file: EXAMPLE}",
		"/var/lib/milterd/sessions":       "record: {dir: EXAMPLE}",
	} {
		if !strings.Contains(string(reference), comment) {
			t.Errorf("the reference has no example %s", comment)
		}
		parse(t, t.TempDir(), strings.ReplaceAll(text, "EXAMPLE", comment)+"\n")
	}
}

func TestSecretsComeFromTheFirstLineOfTheirFiles(t *testing.T) {
	dir := write(t, map[string]string{
		"access": "", "redis": "r3dis-w0rd", "dovecot": "s3cr3t-of-d0vecot\r\nnot this\n", "record": "k3y-0123456789abcd\n\n",
	})
	text := `access: {file: access}
domains: {local: [], relay: []}
redis: {address: "localhost:6379", password_file: redis}
grants:
  dovecot: {listen: "inet:4001@127.0.0.1", secret_file: dovecot}
record: {redact_key_file: record}
`
	c := parse(t, dir, text)
	if c.Redis.Password != "" {
		t.Error("the password is there before the files are read")
	}
	_, warnings, err := c.Policy()
	if err != nil {
		t.Fatal(err)
	}
	for _, secret := range []struct{ got, want Secret }{
		{c.Redis.Password, "r3dis-w0rd"}, {c.Grants.Dovecot.Secret, "s3cr3t-of-d0vecot"}, {c.Record.RedactKey, "k3y-0123456789abcd"},
	} {
		if string(secret.got) != string(secret.want) {
			t.Errorf("a secret is %q, expected %q", string(secret.got), string(secret.want))
		}
	}
	if len(warnings) > 0 {
		t.Errorf("warnings %q", warnings)
	}
	if err := os.Chmod(filepath.Join(dir, "redis"), 0o644); err != nil {
		t.Fatal(err)
	}
	_, warnings = build(t, dir, text)
	equal(t, "warnings", warnings, []string{
		"DIR/redis: every user of this machine can read it (redis.password_file); chmod o-r takes that away"})
}

func TestASecretFileThatHoldsNoneIsAnErrorThatDoesNotShowIt(t *testing.T) {
	for name, c := range map[string]struct{ text, want string }{
		"an empty first line": {"\ns3cr3t\n", "the first line of DIR/secret is not a word"},
		"an empty file":       {"", "the first line of DIR/secret is not a word"},
		"several words":       {"s3cr3t words\n", "the first line of DIR/secret is not a word"},
		"control characters":  {"s3cr3t\x01\n", "the first line of DIR/secret is not a word"},
		"too long":            {strings.Repeat("s3cr3t", 1000), "DIR/secret has 6000 octets, expected 4096 at most"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := write(t, map[string]string{"access": "", "secret": c.text})
			for _, text := range []string{
				`redis: {address: "localhost:6379", password_file: secret}`,
				`grants: {dovecot: {listen: "inet:4001", secret_file: secret}}`,
				`record: {redact_key_file: secret}`,
			} {
				_, _, err := parse(t, dir, "access: {file: access}\ndomains: {local: [], relay: []}\n"+text+"\n").Policy()
				if err == nil {
					t.Fatal("no error")
				}
				got := strings.ReplaceAll(err.Error(), dir, "DIR")
				if !strings.HasPrefix(got, "DIR/milterd.yaml:3: ") || !strings.HasSuffix(got, "_file: "+c.want) || strings.Contains(got, "s3cr3t") {
					t.Errorf("%s: %q, expected %q", text, got, c.want)
				}
			}
		})
	}
}

func TestValuesThatCannotBeAreRefusedOneByOne(t *testing.T) {
	const fromHint = `, expected "from " and a name, such as "from SMTP"`
	const behind = ": expected nothing but comments in parentheses behind the name, each after a blank"
	const plainHint = "expected printable ASCII without quotes, backslashes and angle brackets"
	const sizes = ", expected a size from 64KiB to 64GiB, with its unit (KiB, MiB or GiB)"
	const shares = ", expected a number above 0 and 1 at most, such as 0.1"
	long := "from a (" + strings.Repeat("b", 200) + ")"
	cases := []struct {
		key, text, want string
	}{
		{"received.from", `""`, `""` + fromHint},
		{"received.from", "SMTP", `"SMTP"` + fromHint},
		{"received.from", "From SMTP", `"From SMTP"` + fromHint},
		{"received.from", `"from "`, `"from "` + fromHint},
		{"received.from", "from (SMTP)", `"from (SMTP)"` + fromHint},
		{"received.from", `'from "SMTP"'`, `"from \"SMTP\""` + fromHint},
		{"received.from", "from a; date", `"from a; date"` + behind},
		{"received.from", "from a by b", `"from a by b"` + behind},
		{"received.from", "from a(b)", `"from a(b)"` + behind},
		{"received.from", "from a (b) c", `"from a (b) c"` + behind},
		{"received.from", "from a (b", `"from a (b": a parenthesis is not closed`},
		{"received.from", `from a (b\)`, `"from a (b\\)": character '\\', ` + plainHint},
		{"received.from", `from a ("b")`, `"from a (\"b\")": character '"', ` + plainHint},
		{"received.from", "from a (<b>)", `"from a (<b>)": character '<', ` + plainHint},
		{"received.from", "from by", `"from by": expected a from clause such as from SMTP`},
		{"received.from", `"from a\r\n (b)"`, `"from a\r\n (b)", expected printable ASCII on one line`},
		{"received.from", "from bücher", `"from bücher", expected printable ASCII on one line`},
		{"received.from", long, quote(long) + ": 209 octets, expected 100 at most"},
		{"received.by", "SMTP server", `"SMTP server", expected a comment in parentheses, such as "(SMTP server)", or ""`},
		{"received.by", "(a) (b)", `"(a) (b)": expected nothing behind the comment`},
		{"received.by", "(a))", `"(a))": expected nothing behind the comment`},
		{"received.by", "((a)", `"((a)": a parenthesis is not closed`},
		{"received.by", `"(a\tb)"`, `"(a\tb)", expected printable ASCII on one line`},
		{"received.by", `(a \) b)`, `"(a \\) b)": expected nothing behind the comment`},
		{"received.by", `("a")`, `"(\"a\")": character '"', ` + plainHint},
		{"received.by", "5", `5, expected text (quote it: "5")`},
		{"record.max_size", "67108864", "67108864" + sizes},
		{"record.max_size", "0MiB", `"0MiB"` + sizes},
		{"record.max_size", "1KiB", `"1KiB"` + sizes},
		{"record.max_size", "1TiB", `"1TiB"` + sizes},
		{"record.max_size", "999999999GiB", `"999999999GiB"` + sizes},
		{"record.max_size", "1 MiB", `"1 MiB"` + sizes},
		{"record.max_size", "[1MiB]", "a list" + sizes},
		{"record.sample", "0", "0" + shares},
		{"record.sample", ".5", ".5" + shares},
		{"record.sample", `"0.1"`, `"0.1"` + shares},
		{"record.sample", "1.01", "1.01" + shares},
		{"record.sample", ".nan", ".nan" + shares},
		{"record.sample", "1e-1", "1e-1" + shares},
		{"record.sample", "-0.1", "-0.1" + shares},
		{"record.sample", "10%", `"10%"` + shares},
	}
	for _, c := range cases {
		t.Run(c.key+" "+c.text, func(t *testing.T) {
			section, key, _ := strings.Cut(c.key, ".")
			text := c.text
			if strings.HasPrefix(text, "from ") || strings.ContainsAny(text[:1], `(SF`) {
				text = "'" + text + "'"
			}
			_, err := Parse("milterd.yaml", []byte(section+":\n  "+key+": "+text+"\n"))
			if err == nil {
				t.Fatal("no error")
			}
			if diff := cmp.Diff("milterd.yaml:2: "+c.key+": "+c.want, err.Error()); diff != "" {
				t.Errorf("message (-want +got):\n%s", diff)
			}
		})
	}
}

func TestAKeyInAFileIsLongEnoughToo(t *testing.T) {
	dir := write(t, map[string]string{"access": "", "secret": "s3cr3t\n"})
	_, _, err := parse(t, dir, "access: {file: access}\ndomains: {local: [], relay: []}\nrecord: {redact_key_file: secret}\n").Policy()
	want := "DIR/milterd.yaml:3: record.redact_key_file: the first line of DIR/secret has 6 octets, expected 16 at least"
	if err == nil || strings.ReplaceAll(err.Error(), dir, "DIR") != want {
		t.Errorf("Policy() = %v, expected %s", err, want)
	}
}

func TestAnEmptyListExcludesNothing(t *testing.T) {
	for text, own := range map[string]bool{"[]": false, "[own]": true} {
		g := parse(t, t.TempDir(), "grants: {exclude: "+text+"}\n").Grants
		if g.Exclude == nil || len(g.Exclude) > 0 || g.ExcludeOwn != own {
			t.Errorf("exclude: %s gives %#v, own addresses %v", text, g.Exclude, g.ExcludeOwn)
		}
	}
}

func TestNoMessageOfABadConfigurationShowsASecret(t *testing.T) {
	files, err := filepath.Glob("testdata/bad/*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	held := 0
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		held += strings.Count(string(text), "S3CRET")
		if _, err := Load(file); err != nil && strings.Contains(err.Error(), "S3CRET") {
			t.Errorf("%s: %v", file, err)
		}
	}
	if held < 12 {
		t.Errorf("the bad configurations hold %d secrets, expected those of DNS lists, Redis, Dovecot and recordings", held)
	}
}

func TestAPrintedConfigurationShowsNoSecret(t *testing.T) {
	c := parse(t, t.TempDir(), "redis: {password: S3CRETONE}\ngrants: {dovecot: {secret: S3CRETTWO-0123456}}\nrecord: {redact_key: S3CRETTHREE-012345}\n")
	for _, format := range []string{"%v", "%+v", "%#v", "%q"} {
		if got := fmt.Sprintf(format, []any{c.Redis, c.Grants, c.Record}); strings.Contains(got, "S3CRET") || !strings.Contains(got, "redacted") {
			t.Errorf("%s shows %s", format, got)
		}
	}
}
