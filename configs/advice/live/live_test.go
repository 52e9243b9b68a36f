package live

import (
	"cmp"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"milterd/configs"
	"milterd/configs/sendmail"
	"milterd/integration/testkit"
	"milterd/integration/testkit/dnstest"
)

func TestTheDoctorTellsOfListsThatDoNotWork(t *testing.T) {
	page := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, "milterd_dns_list_bypassed{for=\"IPv6\",list=\"dead.example\"} 1\nmilterd_dns_list_bypassed{for=\"IPv4\",list=\"well.example\"} 0\n")
	}))
	defer page.Close()
	host, port, err := net.SplitHostPort(page.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	config, err := configs.Parse("x.yaml", []byte("listen: {http: 'inet:"+port+"@"+host+"'}\n"))
	if err != nil {
		t.Fatal(err)
	}
	findings := Lists(config)
	if len(findings) != 1 || !strings.HasPrefix(findings[0].Text, "dead.example does not work for IPv6, ") {
		t.Errorf("%v", findings)
	}
}

// TestAPortWhereNobodyCanSend demands what it does not offer: M=Ea without SASL.
func TestAPortWhereNobodyCanSend(t *testing.T) {
	for flags, want := range map[string]configs.Severity{"Ea": configs.Severe, "E": configs.Note} {
		var worst configs.Severity
		host, port, err := net.SplitHostPort(testkit.SMTP(t, "550 5.7.1 no"))
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range listenToAll(t.Context(), &sendmail.Config{Daemons: []sendmail.Daemon{{Addr: host, Port: port, Flags: flags}}}, false) {
			worst = max(worst, f.Severity)
			if f.Severity == configs.Severe && (!strings.Contains(f.Text, "none is offered") || f.Cure == "") {
				t.Errorf("M=%s: %s (%s)", flags, f, f.Cure)
			}
		}
		if worst != want {
			t.Errorf("M=%s: the worst finding is %v, want %v", flags, worst, want)
		}
	}
}

// TestAPortThatCannotBeAskedIsNoFault of it.
func TestAPortThatCannotBeAskedIsNoFault(t *testing.T) {
	host, port, err := net.SplitHostPort(testkit.Serve(t, "tcp", "127.0.0.1:0", func(conn net.Conn) {
		fmt.Fprint(conn, "421 4.3.2 Connection rate limit exceeded.\r\n")
	}))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range listenToAll(t.Context(), &sendmail.Config{Daemons: []sendmail.Daemon{{Addr: host, Port: port, Flags: "Ea"}}}, false) {
		if f.Severity != configs.Note || !strings.Contains(f.Text, "could not be asked") || !strings.Contains(f.Text, "wait a minute") {
			t.Errorf("%v", f)
		}
	}
}

// TestPortsThatRefuseConnections: it is an error only if none is left.
func TestPortsThatRefuseConnections(t *testing.T) {
	_, open, err := net.SplitHostPort(testkit.SMTP(t, "550 5.7.1 no"))
	if err != nil {
		t.Fatal(err)
	}
	for want, ports := range map[configs.Severity][]string{configs.Warning: {"1", open}, configs.Severe: {"1", "2"}} {
		cf := new(sendmail.Config)
		for _, port := range ports {
			cf.Daemons = append(cf.Daemons, sendmail.Daemon{Port: port})
		}
		var refused []configs.Finding
		for _, f := range listenToAll(t.Context(), cf, false) {
			if strings.Contains(f.Text, "connection refused; it is not running, or the load average is over RefuseLA (confREFUSE_LA)") {
				refused = append(refused, f)
			}
		}
		if slices.Contains(ports, open) != (len(refused) == 1) || len(refused) == 0 || refused[0].Severity != want || !strings.Contains(refused[0].Cure, "systemctl status sendmail") {
			t.Errorf("ports %v: %+v", ports, refused)
		}
	}
}

// TestResolversAreAsked what /etc/hosts does not know. It is an error only if none is left.
func TestResolversAreAsked(t *testing.T) {
	const ptr = "1.2.0.192.in-addr.arpa. "
	for name, c := range map[string]struct {
		lines []string
		port  string // in place of the server's
		more  string // another server at the same port
		worst configs.Severity
		want  string
	}{
		"one that answers":          {},
		"one that cannot":           {lines: []string{ptr + "SERVFAIL"}, worst: configs.Severe, want: "the resolver 127.0.0.1 does not answer (SERVFAIL)"},
		"one that will not":         {lines: []string{ptr + "REFUSED"}, worst: configs.Severe, want: "does not answer (REFUSED)"},
		"one that is silent":        {lines: []string{ptr + "TIMEOUT"}, worst: configs.Severe, want: "i/o timeout)"},
		"none":                      {port: "1", worst: configs.Severe, want: "connection refused)"},
		"one of two":                {more: "127.0.0.2", worst: configs.Warning, want: "the resolver 127.0.0.2 does not answer"},
		"one that reaches no other": {lines: []string{". SERVFAIL"}, worst: configs.Warning, want: "nothing of the root of the DNS (SERVFAIL)"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server, err := dnstest.Start(dnstest.Options{Addr: "127.0.0.1:0", Lines: c.lines})
			if err != nil {
				t.Fatal(err)
			}
			defer server.Close()
			_, port, err := net.SplitHostPort(server.Addr())
			if err != nil {
				t.Fatal(err)
			}
			servers := strings.Fields("127.0.0.1 " + c.more)
			findings := askServers(t.Context(), &dns.ClientConfig{Servers: servers, Port: cmp.Or(c.port, port)})
			if c.want == "" && len(findings) > 0 || c.want != "" && (len(findings) != 1 || findings[0].Severity != c.worst || !strings.Contains(findings[0].Text, c.want)) {
				t.Errorf("got %+v, want %s: %s", findings, c.worst, c.want)
			}
		})
	}
}
