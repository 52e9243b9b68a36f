package door

import (
	"bytes"
	"encoding/json"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"milterd/policy"
)

// TestTheManualNamesEveryKey compares the keys of a line that has all of them with the
// table in milterd-log(5), in their order.
func TestTheManualNamesEveryKey(t *testing.T) {
	var out bytes.Buffer
	line := Line{
		Action: policy.ActionReject, Door: "map", Stage: policy.StageRcpt, Queue: "5AME", Helo: "h", Auth: policy.Auth{Type: "PLAIN", Authen: "shin"},
		Client: policy.Connection{Addr: netip.MustParseAddr("2001:db8::8"), Name: "n", PTR: "p", Resolve: policy.ResolveForged, DaemonName: "MTA", DaemonPort: 25},
		From:   "a@x", To: "b@y", Recipients: 6, Refused: 1, Relay: "r", Check: "c", Rule: "r", Reply: "r", Reason: "r", Edits: "e", Shadow: []policy.Shadow{{Check: "s"}},
	}
	line.Log(t.Context(), slog.New(slog.NewJSONHandler(&out, nil)))
	var keys []string
	decoder := json.NewDecoder(&out)
	for i := 0; ; i++ {
		token, err := decoder.Token()
		if err != nil || token == json.Delim('}') {
			break
		}
		if key, ok := token.(string); ok && i%2 == 1 {
			keys = append(keys, key)
		}
	}
	manual, err := os.ReadFile("../../configs/manual/milterd-log.5.md")
	if err != nil {
		t.Fatal(err)
	}
	var documented []string
	for _, row := range regexp.MustCompile("(?m)^\\| (`[a-z_]+`(?:, `[a-z_]+`)*) \\|").FindAllStringSubmatch(string(manual), -1) {
		documented = append(documented, strings.Split(strings.ReplaceAll(row[1], "`", ""), ", ")...)
	}
	if diff := cmp.Diff(documented, keys); diff != "" {
		t.Errorf("(-manual +line):\n%s", diff)
	}
}

func TestTextsOfALine(t *testing.T) {
	for addr, want := range map[string]string{"203.0.113.8": "203.0.113.8", "2001:db8:0:0:0:0:0:8": "2001:db8::8", "::ffff:203.0.113.8": "203.0.113.8"} {
		if got := ClientText(netip.MustParseAddr(addr)); got != want {
			t.Errorf("%s: %s, want %s", addr, got, want)
		}
	}
	var out bytes.Buffer
	(&Line{Action: policy.ActionAccept, From: SenderText(""), Auth: policy.Auth{Type: "PLAIN", Authen: "shin+2Bbox"}}).Log(t.Context(), slog.New(slog.NewTextHandler(&out, nil)))
	if want := "level=INFO msg=accept auth=PLAIN:shin+box from=<>\n"; !strings.HasSuffix(out.String(), want) {
		t.Errorf("%q, want %q: a local submission, and keys without a value are left out", out.String(), want)
	}
}

// BenchmarkLine is the line about a usual message.
func BenchmarkLine(b *testing.B) {
	logger := slog.New(slog.NewTextHandler(io.Discard, nil))
	line := Line{
		Action: policy.ActionAccept, Queue: "6ARNeIHl000623", Helo: "mx.good.example", From: "a@good.example", To: "shin@example.test",
		Client: policy.Connection{Addr: netip.MustParseAddr("203.0.113.5"), Name: "mx.good.example", PTR: "mx.good.example", Resolve: policy.ResolveOK, DaemonName: "MTA", DaemonPort: 25},
	}
	b.ReportAllocs()
	for b.Loop() {
		line.Log(b.Context(), logger)
	}
}
