package dovecot

import (
	"context"
	"fmt"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"pgregory.net/rapid"

	"milterd/integration/testkit"
	"milterd/policy/grant"
)

// reported makes one request over connection i. A login that it reports is added.
func reported(rt *rapid.T, i int, logins *[]grant.Login) testkit.Request {
	post := func(secret, query, body string, status int) testkit.Request {
		return testkit.Request{Method: "POST", Status: status, Text: fmt.Sprintf(
			"POST /%s HTTP/1.1\r\nHost: milterd\r\nAuthorization: Bearer %s\r\nContent-Length: %d\r\n\r\n%s", query, secret, len(body), body)}
	}
	user, addr := fmt.Sprintf("user%d", i), fmt.Sprintf("203.0.113.%d", rapid.IntRange(1, 250).Draw(rt, "address"))
	report := fmt.Sprintf(`{"login":%q,"protocol":"imap","remote":%q,"success":true,"proxy":"no","proxy_maybe":"no","nologin":"no"}`, user, addr)
	switch rapid.IntRange(0, 9).Draw(rt, "request") {
	case 0, 1, 2, 3:
		*logins = append(*logins, login(user, addr))
		return post("s3cret", "?command=report", report, 200)
	case 4:
		return post("s3cret", "?command=allow", report, 200)
	case 5:
		return post("s3cret", "?command=report", strings.Replace(report, "true", "false", 1), 200)
	case 6:
		return post("s3cret", "?command=report", report[:len(report)-1], 400)
	case 7:
		return post("s3cret", "?command=report&command=allow", report, 400)
	case 8:
		return post("s3cret", "report", report, 404)
	}
	return post("s3cret", "?command=report", strings.Replace(report, "imap", "smtp", 1), 200)
}

// TestAnyConversation has several clients say anything in any pieces at once. Each request
// has its own answer, in order, or the connection ends; what comes without the secret
// ends it; and the logins are those that were reported, and no others.
func TestAnyConversation(t *testing.T) {
	testkit.Rounds(t, 30)
	k := &keeper{}
	s := newServer(t, k)
	ln, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- s.Serve(ctx, ln) }()
	t.Cleanup(func() {
		cancel()
		if err := <-served; err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	rapid.Check(t, func(rt *rapid.T) {
		var running sync.WaitGroup
		want, errs := make([][]grant.Login, 4), make([]error, 4)
		for i := range errs {
			label := fmt.Sprint("connection ", i)
			requests := testkit.Requests(rt, label, func(rt *rapid.T) testkit.Request { return reported(rt, i, &want[i]) })
			if rapid.Bool().Draw(rt, label+" stranger") {
				// What follows is not read: it could not come from Dovecot.
				stranger := testkit.Request{Method: "POST", Status: 403, Text: fmt.Sprintf(
					"POST /?command=report HTTP/1.1\r\nHost: milterd\r\nAuthorization: Bearer guess\r\nContent-Length: %d\r\n\r\n%s", len(loginReport), loginReport)}
				want[i], requests = nil, append([]testkit.Request{stranger}, requests...)
			}
			pieces := rapid.SliceOfN(rapid.IntRange(1, 100), 0, 6).Draw(rt, label+" pieces")
			running.Go(func() {
				conn, err := net.Dial("unix", ln.Addr().String())
				if err == nil {
					err = testkit.Talk(conn, requests, pieces)
				}
				errs[i] = err
			})
		}
		running.Wait()
		for i, err := range errs {
			if err != nil {
				rt.Errorf("connection %d: %v", i, err)
			}
		}
		k.mu.Lock()
		defer k.mu.Unlock()
		for i := range want {
			var got []grant.Login
			for _, l := range k.logins {
				if l.User == fmt.Sprintf("user%d", i) {
					got = append(got, l)
				}
			}
			if diff := diffLogins(want[i], got); diff != "" {
				rt.Errorf("connection %d, logins (-want +got):\n%s", i, diff)
			}
		}
		if n := len(slices.Concat(want...)); n != len(k.logins) {
			rt.Errorf("%d logins, expected %d", len(k.logins), n)
		}
		k.logins = nil
	})
}
