package control

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"testing"

	"pgregory.net/rapid"

	"milterd/integration/testkit"
	"milterd/policy/grant"
)

// asked makes one request over connection i, and notes what it does to the grants.
func asked(rt *rapid.T, i int, grants map[string]bool) testkit.Request {
	addr := fmt.Sprintf("203.0.113.%d", 10*i+rapid.IntRange(0, 3).Draw(rt, "address"))
	text := func(method, path string, status int) testkit.Request {
		return testkit.Request{Text: method + " " + path + " HTTP/1.1\r\nHost: milterd\r\n\r\n", Method: method, Status: status}
	}
	switch rapid.IntRange(0, 9).Draw(rt, "request") {
	case 0, 1, 2, 3:
		grants[addr] = true
		return text("PUT", "/grants/"+addr, 200)
	case 4, 5:
		status := 404
		if grants[addr] {
			status = 200
		}
		delete(grants, addr)
		return text("DELETE", "/grants/"+addr, status)
	case 6:
		return text("GET", "/grants", 200)
	case 7:
		return text("PUT", "/grants/"+addr+"%2F24", 400)
	case 8:
		return text("PUT", "/grants/"+addr+"?user=a%0Ab", 400)
	}
	return text("POST", "/grants/"+addr, 405)
}

// TestAnyConversation has several clients say anything in any pieces at once. Each request
// has its own answer, in order, or the connection ends; and the grants are those that
// were asked for, and no others.
func TestAnyConversation(t *testing.T) {
	testkit.Rounds(t, 30)
	keeper := newKeeper(t, grant.Config{})
	r := serve(t, Config{Keeper: keeper})
	rapid.Check(t, func(rt *rapid.T) {
		var running sync.WaitGroup
		var want []string
		errs := make([]error, 4)
		for i := range errs {
			label := fmt.Sprint("connection ", i)
			grants := make(map[string]bool)
			requests := testkit.Requests(rt, label, func(rt *rapid.T) testkit.Request { return asked(rt, i, grants) })
			pieces := rapid.SliceOfN(rapid.IntRange(1, 100), 0, 6).Draw(rt, label+" pieces")
			for addr := range grants {
				want = append(want, addr)
			}
			running.Go(func() {
				conn, err := net.Dial("unix", r.path)
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
		var got []string
		err := keeper.List(t.Context(), func(g grant.Grant) bool { got = append(got, g.Addr.String()); return true })
		slices.Sort(got)
		slices.Sort(want)
		if err != nil || !slices.Equal(got, want) {
			rt.Errorf("grants %q, expected %q (%v)", got, want, err)
		}
		for _, addr := range got {
			if _, err := keeper.Revoke(t.Context(), netip.MustParseAddr(addr)); err != nil {
				rt.Error(err)
			}
		}
	})
}
