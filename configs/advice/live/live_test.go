package live

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"milterd/configs"
	"milterd/configs/sendmail"
	"milterd/integration/testkit"
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
