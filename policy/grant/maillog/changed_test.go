package maillog

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"milterd/integration/testkit"
	"milterd/policy/grant"
)

// lineAt is a login, or a line of another program, so many seconds after ten o'clock.
func lineAt(second int, user string) string {
	at := fmt.Sprintf("Nov 22 10:%02d:%02d mx ", second/60, second%60)
	if user == "" {
		return at + "cron[1]: (root) CMD (true)\n"
	}
	return at + "pop3d: LOGIN, user=" + user + ", ip=[::ffff:203.0.113.8], port=[40112]\n"
}

func TestChangedLogsAreNoNews(t *testing.T) {
	noise := ""
	for i := range 300 {
		noise += lineAt(10+i/10, "")
	}
	old := lineAt(0, "") + lineAt(1, "old") + noise
	seen := lineAt(50, "seen") + lineAt(51, "")
	write := func(t *testing.T, path, text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	// replace is what sed -i does, rewrite what an editor or cp does.
	replace := func(text string) func(*testing.T, string) {
		return func(t *testing.T, path string) {
			write(t, path+".edited", text)
			rename(t, path+".edited", path)
		}
	}
	rewrite := func(text string) func(*testing.T, string) {
		return func(t *testing.T, path string) { write(t, path, text) }
	}
	for _, tt := range []struct {
		name   string
		change func(t *testing.T, path string)
	}{
		{"sed -i deletes a line at the beginning", replace(strings.TrimPrefix(old+seen, lineAt(0, "")))},
		{"sed -i inserts a line at the beginning", replace(lineAt(0, "older") + old + seen)},
		{"sed -i deletes the last line", replace(old + lineAt(50, ""))},
		{"sed -i changes every line", replace(strings.ReplaceAll(old+lineAt(50, "seen")+lineAt(51, ""), " mx ", " mail "))},
		{"an editor deletes a line at the beginning", rewrite(strings.TrimPrefix(old+seen, lineAt(0, "")))},
		{"an editor deletes the last line", rewrite(old + lineAt(49, "x"))},
		{"an editor deletes all but one login", rewrite(lineAt(1, "old"))},
		{"the log of before is moved back", func(t *testing.T, path string) {
			write(t, path+".1", strings.Repeat(lineAt(2, "older"), 50))
			rename(t, path+".1", path)
		}},
		{"the log is removed, and one of before copied", func(t *testing.T, path string) {
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
			write(t, path, old+lineAt(49, "y"))
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "mail.log")
			write(t, path, old)
			f := follow(t, path, 5*time.Millisecond)
			appendTo(t, path, seen)
			f.waitUsers("seen")
			testkit.Eventually(t, "all is read", func() bool { return f.Stats().Lines == 2 })
			tt.change(t, path)
			testkit.Eventually(t, "the change is seen", func() bool { return f.Stats().Rotated+f.Stats().Truncated == 1 })
			appendTo(t, path, lineAt(52, "new"))
			f.waitUsers("seen", "new")
		})
	}
}

// TestLoginsOfWeeksAgo: the log of an idle server is edited.
func TestLoginsOfWeeksAgo(t *testing.T) {
	clock := testkit.NewClock(time.Date(2026, 11, 27, 10, 0, 0, 0, time.UTC))
	keeper := grant.New(grant.Config{Now: clock.Now})
	path := filepath.Join(t.TempDir(), "mail.log")
	const login = "Oct  1 10:00:01 mx dovecot: pop3-login: Login: user=<old>, method=PLAIN, rip=198.51.100.67, lip=203.0.113.25, mpid=123, TLS, session=<abc>\n"
	appendTo(t, path, "Oct  1 09:00:00 mx a line that is to go\n", login, "Oct  1 10:00:02 mx noise\n")
	f := New(Config{Path: path, Format: named(t, "dovecot"), Granter: keeper, Poll: 5 * time.Millisecond, Now: clock.Now})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		f.Run(ctx)
	}()
	defer func() { cancel(); <-done }()
	testkit.Eventually(t, "it is followed", func() bool { return f.Stats().Open })
	now := strings.NewReplacer("Oct  1", "Nov 27", "10:00:01", "09:59:59", "67", "68").Replace(login)
	appendTo(t, path+".new", login, "Oct  1 10:00:02 mx other noise\n", login, now)
	rename(t, path+".new", path)
	testkit.Eventually(t, "the login of now", func() bool { return testkit.Metric(t, keeper, "milterd_grant_logins_total", "granted") == 1 })
	if g, state := keeper.Grant(ctx, netip.MustParseAddr("198.51.100.67")); state != grant.None {
		t.Errorf("a login of October grants: %+v", g)
	}
	// A whole log of last year, which looks as if it came from tomorrow.
	appendTo(t, path, strings.NewReplacer("Oct  1", "Nov 28").Replace(login))
	testkit.Eventually(t, "it is refused", func() bool { return testkit.Metric(t, keeper, "milterd_grant_logins_total", "stale") == 1 })
	if n := testkit.Metric(t, keeper, "milterd_grants"); n != 1 {
		t.Errorf("%v grants", n)
	}
}
