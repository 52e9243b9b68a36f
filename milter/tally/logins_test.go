package tally

import (
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"milterd/milter/door"
	"milterd/policy"
)

// sent is a message of a login that was taken for so many recipients.
func sent(login string, recipients int) *door.Line {
	return &door.Line{Action: policy.ActionAccept, Auth: policy.Auth{Type: "PLAIN", Authen: login}, From: "a@example.test", Recipients: recipients}
}

func TestTheBusiestLoginsWithTheirUsualDay(t *testing.T) {
	began := time.Date(2026, 11, 10, 18, 0, 0, 0, time.UTC)
	c := New(began)
	midnight := time.Date(2026, 11, 11, 0, 0, 0, 0, time.UTC)
	for d := range 10 {
		day := midnight.AddDate(0, 0, d)
		for h := range 24 {
			if d%2 == 0 {
				c.Add(day.Add(time.Duration(h)*time.Hour), sent("shin", 10))
			}
			c.Add(day.Add(time.Duration(h)*time.Hour), &door.Line{Action: policy.ActionAccept, Auth: policy.Auth{Authen: "mari"}, To: "a@x b@x"})
		}
		now, days := day.Add(12*time.Hour), min(d, usualDays)
		s := c.Snapshot(now)
		if s.LoginDays != days {
			t.Fatalf("%v: %d days, expected %d", now, s.LoginDays, days)
		}
	}
	c.Add(midnight.AddDate(0, 0, 10), sent("shin", 700))
	c.Add(midnight.AddDate(0, 0, 10), &door.Line{Action: policy.ActionTempfail, Stage: policy.StageRcpt, Check: "limits", Auth: policy.Auth{Authen: "shin"}, To: "x@y"})
	shadow := sent("hana", 0)
	shadow.To, shadow.Shadow = "a@x", []policy.Shadow{{Action: policy.ActionTempfail, Check: "limits"}}
	c.Add(midnight.AddDate(0, 0, 10), shadow)
	c.Add(midnight.AddDate(0, 0, 10), &door.Line{Action: policy.ActionReject, Stage: policy.StageRcpt, Check: "relay", Auth: policy.Auth{Authen: "gone"}, To: "x@y"})
	// Of the last seven days (3 to 9) shin has sent on three, 240 each; of the last 24 hours
	// 23 are those of day 9.
	want := []Login{{"shin", 700, 0, 3 * 240.0 / 7, 1}, {"mari", 46, 0, 48, 0}, {"hana", 1, 0, 0, 1}}
	if diff := cmp.Diff(want, c.Snapshot(midnight.AddDate(0, 0, 10)).Logins); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	// Long after, nothing of that is the last day, or the usual one.
	if s := c.Snapshot(midnight.AddDate(0, 1, 0)); len(s.Logins) > 0 || s.LoginDays != usualDays {
		t.Errorf("%v", s.Logins)
	}
}

// TestRecordingsInAnyOrderHaveTheirDays: what is older than what is kept takes nothing
// away.
func TestRecordingsInAnyOrderHaveTheirDays(t *testing.T) {
	midnight := time.Date(2026, 11, 11, 0, 0, 0, 0, time.UTC)
	c := NewEndless()
	for _, d := range []int{8, 7, 3, 8, 0, 1} {
		c.Add(midnight.AddDate(0, 0, d).Add(time.Hour), sent("shin", 70))
	}
	s := c.Snapshot(midnight.AddDate(0, 0, 8).Add(time.Hour))
	if diff := cmp.Diff([]Login{{"shin", 6 * 70, 0, 30, 0}}, s.Logins); diff != "" || s.LoginDays != usualDays || !s.Since.Equal(midnight.Add(time.Hour)) || s.Hour.Sum.Accepted != 2 {
		t.Errorf("since %v, %d days, in the last hour %d (-want +got)\n%s", s.Since, s.LoginDays, s.Hour.Sum.Accepted, diff)
	}
}

// TestAnyNumberOfLoginsIsBounded keeps twenty thousand for each of eight days.
func TestAnyNumberOfLoginsIsBounded(t *testing.T) {
	if raced {
		t.Skip("the race detector has memory of its own")
	}
	c := New(start)
	memory := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := memory()
	for d := range usualDays + 1 {
		for i := range 20_000 {
			c.Add(start.AddDate(0, 0, d).Add(time.Duration(i)*4*time.Second), sent(fmt.Sprintf("user-%06d@mx.example.test", i), 1))
		}
	}
	if used := memory() - before; used > 8<<20 {
		t.Errorf("%d bytes", used)
	} else {
		t.Logf("%d bytes", used)
	}
	runtime.KeepAlive(c)
}

// TestWhichLoginsAreKnown is what -block asks.
func TestWhichLoginsAreKnown(t *testing.T) {
	began := time.Date(2026, 11, 11, 12, 0, 0, 0, time.UTC)
	c := New(began)
	c.Add(began, sent("shin", 1))
	c.Add(began.AddDate(0, 0, 1), sent("ito@good.example", 1))
	c.Add(began.AddDate(0, 0, 1), &door.Line{Action: policy.ActionTempfail, Stage: policy.StageRcpt, Check: "limits", Auth: policy.Auth{Authen: "hana"}, To: "x@y"})
	c.Add(began.AddDate(0, 0, 1), sent(strings.Repeat("x", 2000), 1))
	for login, want := range map[string]bool{"shin": true, "ito@good.example": true, "ito": true, "hana": true, strings.Repeat("x", 2000): true,
		"shi": false, "shin@good.example": false, "ito@": false, "ito@good": false, "": false} {
		if got := c.Knows(login); got != want {
			t.Errorf("%.20q: %t, expected %t", login, got, want)
		}
	}
}

// A login is the one that the limits know, whatever realm is written with it.
func TestALoginHasOneLine(t *testing.T) {
	now := time.Date(2026, 11, 11, 12, 0, 0, 0, time.UTC)
	c := New(now)
	p := &policy.Policy{Hostname: "mx.example.test", Local: policy.NewClass("example.test"), Realms: policy.Domains{Local: true}}
	c.Names(p.LoginName)
	for i, login := range []string{"shin", "Shin", "shin@mx.example.test", "shin@anything.example", "shin@example.test"} {
		c.Add(now, sent(login, i+1))
	}
	if diff := cmp.Diff([]Login{{Name: "shin", Recipients: 10}, {Name: "shin@example.test", Recipients: 5}}, c.Snapshot(now).Logins); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}
