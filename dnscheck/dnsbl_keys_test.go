package dnscheck_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"gopkg.in/yaml.v3"

	"milterd/dnscheck"
	"milterd/integration/testkit"
)

func TestAKeyIsOnTheWireAndNowhereElse(t *testing.T) {
	const key = "k3yk3yk3y"
	s := serve(t,
		"8.113.0.203.k3yk3yk3y.paid.example. A 127.0.0.2",
		`8.113.0.203.k3yk3yk3y.paid.example. TXT "see http://paid.example/?key=K3YK3YK3Y&ip=203.0.113.8"`,
		"9.113.0.203.k3yk3yk3y.paid.example. A 127.255.255.255",
		"2.0.0.127.k3yk3yk3y.paid.example. A 127.0.0.2",
	)
	var log testkit.Log
	logger := slog.New(slog.NewJSONHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	client := dial(t, s, dnscheck.Config{Log: logger, TryTimeout: silence, Attempts: 1})
	list := dnscheck.List{Zone: "{key}.Paid.example", Key: key, Weight: 1, TXT: true}
	f := newInfirmary(t)
	f.health = dnscheck.NewHealth(logger)
	f.lists = newLists(t, dnscheck.ListOptions{Health: f.health}, list)
	f.watch(client)
	lists := f.lists
	recorder := dnscheck.NewRecorder(lists.Resolver(client))

	var shown []string
	for _, addr := range []string{"203.0.113.8", "203.0.113.9"} {
		report := lists.Check(withPatience(t), recorder, netip.MustParseAddr(addr))
		shown = append(shown, reports(report), fmt.Sprintf("%v %+v %#v", report, report, report))
		replay := newLists(t, dnscheck.ListOptions{}, list).Check(context.Background(), freeze(t, recorder.Lines()...), netip.MustParseAddr(addr))
		if diff := cmp.Diff(reports(report), reports(replay)); diff != "" {
			t.Errorf("the replay differs (-live +replay):\n%s", diff)
		}
	}
	want := "listed, score 1\n{key}.Paid.example: listed (127.0.0.2), weight 1: \"see http://paid.example/?key={key}&ip=203.0.113.8\"\nby {key}.Paid.example"
	if diff := cmp.Diff(want, shown[0]); diff != "" {
		t.Errorf("report (-want +got):\n%s", diff)
	}
	logger.Warn("key", "key", list.Key, "list", list)
	shown = append(shown, recorder.Lines()...)
	shown = append(shown, log.String(), fmt.Sprint(f.health.States()))
	asJSON, err := json.Marshal(list)
	if err != nil {
		t.Fatal(err)
	}
	asYAML, err := yaml.Marshal(map[string]any{"key": list.Key})
	if err != nil {
		t.Fatal(err)
	}
	shown = append(shown, string(asJSON), string(asYAML), list.Key.String(),
		fmt.Sprintf("%v %+v %#v %s %q %x %d", list, list, list, list.Key, list.Key, list.Key, list.Key))
	for _, text := range shown {
		if strings.Contains(strings.ToLower(text), key) || strings.Contains(text, fmt.Sprintf("%x", key)) {
			t.Errorf("the key is shown: %s", text)
		}
	}
	onWire := false
	for _, q := range s.Queries() {
		onWire = onWire || strings.Contains(q.Name, key)
		if strings.Contains(q.Name, "{") {
			t.Errorf("the server was asked for %s", q.Name)
		}
	}
	if !onWire {
		t.Error("the server was never asked with the key")
	}
	if log.String() == "" {
		t.Error("nothing was logged of the error answer")
	}
}

func TestWithoutItsKeyAListIsNotAsked(t *testing.T) {
	s := serve(t)
	client := dial(t, s, dnscheck.Config{})
	keyed := newLists(t, dnscheck.ListOptions{}, dnscheck.List{Zone: "{key}.paid.example", Key: "k3y", Weight: 1, OnTemporary: dnscheck.TempFail})
	other := newLists(t, dnscheck.ListOptions{}, dnscheck.List{Zone: "{key}.other.example", Key: "k3y", Weight: 1})
	addr := netip.MustParseAddr("203.0.113.8")
	if got := keyed.Check(withPatience(t), client, addr); got.Verdict != dnscheck.ListsTemporary {
		t.Errorf("the client alone: got %s", reports(got))
	}
	if got := keyed.Check(withPatience(t), other.Resolver(client), addr); got.Verdict != dnscheck.ListsTemporary {
		t.Errorf("the keys of other lists: got %s", reports(got))
	}
	if got := s.Total(); got != 0 {
		t.Errorf("got %d queries, want none", got)
	}
}
