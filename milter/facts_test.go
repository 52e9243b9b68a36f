package milter

import (
	"net/netip"
	"strings"
	"testing"

	gomilter "github.com/d--j/go-milter"
	"github.com/google/go-cmp/cmp"

	"milterd/policy"
)

func TestFactsReachThePolicy(t *testing.T) {
	ts := serve(t, Config{})
	macros := bag(map[string]string{
		"{client_name}": "mx.good.example", "{client_ptr}": "mx.good.example", "{client_resolve}": "OK",
		"{daemon_name}": "MTA-v4", "{daemon_port}": "25", "{daemon_addr}": "203.0.113.25", "{daemon_flags}": "EE a",
		"{verify}": "NONE",
	})
	c, err := gomilter.NewClient("unix", ts.addr).Session(macros)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()

	action, err := c.Conn("mx.good.example", gomilter.FamilyInet, 40112, "203.0.113.8")
	want(t, "CONNECT", action, err, "continue")
	action, err = c.Helo("mx.good.example")
	want(t, "HELO", action, err, "continue")
	for name, value := range map[string]string{
		"{tls_version}": "TLSv1.3", "{cipher}": "TLS_AES_256_GCM_SHA384", "{cipher_bits}": "256", "{verify}": "OK",
		"{cert_subject}": "/CN=mx", "{cert_issuer}": "/CN=ca",
	} {
		macros.Set(name, value)
	}
	action, err = c.Helo("mx.good.example")
	want(t, "HELO after STARTTLS", action, err, "continue")
	for name, value := range map[string]string{
		"i": "5AMEPfGV012345", "{auth_type}": "PLAIN", "{auth_authen}": "shin@example.test", "{auth_author}": "shin", "{auth_ssf}": "256",
		"{mail_mailer}": "esmtp", "{mail_host}": "good.example.", "{mail_addr}": "a@good.example",
	} {
		macros.Set(name, value)
	}
	action, err = c.Mail("a@good.example", "SIZE=1000 BODY=8BITMIME")
	want(t, "MAIL", action, err, "continue")
	macros.Set("{rcpt_mailer}", "local")
	macros.Set("{rcpt_addr}", "shin")
	action, err = c.Rcpt("shin@our.example", "NOTIFY=NEVER")
	want(t, "RCPT", action, err, "continue")
	macros.Set("{rcpt_mailer}", "esmtp")
	macros.Set("{rcpt_host}", "other.example.")
	macros.Set("{rcpt_addr}", "x@other.example")
	action, err = c.Rcpt("x@other.example", "")
	want(t, "second RCPT", action, err, "continue")
	_, action = end(t, c)
	want(t, "end of message", action, nil, "accept")

	expectNotes(t, ts.script,
		policy.Connection{
			Addr: netip.MustParseAddr("203.0.113.8"), Port: 40112, Name: "mx.good.example", PTR: "mx.good.example", Resolve: "OK",
			DaemonName: "MTA-v4", DaemonPort: 25, DaemonAddr: "203.0.113.25", DaemonFlags: "EE a",
		},
		heloNote{Name: "mx.good.example"},
		heloNote{"mx.good.example", policy.TLS{
			Version: "TLSv1.3", Cipher: "TLS_AES_256_GCM_SHA384", Bits: 256, Verify: "OK", CertSubject: "/CN=mx", CertIssuer: "/CN=ca",
		}},
		mailNote{
			policy.Auth{Type: "PLAIN", Authen: "shin@example.test", Author: "shin", SSF: 256},
			policy.Mail{From: "a@good.example", Args: []string{"SIZE=1000", "BODY=8BITMIME"}, Mailer: "esmtp", Host: "good.example.", Addr: "a@good.example"},
		},
		policy.Recipient{To: "shin@our.example", Args: []string{"NOTIFY=NEVER"}, Mailer: "local", Addr: "shin"},
		policy.Recipient{To: "x@other.example", Mailer: "esmtp", Host: "other.example.", Addr: "x@other.example"},
		endNote{},
	)

	// The client logs out, as it were: another message in the same connection.
	for _, name := range []string{"{auth_type}", "{auth_authen}", "{auth_author}", "{auth_ssf}"} {
		macros.Set(name, "")
	}
	action, err = c.Mail("", "")
	want(t, "second MAIL", action, err, "continue")
	expectNotes(t, ts.script,
		abortNote{},
		mailNote{Mail: policy.Mail{Mailer: "esmtp", Host: "good.example.", Addr: "a@good.example"}},
	)
	for _, line := range []string{
		"msg=accept queue=5AMEPfGV012345 client=203.0.113.8 name=mx.good.example daemon=MTA-v4 daemon_port=25 " +
			`helo=mx.good.example auth=PLAIN:shin@example.test from=a@good.example to="shin@our.example x@other.example"`,
	} {
		if !strings.Contains(ts.log.String(), line) {
			t.Errorf("the log does not hold %q:\n%s", line, ts.log.String())
		}
	}
}

func TestALoginOfEachMTA(t *testing.T) {
	for _, test := range []struct{ version, authen, want string }{
		{"8.17.1.9", "bos+73", "boss"},
		{"", "bos+73", "boss"},
		{"Postfix 3.7.11", "bos+73", "bos+73"},
		{"Postfix 3.7.11", "shin=a@example.test", "shin=a@example.test"},
	} {
		macros := gomilter.NewMacroBag()
		macros.Set("v", test.version)
		macros.Set("{auth_authen}", test.authen)
		if got := authState(macros).Login(); got != test.want {
			t.Errorf("%q of %q: the login is %q, want %q", test.authen, test.version, got, test.want)
		}
	}
}

func TestConnectFacts(t *testing.T) {
	v4, v6 := netip.MustParseAddr("203.0.113.8"), netip.MustParseAddr("2001:db8::8")
	tests := []struct {
		name   string
		macros map[string]string
		host   string
		family gomilter.ProtoFamily
		addr   string
		want   policy.Connection
	}{
		{"an IPv6 client", nil, "mx6.example", gomilter.FamilyInet6, "2001:db8::8",
			policy.Connection{Addr: v6, Port: 25, Name: "mx6.example"}},
		{"an IPv4 client on an IPv6 socket", nil, "mx.example", gomilter.FamilyInet6, "::ffff:203.0.113.8",
			policy.Connection{Addr: v4, Port: 25, Name: "mx.example"}},
		{"a local submission has no address", nil, "localhost", gomilter.FamilyUnknown, "",
			policy.Connection{Name: "localhost"}},
		{"a unix socket is no address", nil, "localhost", gomilter.FamilyUnix, "/run/x",
			policy.Connection{Name: "localhost"}},
		{"a client that the MTA cannot name the family of keeps its address", map[string]string{"{client_addr}": "IPv6:2001:db8:0:0:0:0:0:8"}, "localhost", gomilter.FamilyUnknown, "",
			policy.Connection{Addr: v6, Name: "localhost"}},
		{"sendmail's 0 is no address", map[string]string{"{client_addr}": "0"}, "localhost", gomilter.FamilyUnknown, "",
			policy.Connection{Name: "localhost"}},
		{"an address with a zone, which no client has", map[string]string{"{client_addr}": "fe80::1%eth0"}, "localhost", gomilter.FamilyUnknown, "",
			policy.Connection{Addr: netip.MustParseAddr("fe80::1"), Name: "localhost"}},
		{"{client_name} is better than the host argument",
			map[string]string{"{client_name}": "[203.0.113.8]", "{client_ptr}": "liar.example", "{client_resolve}": "FORGED"},
			"liar.example", gomilter.FamilyInet, "203.0.113.8",
			policy.Connection{Addr: v4, Port: 25, Name: "[203.0.113.8]", PTR: "liar.example", Resolve: policy.ResolveForged}},
		{"an unknown {client_resolve} is none", map[string]string{"{client_resolve}": "MAYBE"}, "mx.example", gomilter.FamilyInet, "203.0.113.8",
			policy.Connection{Addr: v4, Port: 25, Name: "mx.example"}},
		{"a {daemon_port} that is no port is none", map[string]string{"{daemon_port}": "70000"}, "mx.example", gomilter.FamilyInet, "203.0.113.8",
			policy.Connection{Addr: v4, Port: 25, Name: "mx.example"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			ts := serve(t, Config{})
			c := client(t, ts.addr, tt.macros)
			begin(t, c, tt.host, tt.family, tt.addr)
			// CONNECT and HELO have no answer to wait for, MAIL has.
			action, err := c.Mail("", "")
			want(t, "MAIL", action, err, "continue")
			if diff := cmp.Diff(any(tt.want), ts.script.taken()[0], cmp.Comparer(sameAddr)); diff != "" {
				t.Errorf("facts (-want +got):\n%s", diff)
			}
		})
	}
}

// TestAClientThatIsNotKnownIsNoLocalSubmission: a local submission may relay.
func TestAClientThatIsNotKnownIsNoLocalSubmission(t *testing.T) {
	for _, family := range []gomilter.ProtoFamily{gomilter.FamilyUnknown, gomilter.FamilyUnix} {
		for _, addr := range []string{"unknown", "[UNIX: /run/x]", "203.0.113", "203.0.113.8 ", "IPv6:", "00", "0.0.0"} {
			ts := serve(t, Config{})
			c := client(t, ts.addr, map[string]string{"{client_addr}": addr})
			begin(t, c, "localhost", family, "x")
			action, err := c.Mail("a@good.example", "")
			want(t, "MAIL", action, err, "451 4.3.0 Temporary system failure. Please try again later")
			if told := ts.script.taken(); len(told) > 0 || !ts.log.Has("the facts of this connection are not known") {
				t.Errorf("family %c, {client_addr} %q: the policy is told %v\n%s", family, addr, told, ts.log)
			}
		}
	}
}

func TestTLSThatBeginsAfterTheLastHELOIsSeenAtMAIL(t *testing.T) {
	ts := serve(t, Config{})
	macros := bag(nil)
	c, err := gomilter.NewClient("unix", ts.addr).Session(macros)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	begin(t, c, "one.example", gomilter.FamilyInet, "203.0.113.8")
	macros.Set("{tls_version}", "TLSv1.3")
	action, err := c.Mail("a@one.example", "")
	want(t, "MAIL", action, err, "continue")
	expectNotes(t, ts.script,
		policy.Connection{Addr: netip.MustParseAddr("203.0.113.8"), Port: 25, Name: "one.example"},
		heloNote{Name: "one.example"},
		heloNote{Name: "one.example", TLS: policy.TLS{Version: "TLSv1.3"}},
		mailNote{Mail: policy.Mail{From: "a@one.example"}},
	)
}
