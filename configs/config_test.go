package configs

import (
	"bytes"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"gopkg.in/yaml.v3"

	"milterd/dnscheck"
	"milterd/header"
	"milterd/integration/testkit"
	"milterd/policy"
	"milterd/policy/access"
)

var configType = reflect.TypeFor[Config]()

// load reads a configuration on a machine of a known name.
func load(t *testing.T, path string) *Config {
	t.Helper()
	c, err := Load(path)
	if err != nil {
		t.Fatalf("Load(%s):\n%v", path, err)
	}
	c.machine = testMachine("127.0.0.1 localhost\n")
	return c
}

// parse reads a configuration from memory, as if from a file in dir.
func parse(t *testing.T, dir, text string) *Config {
	t.Helper()
	c, err := Parse(filepath.Join(dir, "milterd.yaml"), []byte(text))
	if err != nil {
		t.Fatalf("Parse:\n%v", err)
	}
	c.machine = testMachine("127.0.0.1 localhost\n")
	return c
}

func TestBadConfigurationsGiveTheirExactMessages(t *testing.T) {
	files, err := filepath.Glob("testdata/bad/*.yaml")
	if err != nil || len(files) < 50 {
		t.Fatalf("found %d bad configurations, expected the whole folder (%v)", len(files), err)
	}
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".yaml")
		t.Run(name, func(t *testing.T) {
			c, err := Load(file)
			if err == nil {
				_, _, err = c.Policy()
			}
			if err == nil {
				t.Fatal("no error")
			}
			var problems *Error
			if !errors.As(err, &problems) {
				t.Errorf("the error is a %T, expected an *Error", err)
			}
			testkit.Golden(t, strings.TrimSuffix(file, ".yaml")+".want", err.Error()+"\n")
		})
	}
}

func TestGoodConfigurationsMakeAPolicy(t *testing.T) {
	files, err := filepath.Glob("testdata/good/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no good configurations (%v)", err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			p, _, err := load(t, file).Policy()
			if err != nil || p == nil {
				t.Errorf("Policy() = %v, %v", p, err)
			}
		})
	}
}

func TestEverySampleIsAValidConfiguration(t *testing.T) {
	files, err := filepath.Glob("*.yaml")
	if err != nil || len(files) < 3 {
		t.Fatalf("found %v (%v), expected the reference and the samples", files, err)
	}
	for _, file := range files {
		if file == "alerts.yaml" {
			continue // rules for Prometheus
		}
		if c := load(t, file); c.Mode == "" {
			t.Errorf("%s: no mode", file)
		}
	}
}

// defaultReply reads a reply for expected values.
func defaultReply(t *testing.T, s string) policy.Reply {
	t.Helper()
	r, err := policy.ParseReply(s)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestTheEmbeddedConfigurationHasTheDocumentedDefaults(t *testing.T) {
	c, err := Default()
	if err != nil {
		t.Fatal(err)
	}
	reply := func(s string) policy.Reply { return defaultReply(t, s) }
	reject := policy.TableCheck{Mode: policy.ModeEnforce, Reject: reply("550 5.7.1 Access denied")}
	exempt := policy.Exempt{Authenticated: true, Relay: true, ConnectOK: true, Friend: true, Postmaster: true}
	submission := policy.Port{
		Auth: policy.AuthRequire, TLS: policy.TLSAllow, Relay: policy.RelayEntitled, Checks: map[string]policy.Mode{},
	}
	want := &Config{
		Listen: Listen{
			Milter:     []string{"local:/run/milterd/milter.sock"},
			Map:        []string{"local:/run/milterd/map.sock"},
			SocketMode: 0o660, MaxConnections: 4096, Shutdown: 10 * time.Second,
		},
		Access: Access{
			File: "/etc/mail/access", MaxSize: 256 << 20,
			Features: access.Features{Skip: true, DelayChecks: true, Friend: true},
		},
		Domains: Domains{
			Local: []string{"/etc/mail/local-host-names"},
			Relay: []string{"/etc/mail/relay-domains"}, Realms: policy.Domains{Local: true, Relay: true, Names: policy.NewClass()},
		},
		DNS: DNS{
			Client: dnscheck.Config{
				Servers: []string{}, TryTimeout: 1500 * time.Millisecond, Attempts: 2, Timeout: 5 * time.Second,
				CacheEntries: 200_000, MinTTL: 5 * time.Second, MaxTTL: time.Hour,
			},
			Deadline: 8 * time.Second, Threshold: 1, Patterns: []string{},
		},
		Mode:     policy.ModeEnforce,
		NATGuard: "auto",
		Checks: policy.Checks{
			Port: policy.PortCheck{
				Mode:         policy.ModeEnforce,
				AuthRequired: reply("530 5.7.0 Authentication required"),
				AuthRefused:  reply("503 5.5.1 AUTH not available on this port; use the submission port"),
				TLSRequired:  reply("530 5.7.0 Must issue a STARTTLS command first"),
			},
			Recipient: policy.TableCheck{Mode: policy.ModeEnforce, Reject: reply("550 5.2.1 Mailbox disabled for this recipient")},
			Relay: policy.RelayCheck{
				Mode:          policy.ModeEnforce,
				Deny:          reply("550 5.7.1 Relaying denied"),
				DenyAuth:      reply("550 5.7.1 Relaying denied. Proper authentication required."),
				Temp:          reply("450 4.4.0 Relaying temporarily denied. Cannot resolve PTR record for {addr}"),
				Fail:          reply("550 5.7.1 Relaying denied. IP name lookup failed {name}"),
				Forged:        reply("550 5.7.1 Relaying denied. IP name possibly forged {name}"),
				GrantTemp:     reply("451 4.7.1 Relaying temporarily denied. Please try again later"),
				TrustAuthMech: []string{"EXTERNAL", "DIGEST-MD5", "CRAM-MD5", "LOGIN", "PLAIN"},
				LocalMailers:  []string{"local", "prog", "*file*", "*include*", "error", "discard", "procmail", "cyrus", "cyrusbb", "cyrusv2", "virtual", "lmtp", "dovecot", "maildrop", "mailman", "pop", "usenet"},
			},
			SenderLogin: policy.SenderLoginCheck{
				Mode: policy.ModeOff, Allow: senderRulesOf(t, "{login}"), NullSender: true,
				Reply: reply("553 5.7.1 Sender address rejected: it is not one of your login's"),
			},
			OwnSender: policy.OwnSenderCheck{
				Mode: policy.ModeOff, Domains: policy.Domains{Local: true, Names: policy.NewClass()}, Hosts: policy.NewClass(),
				Reply: reply("550 5.7.1 Sender address rejected: it is one of ours, log in on the submission port to use it"),
			},
			Sender: reject,
			SenderDomain: policy.SenderDomainCheck{
				Mode:      policy.ModeOff,
				Missing:   policy.Reaction{Action: policy.ActionReject, Reply: reply("553 5.1.8 Domain of sender address {sender} does not exist")},
				NullMX:    policy.Reaction{Action: policy.ActionReject, Reply: reply("550 5.7.27 Domain of sender address {sender} takes no mail")},
				Temporary: policy.Reaction{Action: policy.ActionReject, Reply: reply("451 4.1.8 Domain of sender address {sender} does not resolve")},
				BadMX:     policy.Reaction{Action: policy.ActionAccept, Reply: reply("550 5.1.8 Domain of sender address {sender} has no usable mail host")},
			},
			Client: reject,
			RDNS: policy.RDNSCheck{
				Mode:    policy.ModeEnforce,
				Source:  policy.RDNSSourceSendmail,
				Temp:    policy.Reaction{Action: policy.ActionReject, Reply: reply("450 4.7.25 Access denied. Cannot resolve PTR record for {addr}")},
				Fail:    policy.Reaction{Action: policy.ActionReject, Reply: reply("450 4.7.25 Access denied. IP name lookup failed {addr}")},
				Forged:  policy.Reaction{Action: policy.ActionAccept, Reply: reply("450 4.7.25 Access denied. IP name possibly forged {name}")},
				Generic: policy.Reaction{Action: policy.ActionAccept, Reply: reply("450 4.7.25 Access denied. {name} looks like an access line")},
				Exempt:  exempt,
			},
			DNSBL: policy.DNSBLCheck{
				Mode:      policy.ModeEnforce,
				Reply:     reply("550 5.7.1 Rejected: {listed} listed at {zone}"),
				Temporary: reply("451 4.7.1 Temporarily rejected: no answer about {addr} from a DNS list"),
				Exempt:    exempt,
			},
		},
		Ports: map[string]policy.Port{"465": submission, "587": submission},
		Received: policy.Scrub{
			Mode:  policy.ModeEnforce,
			Rules: header.Rules{Client: true, Version: true, From: "from SMTP", By: "(SMTP server)"},
		},
		Grants: Grants{
			TTL: 30 * time.Minute, MaxPerUser: 10, Max: 1_000_000, ExcludeOwn: true,
			Exclude: prefixes("127.0.0.0/8", "::1/128", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7", "fec0::/10",
				"169.254.0.0/16", "fe80::/10", "100.64.0.0/10"),
			Logs: []MailLog{},
			DRAC: DRAC{Allow: prefixes("127.0.0.0/8", "::1/128"), ReservedPort: true, RPCBind: true},
		},
		Redis: Redis{Prefix: "{milterd}:", Timeout: 300 * time.Millisecond},
		Limits: Limits{
			Max:     1_000_000,
			Reply:   reply("451 4.7.1 Too much mail (limit {limit}). Please try again in {wait}"),
			Blocked: reply("451 4.7.1 Mail from this login is put off. Please ask your postmaster"),
		},
		Record: Record{MaxSize: 64 << 20, Compress: "gzip", Sample: 1, Redact: true, Headers: []string{}, Buffer: 4096},
		Status: Status{Hosts: []string{}},
		Log:    Log{To: LogStderr, Level: "info", Format: "text"},
	}
	if diff := cmp.Diff(want, c, sameConfig()); diff != "" {
		t.Errorf("defaults (-want +got):\n%s", diff)
	}
}

// senderRulesOf reads rules for expected values.
func senderRulesOf(t *testing.T, texts ...string) []policy.SenderRule {
	t.Helper()
	rules := make([]policy.SenderRule, len(texts))
	for i, text := range texts {
		rule, err := policy.ParseSenderRule(text)
		if err != nil {
			t.Fatal(err)
		}
		rules[i] = rule
	}
	return rules
}

func prefixes(texts ...string) []netip.Prefix {
	list := make([]netip.Prefix, len(texts))
	for i, text := range texts {
		list[i] = netip.MustParsePrefix(text)
	}
	return list
}

// sameConfig makes configurations comparable. Secrets compare by what they are, and
// are shown as placeholders.
func sameConfig() cmp.Option {
	return cmp.Options{
		ignoreInternals(), cmpopts.IgnoreUnexported(dnscheck.Config{}), cmp.AllowUnexported(policy.Class{}, policy.SenderRule{}),
		cmp.Comparer(func(a, b netip.Prefix) bool { return a == b }),
		cmp.Comparer(func(a, b Secret) bool { return string(a) == string(b) }),
	}
}

// ignoreInternals compares only what a configuration says.
func ignoreInternals() cmp.Option {
	return cmp.FilterPath(func(p cmp.Path) bool {
		field, ok := p.Last().(cmp.StructField)
		return ok && p.Index(-2).Type() == configType && strings.ToLower(field.Name()[:1]) == field.Name()[:1]
	}, cmp.Ignore())
}

func TestAFileOverridesTheDefaultsKeyByKey(t *testing.T) {
	c := load(t, "testdata/good/everything-changed.yaml")
	want, err := Default()
	if err != nil {
		t.Fatal(err)
	}
	want.Listen = Listen{
		Milter:      []string{"local:/run/milterd/milter.sock", "inet:8891@127.0.0.1", "inet6:8891@::1", "inet:8892"},
		Map:         []string{"local:/run/milterd/maps", "inet:8893"},
		HTTP:        "inet:9180@0.0.0.0",
		SocketMode:  0o666,
		SocketGroup: "smmsp", MaxConnections: 10, Shutdown: 10 * time.Second,
	}
	want.Access = Access{File: "access.txt", MaxSize: 256 << 20, Features: access.Features{
		BlocklistRecipients: true, DelayChecks: true, Hater: true, LookupDotDomain: true,
		RelayMailFrom: true, RelayMailFromDomain: true,
	}}
	want.Domains = Domains{
		Hostname: "mx.example.test",
		Local:    []string{"example.test", "[203.0.113.25]"},
		Relay:    []string{"customer.example", "198.51.100", "10", "192.168", "IPv6:2001:db8"}, Realms: policy.Domains{Local: true, Relay: true, Names: policy.NewClass()},
	}
	want.Mode = policy.ModeShadow
	want.NATGuard = NATGuardOff
	k := &want.Checks
	k.Port.Mode, k.Port.AuthRequired = policy.ModeOff, defaultReply(t, "530 5.7.0 Log in first")
	k.Recipient.Mode = policy.ModeShadow
	k.Relay.Deny = defaultReply(t, "554 5.7.1 No relaying for {addr}")
	k.Relay.TrustAuthMech, k.Relay.LocalMailers = []string{"GSSAPI"}, []string{"local"}
	k.SenderLogin = policy.SenderLoginCheck{
		Mode: policy.ModeShadow, Allow: senderRulesOf(t, "{login}@example.test", "@customer.example", "info@example.test"),
		File: "senders.txt", Reply: defaultReply(t, "450 4.7.1 Not as {sender}"),
	}
	k.OwnSender = policy.OwnSenderCheck{
		Mode: policy.ModeEnforce, Domains: policy.Domains{Relay: true, Names: policy.NewClass("more.example")}, Hosts: policy.NewClass("lists.example"),
		Networks: prefixes("203.0.113.0/28", "2001:db8::7/128"), Reply: defaultReply(t, "450 4.7.1 Not ours"),
	}
	k.Client.Reject = defaultReply(t, "421 4.7.1 Later")
	k.RDNS.Temp.Action = policy.ActionAccept
	k.RDNS.Fail = policy.Reaction{Action: policy.ActionQuarantine, Reply: defaultReply(t, "550 5.7.25 no PTR record")}
	k.RDNS.Forged.Action = policy.ActionDiscard
	k.RDNS.Exempt.Friend = false
	want.Ports["587"] = policy.Port{Auth: policy.AuthAllow, TLS: policy.TLSAllow, Relay: policy.RelayEntitled, Checks: map[string]policy.Mode{}}
	want.Ports["25"] = policy.Port{Auth: policy.AuthRefuse, Relay: policy.RelayNone, Received: policy.ReceivedKeep, Checks: map[string]policy.Mode{"rdns": policy.ModeOff}}
	changeHeaderGrantsAndRecord(t, want)
	want.Ports["MSA"] = policy.Port{Auth: policy.AuthRequire, TLS: policy.TLSRequire, Relay: policy.RelayAuthenticated, Received: policy.ReceivedScrub}
	want.Log = Log{To: LogSyslog, Level: "debug", Format: "json"}
	if diff := cmp.Diff(want, c, sameConfig()); diff != "" {
		t.Errorf("configuration (-want +got):\n%s", diff)
	}
}

func TestLoadingAFileThatCannotBeReadSaysWhich(t *testing.T) {
	dir := t.TempDir()
	big := filepath.Join(dir, "big.yaml")
	if err := os.WriteFile(big, bytes.Repeat([]byte("# nothing\n"), maxConfig/10+1), 0o600); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		filepath.Join(dir, "none.yaml"): "no such file or directory",
		dir:                             "is a directory, expected a file",
		"/dev/zero":                     "is not a regular file",
		big:                             "expected 1048576 at most",
	} {
		_, err := Load(path)
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), path) {
			t.Errorf("Load(%s) = %v, expected %q", path, err, want)
		}
	}
	if _, err := Load(filepath.Join(dir, "none.yaml")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("Load of a missing file = %v, expected os.ErrNotExist in it", err)
	}
}

// keyPaths lists the paths of a document's keys that hold values. The modes of
// checks on a port stand for one value.
func keyPaths(n *yaml.Node, path string) []string {
	if n.Kind != yaml.MappingNode || len(n.Content) == 0 {
		return []string{path}
	}
	var paths []string
	for i := 0; i+1 < len(n.Content); i += 2 {
		paths = append(paths, keyPaths(n.Content[i+1], join(path, n.Content[i].Value))...)
	}
	return paths
}

// schemaPaths lists the paths of the keys that the decoder takes, with the given
// keys where the administrator chooses them.
func schemaPaths(t *testing.T, fields []field, path string, chosen map[string][]string) []string {
	var paths []string
	for _, f := range fields {
		at := join(path, f.name)
		switch {
		case f.value != nil:
			paths = append(paths, at)
		case f.each != nil && chosen[at] == nil:
			paths = append(paths, at)
		case f.each != nil:
			for _, key := range chosen[at] {
				entry, err := f.each(key)
				if err != nil {
					t.Fatal(err)
				}
				paths = append(paths, schemaPaths(t, entry.section, join(at, key), nil)...)
			}
		default:
			paths = append(paths, schemaPaths(t, f.section, at, chosen)...)
		}
	}
	return paths
}

func TestTheReferenceHoldsEveryKeyInTheOrderOfTheSchema(t *testing.T) {
	node, problems := document("milterd.yaml", reference)
	if problems != nil {
		t.Fatal(problems)
	}
	want := schemaPaths(t, new(Config).schema(), "", map[string][]string{"ports": {"465", "587"}})
	if diff := cmp.Diff(want, keyPaths(node, "")); diff != "" {
		t.Errorf("keys (-schema +reference):\n%s", diff)
	}
}

func TestTheReferenceNamesEveryKeyOfADNSList(t *testing.T) {
	list, err := new(Config).listSchema("bl.example")
	if err != nil {
		t.Fatal(err)
	}
	_, comment, _ := strings.Cut(string(reference), "    lists: {}")
	comment, _, _ = strings.Cut(comment, "\n")
	for _, f := range list.section {
		if !strings.Contains(comment, f.name+":") {
			t.Errorf("the comment of checks.dnsbl.lists does not name %s", f.name)
		}
	}
}

func TestEveryKeyOfTheReferenceHasACommentOnItsLine(t *testing.T) {
	for i, line := range strings.Split(string(reference), "\n") {
		key, value, isKey := strings.Cut(strings.TrimSpace(line), ":")
		if !isKey || strings.HasPrefix(key, "#") || strings.TrimSpace(value) == "" {
			continue
		}
		if _, comment, ok := strings.Cut(line, " # "); !ok || strings.TrimSpace(comment) == "" {
			t.Errorf("milterd.yaml:%d: %s has no comment", i+1, key)
		}
	}
}
