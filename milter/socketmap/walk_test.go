package socketmap

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"milterd/milter/door"
	"milterd/policy"
	"milterd/policy/access"
)

// tabled is a key as the rules of milterd.m4 put it together.
func tabled(tag, client, rest string) string {
	return strings.Join([]string{tag, optionSkip, "4AS1xYz0", client, rest}, separator)
}

func TestASearchForTheClientEndsAtItsFirstKey(t *testing.T) {
	a := NewAccess(always(&policy.Policy{Access: table(t, accessText+"ClientConn:203.0.113.9 SKIP\nClientConn: 5\nSrv_Features: V\n"+
		"Connect:good.example RELAY\n198.51.100 RELAY\nFrom:good.example REJECT\n")}, nil), nil)
	skip := Answer{OK, "SKIP"}
	for _, tt := range []struct {
		name, key string
		want      Answer
	}{
		{"an entry for the address", tabled("Connect", "203.0.113.5", "203.0.113.5"), Answer{OK, "REJECT"}},
		{"one for its network", tabled("Connect", "203.0.113.8", "203.0.113.8"), Answer{OK, "ERROR:5.7.1:550 Not from here"}},
		{"one for its domain", tabled("Connect", "203.0.113.8", "a.b.GOOD.example"), Answer{OK, "RELAY"}},
		{"none", tabled("GreetPause", "192.0.2.1", "192.0.2.1"), skip},
		{"none for the name", tabled("GreetPause", "203.0.113.8", "mx.other.example"), skip},
		{"none for the address in place of a name", tabled("GreetPause", "203.0.113.8", "[203.0.113.8]"), skip},
		{"an untagged entry is left to sendmail", tabled("Connect", "198.51.100.7", "198.51.100.7"), Answer{Status: NotFound}},
		{"and what comes after it", tabled("Connect", "198.51.100.7", "198.51"), skip},
		{"the tag alone, for everybody", tabled("ClientRate", "192.0.2.1", "192.0.2.1"), Answer{OK, "10"}},
		{"the tag alone, behind SKIP", tabled("ClientConn", "203.0.113.9", "203.0.113.9"), skip},
		{"the tag alone comes after the address", tabled("Srv_Features", "192.0.2.1", "mx.other.example"), skip},
		{"the tag alone, where the address has nothing", tabled("Srv_Features", "192.0.2.1", "192.0.2.1"), Answer{OK, "V"}},
		{"the tag alone by itself", tabled("Srv_Features", "192.0.2.1", ""), Answer{OK, "V"}},
		{"another address", tabled("Connect", "192.0.2.1", "203.0.113.9"), Answer{Status: NotFound}},
		{"a tag that is not about clients", tabled("From", "192.0.2.1", "sub.good.example"), Answer{Status: NotFound}},
		{"what is no tag", tabled("Nothing", "192.0.2.1", "192.0.2.1"), Answer{Status: NotFound}},
		{"a sendmail whose searches know no SKIP", strings.Replace(tabled("Connect", "203.0.113.8", "203.0.113.8"), "skip", "", 1), Answer{Status: NotFound}},
		{"a domain that reads as a tag", tabled("From", "192.0.2.1", `x@"a:b:".c."connect:127"`), Answer{Temp, "a domain that reads as a key of its own"}},
		{"a key that was cut off", "Connect" + separator + "skip" + separator + "4AS1", Answer{Temp, "the key was cut off"}},
		{"one that was cut off at its end", tabled("Connect", "192.0.2.1", strings.Repeat("a.", 600)), Answer{Temp, "the key was cut off"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, a.Lookup(t.Context(), tt.key)); diff != "" {
				t.Errorf("answer (-want +got):\n%s", diff)
			}
		})
	}
}

// search is LookUpDomain or LookUpAddress, and the tag alone behind the second: what
// sendmail finds in the end, and how often it asks.
func search(a *Access, key func(tag, rest string) string, tag, rest string, wider func(string) (string, bool), bare bool) (found string, asked int) {
	ctx := withMemory(context.Background(), new(memory))
	look := func(key string) bool {
		asked++
		answer := a.Lookup(ctx, key)
		memoryOf(ctx).previous = key
		found = answer.Value
		return answer.Status != NotFound
	}
	for more := true; more; rest, more = wider(rest) {
		if look(key(tag, rest)) || tag == "Connect" && look(rest) {
			break
		}
		found = "SKIP"
	}
	if found == "SKIP" && bare && !look(key(tag, "")) {
		found = "SKIP"
	}
	if found == "0" && strings.HasPrefix(tag, "Client") {
		found = "SKIP" // for RateControl and ConnControl there is no limit either way
	}
	return found, asked
}

// TestShortenedSearchesFindTheSame: what a search that milterd ends finds is what it finds
// key by key, with grants and networks by prefix length.
func TestShortenedSearchesFindTheSame(t *testing.T) {
	clients := []string{"203.0.113.5", "203.0.113.8", "198.51.100.7", "IPv6:2001:db8:0:0:0:0:0:8", "IPv6:2001:db8::1:8"}
	keys := []string{"203.0.113.5", "203.0.113", "203.0", "203", "198.51.100", "198", "203.0.113.0/24", "IPv6:2001:db8:0:0:0:0:0", "IPv6:2001:db8",
		"IPv6:2001:db8::1", "2001:db8::/32", "mx.good.example", "good.example", "example", ""}
	tags := []string{"Connect", "GreetPause", "Srv_Features", "TLS_Clt", "ClientRate", "ClientConn"}
	values := map[string][]string{"Connect": {"RELAY", "REJECT", "OK", "SKIP"}, "": {"RELAY", "REJECT", "OK", "SKIP"}}
	rapid.Check(t, func(rt *rapid.T) {
		var text strings.Builder
		seen := make(map[string]bool)
		for range rapid.IntRange(0, 20).Draw(rt, "entries") {
			tag, key := rapid.SampledFrom(append(tags, "")).Draw(rt, "tag"), rapid.SampledFrom(keys).Draw(rt, "key")
			of := values[tag]
			if of == nil {
				of = []string{"1", "2", "SKIP", "0"}
			}
			if key == "" && (tag == "" || tag == "Connect" || tag == "GreetPause") || seen[tag+key] || strings.Contains(key, "/") && tag != "Connect" {
				continue
			}
			seen[tag+key] = true
			if tag != "" {
				tag += ":"
			}
			fmt.Fprintf(&text, "%s%s\t%s\n", tag, key, rapid.SampledFrom(of).Draw(rt, "value"))
		}
		parsed, _, err := access.Parse("access", strings.NewReader(text.String()), access.Features{})
		if err != nil {
			rt.Fatal(err)
		}
		client, name := rapid.SampledFrom(clients).Draw(rt, "client"), rapid.SampledFrom([]string{"mx.good.example", "a.mx.good.example", "x"}).Draw(rt, "name")
		addr, _ := access.ParseAddr(client)
		now := door.Snapshot{Policy: &policy.Policy{Access: parsed}}
		if rapid.Bool().Draw(rt, "grants") {
			now.Grants = &grantTable{states: map[string]policy.GrantState{
				rapid.SampledFrom([]string{addr.String(), netip.IPv4Unspecified().String()}).Draw(rt, "granted"): policy.GrantHeld}}
		}
		a := NewAccess(func() door.Snapshot { return now }, nil)
		naive := func(tag, rest string) string { return tag + ":" + rest }
		told := func(tag, rest string) string { return tabled(tag, client, rest) }
		for _, tag := range tags {
			bare := clientTags[strings.ToLower(tag)].bare
			want, wanted := search(a, naive, tag, client, access.WiderAddress, bare)
			got, asked := search(a, told, tag, client, access.WiderAddress, bare)
			if got != want || asked > wanted {
				rt.Fatalf("%s %s: %q in %d look-ups, expected %q in at most %d; the table:\n%s", tag, client, got, asked, want, wanted, &text)
			}
			want, _ = search(a, naive, tag, name, access.WiderDomain, false)
			if got, _ := search(a, told, tag, name, access.WiderDomain, false); got != want {
				rt.Fatalf("%s %s: %q, expected %q; the table:\n%s", tag, name, got, want, &text)
			}
		}
	})
}
