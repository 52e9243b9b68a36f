package container

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"milterd/integration/testkit"
	"milterd/integration/testkit/dnstest"
)

// TestCompose has docker-compose start compose.yaml as it is. Its containers are on the
// network of the host, which is that of the test.
func TestCompose(t *testing.T) {
	need(t)
	testkit.Need(t, "docker-compose")
	dir, base, _ := strings.Cut(os.Getenv(inside), " ")
	names, err := dnstest.Start(dnstest.Options{Addr: resolver + ":53", Lines: []string{
		"8.113.0.203.in-addr.arpa. PTR mail.good.example.", "mail.good.example. A " + good,
		"40.113.0.203.in-addr.arpa. PTR mail.bad.example.", "mail.bad.example. A " + refused,
		"good.example. MX 10 mail.good.example.", "example.test. MX 10 mx.example.test.", "mx.example.test. A 203.0.113.25",
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer names.Close()
	e := &engine{t, dir}
	e.build(base)

	work := filepath.Join(t.TempDir(), "compose")
	copied := func(from, to string) {
		t.Helper()
		text, err := os.ReadFile(filepath.Join(root, "configs/container", from))
		if err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(work, to), strings.Replace(string(text), "mode: shadow", "mode: enforce", 1))
	}
	copied("compose.yaml", "compose.yaml")
	copied("milterd.yaml", "config/milterd.yaml")
	write(t, filepath.Join(work, "config/access"), "Connect:"+refused+"\tREJECT\nTo:other.example\tRELAY\n")
	write(t, filepath.Join(work, "config/local-host-names"), "example.test\n")
	write(t, filepath.Join(work, "config/relay-domains"), "")
	compose := e.composer(work)
	compose("up", "--detach", "--no-build")
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("containers:\n%s\nsendmail:\n%s\nmilterd:\n%s", e.do("ps", "--all"), last(e.logs("compose_sendmail_1"), 20), last(e.logs("compose_milterd_1"), 20))
		}
		compose("down", "--volumes")
	})
	server := &pod{engine: e, addr: "127.0.0.1"}
	testkit.Eventually(t, "sendmail answers", func() bool {
		conn, err := net.Dial("tcp", server.addr+":25")
		return err == nil && conn.Close() == nil
	})
	server.becomes(good, "postmaster@example.test", messageTaken)
	server.expect(refused, "postmaster@example.test", accessDenied)
	// That is milterd's word: sendmail has no such domain.
	server.expect(good, "x@other.example", messageTaken)
	server.expect(good, "x@good.example", "550 5.7.1")

	// It comes into force without a restart.
	write(t, filepath.Join(work, "config/access"), "To:good.example\tRELAY\n")
	server.becomes(refused, "postmaster@example.test", messageTaken)
	server.expect(good, "x@good.example", messageTaken)
	server.expect(good, "x@other.example", "550 5.7.1")
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// composer runs docker-compose, which talks to the engine as it would to docker.
func (e *engine) composer(work string) func(args ...string) {
	e.t.Helper()
	socket := filepath.Join(work, "podman.sock")
	service := e.command("system", "service", "--time=0", "unix://"+socket)
	if err := service.Start(); err != nil {
		e.t.Fatal(err)
	}
	e.t.Cleanup(func() {
		_ = service.Process.Kill() // it may have ended by itself
		_ = service.Wait()
	})
	testkit.Eventually(e.t, "podman listens", func() bool {
		conn, err := net.Dial("unix", socket)
		return err == nil && conn.Close() == nil
	})
	return func(args ...string) {
		e.t.Helper()
		cmd := exec.Command("docker-compose", append([]string{"-f", filepath.Join(work, "compose.yaml")}, args...)...)
		cmd.Env = append(os.Environ(), "DOCKER_HOST=unix://"+socket)
		if output, err := cmd.CombinedOutput(); err != nil {
			e.t.Fatalf("docker-compose %s: %v\n%s", strings.Join(args, " "), err, last(string(output), 20))
		}
	}
}
