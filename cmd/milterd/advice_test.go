package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"milterd/configs"
	"milterd/configs/sendmail"
	"milterd/integration/probe"
)

// directory holds files.
func directory(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestTheExitStatusOfTheDoctorIsTheWorstFinding(t *testing.T) {
	f := func(s configs.Severity) configs.Finding { return configs.Finding{Severity: s} }
	for want, findings := range map[int][]configs.Finding{
		0: {f(configs.Note)}, 1: {f(configs.Note), f(configs.Warning)}, 2: {f(configs.Severe), f(configs.Warning)},
	} {
		if got := gravity(findings); got != want {
			t.Errorf("%v: %d, expected %d", findings, got, want)
		}
	}
}

func TestTheDoctorTellsThatMilterdDoesNotAnswer(t *testing.T) {
	dir := directory(t, map[string]string{
		"sendmail.cf": "Sparse=0\nO InputMailFilters=milterd\nXmilterd, S=local:/nowhere/s, F=T\nC{TrustAuthMech}PLAIN\nO PrivacyOptions=goaway\nKaccess hash " + "access\n",
		"access":      "", "access.db": "",
		"milterd.yaml": "sendmail: {cf: sendmail.cf}\nlisten: {milter: 'local:/nowhere/s', map: []}\naccess: {file: access}\n",
	})
	var stdout, stderr bytes.Buffer
	code := run([]string{"-doctor", "-offline", "-json", "-config", filepath.Join(dir, "milterd.yaml")}, &stdout, &stderr)
	var findings []struct{ Severity, File, Text, Cure string }
	if err := json.Unmarshal(stdout.Bytes(), &findings); err != nil {
		t.Fatalf("%v in %q, %q", err, stdout.String(), stderr.String())
	}
	if code != exitErrors || len(findings) != 1 || findings[0].Severity != "error" || !strings.Contains(findings[0].Text, "filter door local:/nowhere/s: ") {
		t.Errorf("exit status %d: %+v", code, findings)
	}
}

// smtp is a server that refuses recipients, or takes them all; it ends with the test.
func smtp(t *testing.T, rcpt string) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			talk(conn, rcpt)
		}
	}()
	t.Cleanup(func() { _ = ln.Close(); <-done })
	return ln.Addr().String()
}

func talk(conn net.Conn, rcpt string) {
	defer conn.Close()
	fmt.Fprint(conn, "220 mx.example.test ESMTP\r\n")
	buffer := make([]byte, 4096)
	for {
		n, err := conn.Read(buffer)
		verb, _, _ := strings.Cut(strings.TrimSpace(string(buffer[:n])), " ")
		reply := map[string]string{"EHLO": "250 mx.example.test", "MAIL": "250 ok", "RSET": "250 ok", "RCPT": rcpt}[verb]
		if reply == "" {
			reply = "502 5.5.1 unknown"
		}
		if err != nil || verb == "QUIT" {
			return
		}
		fmt.Fprint(conn, reply+"\r\n")
	}
}

func TestTheExitStatusOfTheProbe(t *testing.T) {
	for _, c := range []struct {
		name, target string
		code         int
		says         string
	}{
		{"a server that takes everything", smtp(t, "250 ok"), exitRelays, "RELAYS"},
		{"a port where none is", "127.0.0.1:1", exitUnknown, "UNKNOWN"},
		{"an address that may be somebody else's", "203.0.113.25:25", exitUnknown, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			var stdout, stderr bytes.Buffer
			o := &options{probe: probeOptions{Options: probe.Options{Targets: []string{c.target}, Delay: time.Microsecond}}}
			if code := runProbe(o, &stdout, &stderr); code != c.code || !strings.Contains(stdout.String(), c.says) {
				t.Errorf("exit status %d, expected %d\n%s%s", code, c.code, stdout.String(), stderr.String())
			}
		})
	}
}

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
	findings := bypassed(config)
	if len(findings) != 1 || !strings.HasPrefix(findings[0].Text, "dead.example does not work for IPv6, ") {
		t.Errorf("%v", findings)
	}
}

// TestAPortWhereNobodyCanSend demands what it does not offer: M=Ea without SASL.
func TestAPortWhereNobodyCanSend(t *testing.T) {
	for flags, want := range map[string]configs.Severity{"Ea": configs.Severe, "E": configs.Note} {
		var worst configs.Severity
		host, port, err := net.SplitHostPort(smtp(t, "550 5.7.1 no"))
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range listenToAll(t.Context(), &sendmail.Config{Daemons: []sendmail.Daemon{{Addr: host, Port: port, Flags: flags}}}) {
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

// TestPortsThatRefuseConnections: it is an error only if none is left.
func TestPortsThatRefuseConnections(t *testing.T) {
	_, open, err := net.SplitHostPort(smtp(t, "550 5.7.1 no"))
	if err != nil {
		t.Fatal(err)
	}
	for want, ports := range map[configs.Severity][]string{configs.Warning: {"1", open}, configs.Severe: {"1", "2"}} {
		cf := new(sendmail.Config)
		for _, port := range ports {
			cf.Daemons = append(cf.Daemons, sendmail.Daemon{Port: port})
		}
		var refused []configs.Finding
		for _, f := range listenToAll(t.Context(), cf) {
			if strings.Contains(f.Text, "connection refused; it is not running, or the load average is over RefuseLA (confREFUSE_LA)") {
				refused = append(refused, f)
			}
		}
		if slices.Contains(ports, open) != (len(refused) == 1) || len(refused) == 0 || refused[0].Severity != want || !strings.Contains(refused[0].Cure, "systemctl status sendmail") {
			t.Errorf("ports %v: %+v", ports, refused)
		}
	}
}

func TestAMessageIsJudged(t *testing.T) {
	dir := directory(t, map[string]string{
		"telling": "Received: from laptop.lan (laptop.lan [192.168.0.7]) by mx.example.test (8.17.1/8.17.1); Sat, 28 Nov 2026 00:00:00 GMT\n\nx\n",
		"silent":  "Received: from SMTP by mx.example.test (SMTP server); Sat, 28 Nov 2026 00:00:00 GMT\n\nx\n",
	})
	for name, want := range map[string]int{"telling": exitRelays, "silent": exitOK, "none": exitUnknown} {
		var stdout, stderr bytes.Buffer
		if code := run([]string{"-probe", "-domain", "mx.example.test", "-judge", filepath.Join(dir, name)}, &stdout, &stderr); code != want {
			t.Errorf("%s: exit status %d, expected %d\n%s%s", name, code, want, stdout.String(), stderr.String())
		}
	}
}
