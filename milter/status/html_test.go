package status

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/net/html"

	"milterd/integration/testkit"
	"milterd/milter/door"
	"milterd/milter/tally"
	"milterd/policy"
	"milterd/policy/limits"
)

// noon is the moment of the pages.
var noon = time.Date(2026, 11, 27, 12, 0, 0, 0, time.UTC)

// mixed is an hour of mixed traffic, of so many lines.
func mixed(lines int) *tally.Tally {
	counted := tally.New(noon.AddDate(0, 0, -3))
	for d := range 3 {
		for i := range 3 {
			counted.Add(noon.AddDate(0, 0, d-3), &door.Line{Action: policy.ActionAccept, Auth: policy.Auth{Authen: fmt.Sprintf("hanako%d", i)}, From: "a@good.example", Recipients: 5 + 20*i})
		}
	}
	no := policy.Reply{Code: 550, Enhanced: "5.7.1", Text: "Access denied"}
	for i := range lines {
		line := door.Line{
			Action: policy.ActionAccept, Queue: fmt.Sprintf("6ARNe%07d", i), Helo: "mail.good.example", From: fmt.Sprintf("user%d@good.example", i%17), To: "shin@example.test",
			Client: policy.Connection{Addr: netip.AddrFrom4([4]byte{203, 0, 113, byte(i % 29)}), Name: fmt.Sprintf("mx%d.good.example", i%29), Resolve: policy.ResolveOK},
		}
		switch {
		case i%11 == 0:
			line.Action, line.Stage, line.Check, line.Rule = policy.ActionReject, policy.StageRcpt, "relay", "checks.relay.deny"
			line.Reply, line.Reason, line.To = "550 5.7.1 Relaying denied", "other.example is not ours, and nothing entitles 203.0.113.5 to relay", "x@other.example"
		case i%13 == 0:
			line.Action, line.Stage, line.Check, line.Rule = policy.ActionTempfail, policy.StageMail, "rdns", "checks.rdns.temp"
			line.Reply, line.Reason, line.To = "450 4.7.25 Cannot resolve your address", "the PTR look-up failed for now", ""
		case i%17 == 0:
			line.Action, line.Stage, line.Check, line.Rule, line.Auth = policy.ActionTempfail, policy.StageRcpt, "limits", "limits.rules.logins", policy.Auth{Type: "PLAIN", Authen: "hanako1"}
			line.Reply = "451 4.7.1 Too much mail (limit 200/1h). Please try again in 18 seconds"
		case i%19 == 0:
			line.Action, line.Door, line.Stage, line.Reply, line.Rule = policy.ActionReject, "map", policy.StageRcpt, "550 5.7.1 Access denied", "/etc/mail/access:7: connect:203.0.113 REJECT"
		case i%23 == 0:
			line.Action, line.Door, line.Stage, line.Check, line.Reply = policy.ActionReject, "map", policy.StageRcpt, "relay", "550 5.7.1 Relaying denied"
		case i%7 == 0:
			line.Auth = policy.Auth{Type: "PLAIN", Authen: fmt.Sprintf("hanako%d", i%3)}
			line.Relay = "authenticated with PLAIN"
		case i%5 == 0:
			line.Client.Name, line.From = fmt.Sprintf("dyn-%d.pool.isp.example", i), "offer@spam.example"
			line.Shadow = []policy.Shadow{{Action: policy.ActionReject, Reply: no, Check: "dnsbl", Rule: "checks.dnsbl.lists.zen.example", Reason: "listed by zen.example (127.0.0.4)"}}
		}
		if i%9 == 0 && line.Shadow == nil && line.Action == policy.ActionAccept {
			line.Shadow = []policy.Shadow{{Action: policy.ActionReject, Reply: no, Check: "client", Rule: "access:3: Connect:203.0.113 REJECT", Reason: "the table has an entry"}}
		}
		counted.Add(noon.Add(-time.Duration(lines-i)*time.Hour/time.Duration(lines)), &line)
	}
	return counted
}

// hostile has markup in all that a peer can send.
func hostile() *tally.Tally {
	return saying(`"><script>alert(1)</script><img src=x onerror=alert(1)>&{{.}}`)
}

// saying has a text in all that a peer can send.
func saying(markup string) *tally.Tally {
	counted := tally.New(noon.Add(-time.Hour))
	counted.Add(noon, &door.Line{
		Action: policy.ActionAccept, Queue: markup, Helo: markup, Auth: policy.Auth{Authen: markup}, From: markup + "@" + markup, To: markup + "@x",
		Client: policy.Connection{Addr: netip.MustParseAddr("203.0.113.66"), Name: markup, PTR: "p" + markup},
		Reply:  markup, Reason: markup, Rule: markup, Edits: markup, Relay: markup,
		Shadow: []policy.Shadow{{Action: policy.ActionReject, Check: markup, Rule: markup, Reason: "\x1b[31m\x00" + markup}},
	})
	counted.Add(noon, &door.Line{Action: policy.ActionReject, Stage: policy.StageRcpt, Check: markup, To: markup})
	return counted
}

// stopping has a page tell of some that are stopped, with a text in their names.
func stopping(page Page, text string) Page {
	made := page.Report
	page.Report = func() *Report {
		r := made()
		near := []limits.Near{
			{Limit: "logins", By: policy.ByLogin, Key: "hanako1" + text, Rate: "200/1h", Used: 200, Of: 200, Since: noon.Add(-20 * time.Minute), Refused: 4321},
			{Limit: "day", By: policy.ByLogin, Key: "hanako2@mx.example.test", Rate: "1000/24h", Used: 1000, Of: 1000, Since: noon.Add(-time.Minute), Refused: 7, Shadow: true},
			{Limit: "guessing", By: policy.ByClient, Key: "203.0.113.7", Rate: "20/10m", Used: 18, Of: 20},
		}
		r.Stops = NewStops(map[string]time.Duration{"mari" + text: 24 * time.Hour, "stolen@mx.example.test": limits.Forever}, near, nil, noon)
		return r
	}
	return page
}

func pageOf(counted *tally.Tally, access Access) Page {
	return Page{
		Problem: func() string { return "" },
		Report: func() *Report {
			return &Report{
				Version: "milterd (test)", Snapshot: counted.Snapshot(noon),
				InForce: &InForce{
					Config: "/etc/milterd/milterd.yaml", Mode: "shadow", Hostname: "mx.example.test", Access: "/etc/mail/access", Entries: 1234,
					Features: "skip delay_checks", Local: 3, Relay: 1, Since: noon.Add(-2 * time.Hour),
					Warnings: []string{"/etc/mail/access:7: Spam: is not a tag"}, Settings: []Setting{{"mode", "/etc/milterd/milterd.yaml:3"}, {"listen.http", "/etc/milterd/milterd.yaml:5"}},
				},
				State: []Group{{"DNS lists, resolver and cache", []Value{{"dns_cache_entries", "Answers in the cache.", "", 42}}}},
			}
		},
		Access: func() Access { return access },
	}
}

// get asks a page on a TCP socket of an address.
func get(page Page, path, local, host string, header http.Header) *httptest.ResponseRecorder {
	request := httptest.NewRequest(http.MethodGet, path, nil)
	request.Host = host
	for name := range header {
		request.Header.Set(name, header.Get(name))
	}
	at, w := net.Addr(&net.UnixAddr{Name: local}), httptest.NewRecorder()
	if addr, err := netip.ParseAddrPort(local); err == nil {
		at = net.TCPAddrFromAddrPort(addr)
	}
	page.ServeHTTP(w, request.WithContext(context.WithValue(request.Context(), http.LocalAddrContextKey, at)))
	return w
}

const here = "127.0.0.1:9180"

func TestThePage(t *testing.T) {
	plain := func(counted *tally.Tally) Page { return pageOf(counted, Access{}) }
	pages := map[string]Page{"empty": plain(tally.New(noon.Add(-time.Minute))), "hour": stopping(plain(mixed(60)), ""), "hostile": stopping(plain(hostile()), `"><script>`)}
	for name, c := range map[string]struct {
		page Page
		path string
	}{
		"empty":   {pages["empty"], "/"},
		"hour":    {pages["hour"], "/"},
		"private": {pages["hour"], "/?private=1"},
		"search":  {plain(mixed(60)), "/?q=hanako1"},
		"hostile": {pages["hostile"], "/"},
	} {
		t.Run(name, func(t *testing.T) {
			w := get(c.page, c.path, here, "localhost:9180", nil)
			if w.Code != http.StatusOK {
				t.Fatalf("%d %s", w.Code, w.Body)
			}
			testkit.Golden(t, filepath.Join("testdata", name+".html"), w.Body.String())
		})
	}
	for name, page := range pages {
		testkit.Golden(t, filepath.Join("testdata", name+".txt"), page.Report().Text())
	}
}

func TestNoMarkupGetsThrough(t *testing.T) {
	for _, path := range []string{"/", "/?private=1", "/?q=%22%3E%3Cscript%3Ealert(1)%3C/script%3E"} {
		body := get(stopping(pageOf(hostile(), Access{}), `"><script>alert(1)</script>`), path, here, "localhost", nil).Body.String()
		if found := regexp.MustCompile(`(?i)<(script|img)|<[^>]* on[a-z]+=|\x1b|javascript:`).FindString(body); found != "" {
			t.Errorf("%s: %q in the page", path, found)
		}
	}
	csp := get(pageOf(hostile(), Access{}), "/", here, "localhost", nil).Header().Get("Content-Security-Policy")
	if !strings.HasPrefix(csp, "default-src 'none'; style-src 'sha256-") {
		t.Errorf("policy %q", csp)
	}
}

// TestNoTextAddsElementsOrAttributes: whatever peers say and files hold, a parser finds
// the same tags with the same attributes.
func TestNoTextAddsElementsOrAttributes(t *testing.T) {
	want := tags(t, "x")
	for _, text := range []string{
		`"><b>`, "' onload='x", ` onload=x `, "--><b>", "</title><b>", "]]><b>", "javascript:x", "+ADw-b+AD4-", "<\x00b>", "&lt;b&gt;", "%s%d%!s", "\u2028<b", "`<b>`", "</td></table><b",
	} {
		if diff := cmp.Diff(want, tags(t, text)); diff != "" {
			t.Errorf("%q, -want +got:\n%s", text, diff)
		}
	}
}

// tags are those of a page that has a text everywhere.
func tags(t *testing.T, text string) (all []string) {
	t.Helper()
	page := stopping(pageOf(saying(text), Access{}), text)
	made := page.Report
	page.Report = func() *Report {
		r := made()
		r.Stops.Problem, r.Stops.More = text, 3
		r.Problem, r.Version, r.Clients[0].Over = text, text, 3
		f := r.InForce
		f.Shared, f.Failure, f.Config, f.Mode, f.Hostname, f.Access, f.Features = text, text, text, text, text, text, text
		f.Warnings, f.Settings = []string{text}, []Setting{{text, text}}
		r.State = []Group{{text, []Value{{text, text, text, 1e21}}}}
		return r
	}
	body := get(page, "/?q="+url.QueryEscape(text), here, "localhost", nil).Body.String()
	if strings.Contains(body, "%!") && !strings.Contains(text, "%") {
		t.Errorf("a literal has a value too many or too few:\n%s", body)
	}
	tokens := html.NewTokenizer(strings.NewReader(body))
	for tokens.Next() != html.ErrorToken {
		token := tokens.Token()
		if token.Type == html.TextToken {
			continue
		}
		tag := token.Type.String() + " " + token.Data
		for _, a := range token.Attr {
			tag += " " + a.Key
			if a.Key == "href" && !strings.ContainsAny(a.Val[:1], "?#/") {
				t.Errorf("%q leads to %q", text, a.Val)
			}
		}
		all = append(all, tag)
	}
	if err := tokens.Err(); !errors.Is(err, io.EOF) {
		t.Fatal(err)
	}
	return all
}

// TestOnlyTheSourceMakesMarkup: nothing is turned into a literal.
func TestOnlyTheSourceMakesMarkup(t *testing.T) {
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if found := regexp.MustCompile(`.*\bliteral\(.*`).Find(text); found != nil && !strings.HasSuffix(file, "_test.go") {
			t.Errorf("%s: %s", file, found)
		}
	}
}

func TestWhoMaySeeThePage(t *testing.T) {
	const token = "a-token-of-the-page"
	bearer := http.Header{"Authorization": {"Bearer " + token}}
	basic := http.Header{"Authorization": {"Basic " + base64.StdEncoding.EncodeToString([]byte("admin:"+token))}}
	cases := []struct {
		name, local, host, token string
		header                   http.Header
		want                     int
	}{
		{"a client on this machine", here, "127.0.0.1:9180", "", nil, 200},
		{"by a name of the machine", here, "mx.example.test", "", nil, 200},
		{"by localhost", "[::1]:9180", "LOCALHOST.", "", nil, 200},
		{"by a name that leads here", here, "rebound.example", "", nil, 421},
		{"without a name", here, "", "", nil, 421},
		{"a local: socket", "@", "anything", "", nil, 200},
		{"a local: socket, whatever the token", "@", "anything", token, nil, 200},
		{"another machine without a token", "203.0.113.1:9180", "203.0.113.1", "", nil, 403},
		{"another machine that has none", "203.0.113.1:9180", "203.0.113.1", token, nil, 401},
		{"another machine with a wrong one", "203.0.113.1:9180", "203.0.113.1", token + "x", bearer, 401},
		{"another machine that has it", "203.0.113.1:9180", "203.0.113.1", token, bearer, 200},
		{"a browser that has it", "203.0.113.1:9180", "mx.example.test:9180", token, basic, 200},
		{"this machine without it", here, "localhost", token, nil, 401},
	}
	for _, c := range cases {
		for _, path := range []string{"/", "/report.json"} {
			page := pageOf(mixed(3), Access{Hosts: []string{"mx.example.test", ""}, Token: c.token})
			if w := get(page, path, c.local, c.host, c.header); w.Code != c.want {
				t.Errorf("%s, %s: %d %s, expected %d", c.name, path, w.Code, w.Body, c.want)
			}
		}
	}
}

func TestPrivateHidesWhomMailIsAbout(t *testing.T) {
	for _, access := range []Access{{}, {Private: true}} {
		path := "/?private=1"
		if access.Private {
			path = "/"
		}
		for _, p := range []string{path, strings.Replace(path, "/", "/report.json", 1)} {
			body := get(stopping(pageOf(mixed(200), access), ""), p, here, "localhost", nil).Body.String()
			for _, private := range []string{"user1", "hanako", "mari", "stolen", "shin@", "203.0.113.5", "mx5.", "dyn-"} {
				if strings.Contains(body, private) {
					t.Errorf("%s shows %s", p, private)
				}
			}
			if !strings.Contains(body, "good.example") || !strings.Contains(body, "203.0.113.x") {
				t.Errorf("%s has no domains or no networks", p)
			}
		}
	}
}

// TestPagesForLooking writes pages into a directory, to be looked at in a browser.
func TestPagesForLooking(t *testing.T) {
	dir := os.Getenv("MILTERD_TEST_PAGES")
	if dir == "" {
		t.Skip("MILTERD_TEST_PAGES names no directory")
	}
	for name, counted := range map[string]*tally.Tally{"empty": tally.New(noon), "hour": mixed(700), "many": mixed(10_000), "hostile": hostile()} {
		page := pageOf(counted, Access{})
		if name != "empty" {
			page = stopping(page, map[string]string{"hostile": `"><script>alert(1)</script>` + strings.Repeat("long", 60)}[name])
		}
		body := get(page, "/", here, "localhost", nil).Body.Bytes()
		if err := os.WriteFile(filepath.Join(dir, name+".html"), body, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func BenchmarkPage(b *testing.B) {
	page := pageOf(mixed(10_000), Access{})
	b.ReportAllocs()
	for b.Loop() {
		if w := get(page, "/", here, "localhost", nil); w.Code != http.StatusOK {
			b.Fatal(w.Code)
		}
	}
}
