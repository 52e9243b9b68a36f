package dovecot

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"go.uber.org/goleak"

	"milterd/integration/testkit"
	"milterd/policy/grant"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// keeper remembers who logged in.
type keeper struct {
	mu     sync.Mutex
	logins []grant.Login
	err    error
}

func (k *keeper) Login(_ context.Context, l grant.Login) (grant.Result, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.logins = append(k.logins, l)
	return grant.Result{}, k.err
}

func newServer(t testing.TB, k *keeper) *Server {
	t.Helper()
	s, err := New(Config{Granter: k, Secret: "s3cret"})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// post sends a request that has the secret to the handler.
func post(s *Server, target, body string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodPost, target, strings.NewReader(body))
	r.Header.Set("Authorization", "Bearer s3cret")
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	return w
}

func login(user, addr string) grant.Login {
	return grant.Login{Addr: netip.MustParseAddr(addr), User: user, Source: "dovecot"}
}

func diffLogins(want, got []grant.Login) string {
	return cmp.Diff(want, got, cmpopts.EquateComparable(netip.Addr{}), cmpopts.EquateEmpty())
}

// TestDovecotReports has what Dovecot 2.3.19 of Debian 12 reported of logins over POP and
// IMAP with good, bad and hostile names and passwords, and of doveadm auth test and
// doveadm auth login for other protocols; and at the end of a user with one address, a
// disabled one, two that are proxied, one that might be, and an unknown one.
func TestDovecotReports(t *testing.T) {
	text, err := os.ReadFile("testdata/dovecot-2.3.19.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	k := &keeper{}
	s := newServer(t, k)
	for body := range strings.Lines(string(text)) {
		w := post(s, "/?command=report", strings.TrimSuffix(body, "\n"))
		if w.Code != http.StatusOK || w.Body.String() != answer {
			t.Errorf("%s: answer %d %s", body, w.Code, w.Body)
		}
	}
	const forged = ", method=plain, rip=203.0.113.99, lip=127.0.0.1"
	want := []grant.Login{
		login("shin", "192.0.2.5"),
		login("shin", "2001:db8::5"),
		login("shin", "192.0.2.5"),
		login("x>"+forged+", mpid=1, session=<abc>", "192.0.2.5"),
		login("y>"+forged, "192.0.2.5"),
		login("a\nnov 22 10:00:00 pop3-login: info: login: user=<z>"+forged+", mpid=1, session=<abc>\n", "192.0.2.5"),
		login("q\"\\\x1b\x01 é \ufffd <b>", "192.0.2.5"),
		login(strings.Repeat("l", 400)+">"+forged+", mpid=1, session=<abc>", "192.0.2.5"),
		login("shin", "192.0.2.5"),
		login("good", "127.0.0.1"),
		login("pmlocal", "127.0.0.1"),
	}
	if diff := diffLogins(want, k.logins); diff != "" {
		t.Errorf("logins (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(Stats{Reports: 22, Logins: 11, Unsuccessful: 5, Ignored: 6}, s.Stats()); diff != "" {
		t.Errorf("stats (-want +got):\n%s", diff)
	}
}

func TestRequests(t *testing.T) {
	const good = `{"login":"shin","protocol":"imap","remote":"203.0.113.8","success":true,"policy_reject":false,"proxy":"no","proxy_maybe":"no","nologin":"no"}`
	granted := []grant.Login{login("shin", "203.0.113.8")}
	tests := []struct {
		name, method, target, body string
		code                       int
		want                       []grant.Login
		stats                      Stats
	}{
		{"a success is granted", "POST", "/?command=report", good, 200, granted, Stats{Reports: 1, Logins: 1}},
		{"unknown fields do not matter", "POST", "/?command=report", strings.Replace(good, "{", `{"x":[{}],"pwhash":1,`, 1), 200, granted, Stats{Reports: 1, Logins: 1}},
		{"nor do other parameters", "POST", "/?server=1&command=report", good, 200, granted, Stats{Reports: 1, Logins: 1}},
		{"a mapped address is an IPv4 address", "POST", "/?command=report", strings.Replace(good, "203", "::ffff:203", 1), 200, granted, Stats{Reports: 1, Logins: 1}},
		{"a question is no report", "POST", "/?command=allow", good, 200, nil, Stats{Allows: 1}},
		{"a failure is not granted", "POST", "/?command=report", strings.Replace(good, "true", "false", 1), 200, nil, Stats{Reports: 1, Unsuccessful: 1}},
		{"nor is a refusal by a policy", "POST", "/?command=report", strings.Replace(good, "false", "true", 1), 200, nil, Stats{Reports: 1, Unsuccessful: 1}},
		{"nor what does not say how it ended", "POST", "/?command=report", strings.Replace(good, `"success":true,`, "", 1), 200, nil, Stats{Reports: 1, Unsuccessful: 1}},
		{"nor a login over SMTP", "POST", "/?command=report", strings.Replace(good, "imap", "smtp", 1), 200, nil, Stats{Reports: 1, Ignored: 1}},
		{"nor one over nothing", "POST", "/?command=report", strings.Replace(good, `"protocol":"imap",`, "", 1), 200, nil, Stats{Reports: 1, Ignored: 1}},
		{"nor one from nowhere", "POST", "/?command=report", strings.Replace(good, "203.0.113.8", "", 1), 200, nil, Stats{Reports: 1, Ignored: 1}},
		{"nor one from a name", "POST", "/?command=report", strings.Replace(good, "203.0.113.8", "localhost", 1), 200, nil, Stats{Reports: 1, Ignored: 1}},
		{"nor one from a link", "POST", "/?command=report", strings.Replace(good, "203.0.113.8", "fe80::1%eth0", 1), 200, nil, Stats{Reports: 1, Ignored: 1}},
		{"nor one of nobody", "POST", "/?command=report", strings.Replace(good, "shin", "", 1), 200, nil, Stats{Reports: 1, Ignored: 1}},
		{"nor one of anybody", "POST", "/?command=report", strings.Replace(good, "shin", "Anonymous", 1), 200, nil, Stats{Reports: 1, Ignored: 1}},
		{"nor one that a backend is yet to check", "POST", "/?command=report", strings.Replace(good, `"proxy":"no"`, `"proxy":""`, 1), 200, nil, Stats{Reports: 1, Ignored: 1}},
		{"whatever the field says", "POST", "/?command=report", strings.Replace(good, `"proxy":"no"`, `"proxy":"y"`, 1), 200, nil, Stats{Reports: 1, Ignored: 1}},
		{"nor one that it may be", "POST", "/?command=report", strings.Replace(good, `"proxy_maybe":"no"`, `"proxy_maybe":""`, 1), 200, nil, Stats{Reports: 1, Ignored: 1}},
		{"nor one of a disabled account", "POST", "/?command=report", strings.Replace(good, `"nologin":"no"`, `"nologin":""`, 1), 200, nil, Stats{Reports: 1, Ignored: 1}},
		{"nor one that does not say whether it is a proxy's", "POST", "/?command=report", strings.Replace(good, `,"proxy":"no"`, "", 1), 200, nil, Stats{Reports: 1, Ignored: 1}},
		{"nor whether it may be", "POST", "/?command=report", strings.Replace(good, `,"proxy_maybe":"no"`, "", 1), 200, nil, Stats{Reports: 1, Ignored: 1}},
		{"nor whether the account is disabled", "POST", "/?command=report", strings.Replace(good, `,"nologin":"no"`, "", 1), 200, nil, Stats{Reports: 1, Ignored: 1}},
		{"nor in the case of a name", "POST", "/?command=report", strings.Replace(good, `"proxy"`, `"Proxy"`, 1), 200, nil, Stats{Reports: 1, Ignored: 1}},
		{"null says nothing", "POST", "/?command=report", strings.Replace(good, `"proxy":"no"`, `"proxy":null`, 1), 200, nil, Stats{Reports: 1, Ignored: 1}},
		{"a name in another case is another name", "POST", "/?command=report", strings.Replace(good, `"success":true`, `"success":false,"SUCCESS":true`, 1), 200, nil, Stats{Reports: 1, Unsuccessful: 1}},
		{"so there may be a Remote beside remote", "POST", "/?command=report", strings.Replace(good, "{", `{"Remote":"198.51.100.70",`, 1), 200, granted, Stats{Reports: 1, Logins: 1}},
		{"and behind it", "POST", "/?command=report", strings.Replace(good, "}", `,"Remote":"198.51.100.70","LOGIN":"kim","Protocol":"smtp","Policy_Reject":true}`, 1), 200, granted, Stats{Reports: 1, Logins: 1}},
		{"a Success alone is none", "POST", "/?command=report", strings.Replace(good, `"success"`, `"Success"`, 1), 200, nil, Stats{Reports: 1, Unsuccessful: 1}},
		{"a Login alone is nobody's", "POST", "/?command=report", strings.Replace(good, `"login"`, `"Login"`, 1), 200, nil, Stats{Reports: 1, Ignored: 1}},
		{"a REMOTE alone is from nowhere", "POST", "/?command=report", strings.Replace(good, `"remote"`, `"REMOTE"`, 1), 200, nil, Stats{Reports: 1, Ignored: 1}},
		{"a Kelvin sign is no k, nor a long s an s", "POST", "/?command=report", strings.Replace(good, `"success"`, `"ſuccess"`, 1), 200, nil, Stats{Reports: 1, Unsuccessful: 1}},
		{"two members of one name", "POST", "/?command=report", strings.Replace(good, "{", `{"success":false,`, 1), 400, nil, Stats{Malformed: 1}},
		{"success is a boolean", "POST", "/?command=report", strings.Replace(good, "true", `"true"`, 1), 400, nil, Stats{Malformed: 1}},
		{"one object", "POST", "/?command=report", good + good, 400, nil, Stats{Malformed: 1}},
		{"not an array of them", "POST", "/?command=report", "[" + good + "]", 400, nil, Stats{Malformed: 1}},
		{"not nothing", "POST", "/?command=report", "", 400, nil, Stats{Malformed: 1}},
		{"not too much", "POST", "/?command=report", good + strings.Repeat(" ", maxBody), 413, nil, Stats{Malformed: 1}},
		{"one command", "POST", "/?command=report&command=allow", good, 400, nil, Stats{Malformed: 1}},
		{"a known one", "POST", "/?command=Report", good, 400, nil, Stats{Malformed: 1}},
		{"at least one", "POST", "/", good, 400, nil, Stats{Malformed: 1}},
		{"in a query that can be read", "POST", "/?command=report&%zz", good, 400, nil, Stats{Malformed: 1}},
		{"another path", "POST", "/report?command=report", good, 404, nil, Stats{Malformed: 1}},
		{"a browser", "GET", "/", "", 405, nil, Stats{Malformed: 1}},
		{"another method", "PUT", "/?command=report", good, 405, nil, Stats{Malformed: 1}},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			k := &keeper{}
			s := newServer(t, k)
			r := httptest.NewRequest(tc.method, tc.target, strings.NewReader(tc.body))
			r.Header.Set("Authorization", "Bearer s3cret")
			w := httptest.NewRecorder()
			s.ServeHTTP(w, r)
			if w.Code != tc.code {
				t.Errorf("answer %d %s, want %d", w.Code, w.Body, tc.code)
			}
			if tc.code == 200 && w.Body.String() != answer {
				t.Errorf("answer %s, want %s", w.Body, answer)
			}
			if diff := diffLogins(tc.want, k.logins); diff != "" {
				t.Errorf("logins (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(tc.stats, s.Stats()); diff != "" {
				t.Errorf("stats (-want +got):\n%s", diff)
			}
		})
	}
}

func TestSecret(t *testing.T) {
	tests := []struct {
		name   string
		header http.Header
		ok     bool
	}{
		{"the secret", http.Header{"Authorization": {"Bearer s3cret"}}, true},
		{"none", nil, false},
		{"empty", http.Header{"Authorization": {""}}, false},
		{"another", http.Header{"Authorization": {"Bearer s3cres"}}, false},
		{"a part of it", http.Header{"Authorization": {"Bearer s3cre"}}, false},
		{"more than it", http.Header{"Authorization": {"Bearer s3crett"}}, false},
		{"two of them", http.Header{"Authorization": {"Bearer guess", "Bearer s3cret"}}, false},
		{"in another field", http.Header{"X-Api-Key": {"Bearer s3cret"}}, false},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			k, log := &keeper{}, &bytes.Buffer{}
			s, err := New(Config{Granter: k, Secret: "s3cret", Logger: slog.New(slog.NewTextHandler(log, nil))})
			if err != nil {
				t.Fatal(err)
			}
			codes := make(map[int]int)
			for range 3 {
				r := httptest.NewRequest("POST", "/?command=report", strings.NewReader(`{"login":"shin","protocol":"imap","remote":"203.0.113.8","success":true,"proxy":"no","proxy_maybe":"no","nologin":"no"}`))
				r.Header = tc.header.Clone()
				w := httptest.NewRecorder()
				s.ServeHTTP(w, r)
				codes[w.Code]++
			}
			want, stats, lines := map[int]int{403: 3}, Stats{Forbidden: 3}, 1
			if tc.ok {
				want, stats, lines = map[int]int{200: 3}, Stats{Reports: 3, Logins: 3}, 0
			}
			if diff := cmp.Diff(want, codes); diff != "" {
				t.Errorf("answers (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(stats, s.Stats()); diff != "" {
				t.Errorf("stats (-want +got):\n%s", diff)
			}
			if n := strings.Count(log.String(), "\n"); n != lines || strings.Contains(log.String(), "s3cre") {
				t.Errorf("%d log lines, want %d, without secrets:\n%s", n, lines, log)
			}
		})
	}
}

// TestWarningOfAttributes has reports of an older dovecot.conf: the log tells the line that
// it lacks, and not for each of them. A proxy's report is no reason for that.
func TestWarningOfAttributes(t *testing.T) {
	const report = `{"login":"shin","protocol":"imap","remote":"203.0.113.8","success":true`
	for _, tc := range []struct {
		name, rest string
		warnings   int
	}{
		{"the default attributes", `}`, 1},
		{"some", `,"proxy":"no","nologin":"no"}`, 1},
		{"all", `,"proxy":"no","proxy_maybe":"no","nologin":"no"}`, 0},
		{"a proxy", `,"proxy":"","proxy_maybe":"no","nologin":"no"}`, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			log := &testkit.Log{}
			s, err := New(Config{Granter: &keeper{}, Secret: "s3cret", Logger: slog.New(slog.NewTextHandler(log, nil))})
			if err != nil {
				t.Fatal(err)
			}
			warnings := func() int { return strings.Count(log.String(), "proxy_maybe=%{passdb:proxy_maybe:no}") }
			for range 3 {
				post(s, "/?command=report", report+tc.rest)
			}
			if n := warnings(); n != tc.warnings {
				t.Errorf("%d warnings, want %d:\n%s", n, tc.warnings, log)
			}
			s.warned.Add(-int64(time.Hour / time.Second))
			post(s, "/?command=report", report+tc.rest)
			if n := warnings(); n != 2*tc.warnings {
				t.Errorf("an hour later %d warnings, want %d:\n%s", n, 2*tc.warnings, log)
			}
		})
	}
}

func TestFailuresOfTheGranterAreNotDovecots(t *testing.T) {
	k := &keeper{err: errors.New("no store")}
	s := newServer(t, k)
	w := post(s, "/?command=report", `{"login":"shin","protocol":"pop3","remote":"203.0.113.8","success":true,"proxy":"no","proxy_maybe":"no","nologin":"no"}`)
	if w.Code != 200 || w.Body.String() != answer {
		t.Errorf("answer %d %s", w.Code, w.Body)
	}
	if diff := cmp.Diff(Stats{Reports: 1, Logins: 1, Failed: 1}, s.Stats()); diff != "" {
		t.Errorf("stats (-want +got):\n%s", diff)
	}
}

func TestNewRefuses(t *testing.T) {
	for _, c := range []Config{{Granter: &keeper{}}, {Secret: "s3cret"}} {
		if _, err := New(c); err == nil || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%+v: %v", c, err)
		}
	}
}

// serve runs the server on a listener; stop ends it and returns what Serve returned.
func serve(t *testing.T, s *Server, ln net.Listener) (stop func() error) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, ln) }()
	stop = sync.OnceValue(func() error { cancel(); return <-done })
	t.Cleanup(func() { _ = stop() })
	return stop
}

func TestServe(t *testing.T) {
	listeners := map[string]func(t *testing.T) net.Listener{
		"loopback": func(t *testing.T) net.Listener { return listen(t, "tcp", "127.0.0.1:0") },
		"IPv6":     func(t *testing.T) net.Listener { return listen(t, "tcp", "[::1]:0") },
		"unix":     func(t *testing.T) net.Listener { return listen(t, "unix", filepath.Join(t.TempDir(), "s")) },
	}
	for name, open := range listeners {
		t.Run(name, func(t *testing.T) {
			k := &keeper{}
			s, ln := newServer(t, k), open(t)
			stop := serve(t, s, ln)
			transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				return (&net.Dialer{}).DialContext(ctx, ln.Addr().Network(), ln.Addr().String())
			}}
			defer transport.CloseIdleConnections()
			client := &http.Client{Transport: transport, Timeout: 30 * time.Second}
			for range 2 {
				r, err := http.NewRequest("POST", "http://milterd/?command=report", strings.NewReader(`{"login":"shin","protocol":"imap","remote":"2001:db8::8","success":true,"proxy":"no","proxy_maybe":"no","nologin":"no"}`))
				if err != nil {
					t.Fatal(err)
				}
				r.Header.Set("Authorization", "Bearer s3cret")
				w, err := client.Do(r)
				if err != nil {
					t.Fatal(err)
				}
				body, err := io.ReadAll(w.Body)
				w.Body.Close()
				if err != nil || w.StatusCode != 200 || string(body) != answer || w.Header.Get("Content-Type") != "application/json" {
					t.Errorf("answer %v %s %v", w, body, err)
				}
			}
			if err := stop(); err != nil {
				t.Errorf("Serve: %v", err)
			}
			if diff := diffLogins([]grant.Login{login("shin", "2001:db8::8"), login("shin", "2001:db8::8")}, k.logins); diff != "" {
				t.Errorf("logins (-want +got):\n%s", diff)
			}
			if _, err := net.Dial(ln.Addr().Network(), ln.Addr().String()); err == nil {
				t.Error("it still listens")
			}
		})
	}
}

func listen(t *testing.T, network, address string) net.Listener {
	t.Helper()
	ln, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	return ln
}

func TestServeRefusesTheNetwork(t *testing.T) {
	s := newServer(t, &keeper{})
	ln := listen(t, "tcp", "0.0.0.0:0")
	err := s.Serve(t.Context(), ln)
	if err == nil || !strings.Contains(err.Error(), "is not a loopback address") {
		t.Errorf("Serve on %v: %v", ln.Addr(), err)
	}
	if _, err := ln.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("the listener is not closed: %v", err)
	}
}

func TestServeReportsAListenerThatFails(t *testing.T) {
	ln := listen(t, "tcp", "127.0.0.1:0")
	ln.Close()
	if err := newServer(t, &keeper{}).Serve(t.Context(), ln); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Serve: %v", err)
	}
}

// FuzzPolicyRequest holds that whatever is posted is answered, and granted only where it
// says that a login over IMAP or POP succeeded.
func FuzzPolicyRequest(f *testing.F) {
	text, err := os.ReadFile("testdata/dovecot-2.3.19.jsonl")
	if err != nil {
		f.Fatal(err)
	}
	for body := range strings.Lines(string(text)) {
		f.Add("command=report", body)
		f.Add("command=allow", body)
	}
	f.Add("command=report&command=allow", `{"success":true,"Success":false,"remote":"::1%x"}`)
	f.Fuzz(func(t *testing.T, query, body string) {
		k := &keeper{}
		s := newServer(t, k)
		r := httptest.NewRequest("POST", "/", strings.NewReader(body))
		r.URL.RawQuery = query
		r.Header.Set("Authorization", "Bearer s3cret")
		w := httptest.NewRecorder()
		s.ServeHTTP(w, r)
		if (w.Code == 200) != (w.Body.String() == answer) || w.Code != 200 && w.Code != 400 && w.Code != 413 {
			t.Errorf("answer %d %s", w.Code, w.Body)
		}
		for _, l := range k.logins {
			if !l.Addr.IsValid() || l.Addr.Is4In6() || l.Addr.Zone() != "" || l.User == "" || l.Source != Source {
				t.Errorf("%s grants %+v", body, l)
			}
			var fields map[string]any
			if err := json.Unmarshal([]byte(body), &fields); err != nil {
				t.Errorf("%s is not a JSON object and grants %+v", body, l)
			}
			if !strings.Contains(strings.ToLower(body), "true") {
				t.Errorf("%s says nothing of a success and grants %+v", body, l)
			}
		}
	})
}
