package sources

import (
	"context"
	"encoding/binary"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"milterd/configs"
	"milterd/integration/testkit"
	"milterd/policy"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m)
}

// relocate makes everything that the grants open be in dir or on loopback addresses,
// with port 0 where there may be one.
func relocate(config *configs.Config, dir string) {
	g := &config.Grants
	own := strconv.Itoa(os.Getgid())
	move := func(address, name string) string {
		scheme, rest, _ := strings.Cut(address, ":")
		switch scheme {
		case "":
			return ""
		case "local", "unix":
			return scheme + ":" + filepath.Join(dir, name)
		}
		port, _, _ := strings.Cut(rest, "@")
		return scheme + ":" + port + "@" + testkit.OwnLoopback()
	}
	g.Control, g.Dovecot.Listen = move(g.Control, "control.sock"), move(g.Dovecot.Listen, "dovecot.sock")
	if g.ControlGroup != "" {
		g.ControlGroup = own
	}
	if config.Listen.SocketGroup != "" {
		config.Listen.SocketGroup = own
	}
	if g.File != "" {
		g.File = filepath.Join(dir, "grants.db")
	}
	for i := range g.Logs {
		g.Logs[i].File = filepath.Join(dir, strconv.Itoa(i)+".log")
	}
	if scheme, rest, ok := strings.Cut(g.DRAC.Listen, ":"); ok {
		_, host, hasHost := strings.Cut(rest, "@")
		if g.DRAC.Listen = scheme + ":0"; hasHost {
			g.DRAC.Listen += "@" + host
		}
	}
	r := &config.Redis
	for i, address := range r.Addresses {
		scheme, _, ok := strings.Cut(address, "://")
		if r.Addresses[i] = "127.0.0.1:1"; ok {
			r.Addresses[i] = scheme + "://127.0.0.1:1"
		}
	}
	r.CA = nil
}

var yamlBlock = regexp.MustCompile("(?s)```yaml\n(.*?)```")

// TestGrantsThatCheckAcceptsAlsoOpen opens the store and the sources of everything that
// is shown to administrators, and of each form that a source can have.
func TestGrantsThatCheckAcceptsAlsoOpen(t *testing.T) {
	texts := map[string]string{}
	readme, err := os.ReadFile("../../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	for i, block := range yamlBlock.FindAllSubmatch(readme, -1) {
		texts[fmt.Sprintf("block %d of README.md", i+1)] = string(block[1])
	}
	if len(texts) == 0 {
		t.Fatal("README.md has no block of YAML")
	}
	for name, grants := range map[string]string{
		"DRAC on any port of an address":   "drac: {listen: 'inet:0@127.0.0.1'}",
		"DRAC on any port":                 "drac: {listen: 'inet:0'}",
		"DRAC on any port of everything":   "drac: {listen: 'inet:0@0.0.0.0'}",
		"DRAC on any port over IPv6":       "drac: {listen: 'inet6:0@[::1]', allow: ['::1'], reserved_port: false}",
		"DRAC without a host, over IPv6":   "drac: {listen: 'inet6:0'}",
		"DRAC for half of everybody":       "drac: {listen: 'inet:0@127.0.0.1', allow: [0.0.0.0/1, '::/3']}",
		"Dovecot on a socket":              "dovecot: {listen: local:/run/milterd/dovecot.sock, secret: s3cr3t-of-d0vecot}",
		"Dovecot over TCP":                 "dovecot: {listen: 'inet:4001', secret: s3cr3t-of-d0vecot}",
		"a secret of other characters":     `dovecot: {listen: 'inet:4001', secret: "s\xe9cret:of,Dovecot=\"x\""}`,
		"Redis over TLS":                   "ttl: 1h\nredis: {address: 'rediss://redis.example.test:6380', password: x}",
		"a control socket of a group":      "control: local:/run/milterd/control.sock\n  control_group: postmaster",
		"logs of all formats":              "logs: [{file: a, format: dovecot}, {file: b, format: qpopper}, {file: c, format: uw}, {file: d, format: courier}, {file: e, format: cyrus}]",
		"a log with an expression":         `logs: [{file: a, format: regexp, regexp: 'a|(?P<addr>\S+)'}]`,
		"an expression of greatest length": `logs: [{file: a, format: regexp, regexp: '(?P<addr>\S+)` + strings.Repeat("a", 987) + `'}]`,
	} {
		texts[name] = "grants:\n  " + grants + "\n"
	}
	for _, pattern := range []string{"../../../configs/testdata/good/*.yaml", "../../../configs/*.yaml"} {
		files, err := filepath.Glob(pattern)
		if err != nil || len(files) == 0 {
			t.Fatalf("%s: no files (%v)", pattern, err)
		}
		for _, file := range files {
			if filepath.Base(file) != "alerts.yaml" { // rules for Prometheus
				texts[file] = ""
			}
		}
	}
	for name, text := range texts {
		t.Run(name, func(t *testing.T) {
			file := name
			if text != "" {
				file = filepath.Join(t.TempDir(), "milterd.yaml")
				if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			openRelocated(t, file)
		})
	}
}

// A store that was never heard of may hold a grant for any client.
func TestNothingIsKnownWhileRedisIsAway(t *testing.T) {
	file := filepath.Join(t.TempDir(), "milterd.yaml")
	if err := os.WriteFile(file, []byte("grants: {ttl: 1h}\nredis: {address: '127.0.0.1:1'}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	config, err := configs.Load(file)
	if err != nil {
		t.Fatal(err)
	}
	shared, err := OpenRedis(&config.Redis, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = shared.Close() }()
	g, err := Open(config, shared, nil, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = g.keeper.Close() }()
	for client, want := range map[string]policy.GrantState{"203.0.113.8": policy.GrantUnknown, "10.0.0.1": policy.GrantNone} {
		if got := g.Grant(t.Context(), netip.MustParseAddr(client)); got != want {
			t.Errorf("%s: %v, want %v", client, got, want)
		}
	}
}

// openRelocated opens and closes the grants of a configuration.
func openRelocated(t *testing.T, file string) {
	t.Helper()
	config, err := configs.Load(file)
	if err != nil {
		t.Fatal(err)
	}
	if config.Grants.Dovecot.SecretFile != "" {
		// This is what reads it.
		if _, _, err := config.Policy(); err != nil {
			t.Fatal(err)
		}
	}
	relocate(config, t.TempDir())
	shared, err := OpenRedis(&config.Redis, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatalf("-check accepts what does not start: %v", err)
	}
	g, err := Open(config, shared, nil, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatalf("-check accepts what does not start: %v", err)
	}
	if (g != nil) != config.GrantsConfigured() {
		t.Fatalf("configured: %v, opened: %v", config.GrantsConfigured(), g != nil)
	}
	if g == nil {
		return
	}
	// Each has metrics of its own: of the stores, a file has its writes, and Redis alone no number of grants.
	c := &config.Grants
	inRedis := len(config.Redis.Addresses) > 0
	want := map[string]int{
		"milterd_dovecot_failed_grants_total": count(c.Dovecot.Listen != ""), "milterd_drac_calls_total": 5 * count(c.DRAC.Listen != ""),
		"milterd_grant_file_pending": count(c.File != ""), "milterd_grants": count(!inRedis), "milterd_login_log_open": len(c.Logs),
	}
	registry := prometheus.NewRegistry()
	g.Register(registry)
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	opened := make(map[string]int)
	for name := range want {
		opened[name] = 0
	}
	for _, family := range families {
		if _, ok := want[family.GetName()]; ok {
			opened[family.GetName()] = len(family.GetMetric())
		}
	}
	if diff := cmp.Diff(want, opened); diff != "" {
		t.Errorf("metrics of what was opened (-want +got):\n%s", diff)
	}
	if err := g.Close(); err != nil {
		t.Error(err)
	}
}

func count(is bool) int {
	if is {
		return 1
	}
	return 0
}

func TestControlSocketIsForItsOwnerAndOneGroup(t *testing.T) {
	own := os.Getgid()
	for _, tt := range []struct {
		name, listen, group string
		want                os.FileMode
	}{
		{"the usual mode of the doors", `socket_mode: "0660"`, "", 0o600},
		{"doors for everybody", `socket_mode: "0666"`, "", 0o600},
		{"a mode without the owner", `socket_mode: "0060"`, "", 0o600},
		{"no mode", `socket_mode: "0000"`, "", 0o600},
		{"a group of the doors", fmt.Sprintf("socket_group: %q", strconv.Itoa(own)), "", 0o600},
		{"a group of its own", `socket_mode: "0600"`, strconv.Itoa(own), 0o660},
		{"another group than that of the doors", `socket_group: "nobody-has-this-group"`, strconv.Itoa(own), 0o660},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			socket := filepath.Join(dir, "control.sock")
			config, err := configs.Parse("milterd.yaml", fmt.Appendf(nil, "listen: {%s}\ngrants: {control: 'local:%s', control_group: %q}\n", tt.listen, socket, tt.group))
			if err != nil {
				t.Fatal(err)
			}
			g, err := Open(config, nil, nil, slog.New(slog.DiscardHandler))
			if err != nil {
				t.Fatal(err)
			}
			info, err := os.Stat(socket)
			if err != nil {
				t.Fatal(err)
			}
			if got := info.Mode().Perm(); got != tt.want || int(info.Sys().(*syscall.Stat_t).Gid) != own {
				t.Errorf("mode %o, group %d, want %o and %d", got, info.Sys().(*syscall.Stat_t).Gid, tt.want, own)
			}
			if err := g.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestDRACBelievesReservedPortsOnly calls from a port that every user can have.
func TestDRACBelievesReservedPortsOnly(t *testing.T) {
	for _, tt := range []struct {
		name, keys string
		want       uint32
	}{
		{"by default it is denied", "", 1},
		{"where it is asked to, it believes", ", reserved_port: false", 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			const port = 9111
			config, err := configs.Parse("milterd.yaml", fmt.Appendf(nil, "grants: {drac: {listen: 'inet:%d@%s', rpcbind: false%s}}\n", port, testkit.OwnLoopback(), tt.keys))
			if err != nil {
				t.Fatal(err)
			}
			g, err := Open(config, nil, nil, slog.New(slog.DiscardHandler))
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancel(t.Context())
			var group sync.WaitGroup
			g.Run(ctx, group.Go)
			defer func() {
				cancel()
				group.Wait()
				if err := g.Close(); err != nil {
					t.Error(err)
				}
			}()
			conn, err := net.Dial("udp", net.JoinHostPort(testkit.OwnLoopback(), strconv.Itoa(port)))
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			_ = conn.SetDeadline(time.Now().Add(testkit.Patience))
			// Call 7 of procedure 1, ADD, without credentials, for 203.0.113.8.
			var call []byte
			for _, n := range []uint32{7, 0, 2, 900101, 1, 1, 0, 0, 0, 0, 0xcb007108} {
				call = binary.BigEndian.AppendUint32(call, n)
			}
			if _, err := conn.Write(call); err != nil {
				t.Fatal(err)
			}
			reply := make([]byte, 100)
			n, err := conn.Read(reply)
			if err != nil || n != 28 || binary.BigEndian.Uint32(reply) != 7 {
				t.Fatalf("reply %x (%v)", reply[:n], err)
			}
			if got := binary.BigEndian.Uint32(reply[24:]); got != tt.want {
				t.Errorf("status %d, want %d", got, tt.want)
			}
		})
	}
}
