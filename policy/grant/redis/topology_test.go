package redis_test

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"milterd/integration/testkit"
	"milterd/policy"
	"milterd/policy/grant/redis"
)

// openssl makes a certificate authority, and a certificate of 127.0.0.1 that it signs.
func openssl(t *testing.T) (dir string) {
	t.Helper()
	testkit.Need(t, "openssl")
	dir = t.TempDir()
	for _, args := range [][]string{
		{"req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=authority", "-days", "2", "-keyout", "ca.key", "-out", "ca.pem"},
		{"req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=redis", "-keyout", "redis.key", "-out", "redis.csr"},
		{"x509", "-req", "-in", "redis.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2", "-extfile", "names", "-out", "redis.pem"},
	} {
		if err := os.WriteFile(filepath.Join(dir, "names"), []byte("subjectAltName=IP:127.0.0.1\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command("openssl", args...)
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("openssl %q: %v\n%s", args, err, out)
		}
	}
	return dir
}

// TestTLSAndAUserWithFewRights: a server that speaks TLS alone, and a user that may do no
// more than the package comment says.
func TestTLSAndAUserWithFewRights(t *testing.T) {
	dir := openssl(t)
	read := func(name string) []byte {
		text, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	port := freePort(t)
	s := startServer(t, "--tls-port", fmt.Sprint(port), "--bind", "127.0.0.1", "--tls-auth-clients", "no",
		"--tls-cert-file", filepath.Join(dir, "redis.pem"), "--tls-key-file", filepath.Join(dir, "redis.key"), "--tls-ca-cert-file", filepath.Join(dir, "ca.pem"))
	s.do("ACL", "SETUSER", "milterd", "on", ">pass word", "~{milterd}:*", "+@read", "+@write", "+@scripting", "+@connection", "+time")
	config := redis.Config{
		Addresses: []string{fmt.Sprintf("rediss://127.0.0.1:%d", port)}, CA: read("ca.pem"), Username: "milterd", Password: "pass word", Timeout: testkit.Patience,
	}
	shareAll(t, config)
	fails := func(what, want string, change func(*redis.Config)) {
		t.Helper()
		c := config
		change(&c)
		store, err := redis.New(c)
		if err != nil {
			t.Fatal(err)
		}
		defer store.Close()
		if _, _, err := store.Get(t.Context(), first); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), c.Password) {
			t.Errorf("%s: %v, expected %q", what, err, want)
		}
	}
	fails("a server that nobody known has signed", "certificate", func(c *redis.Config) { c.CA = nil })
	fails("a wrong password", "WRONGPASS", func(c *redis.Config) { c.Password = "other word" })
	fails("keys of others", "NOPERM", func(c *redis.Config) { c.Prefix = "{others}:" })
	// Neither does a limit refuse for that.
	l, log := limit(t, "l", policy.ModeEnforce, "3/24h"), new(testkit.Log)
	config.Password = "other word"
	if n := send(t, host(t, config, log), 5, "mari", l); n != 3 || !log.Has("the shared store of the limits is away") || log.Has("other word") {
		t.Errorf("%d taken with a wrong password, expected the 3 of this host; log %s", n, log)
	}
}

// TestAClusterOfThreeNodes: the client finds the node that has the keys.
func TestAClusterOfThreeNodes(t *testing.T) {
	var nodes []*server
	var addresses []string
	for i := range 3 {
		port := freePort(t)
		s := startServer(t, "--cluster-enabled", "yes", "--port", fmt.Sprint(port), "--cluster-port", fmt.Sprint(freePort(t)), "--bind", "127.0.0.1", "--cluster-node-timeout", "2000")
		s.do("CLUSTER", "ADDSLOTSRANGE", 5462*i, min(5462*(i+1), 16384)-1)
		nodes, addresses = append(nodes, s), append(addresses, net.JoinHostPort("127.0.0.1", fmt.Sprint(port)))
	}
	for i, s := range nodes[1:] {
		host, port, _ := net.SplitHostPort(addresses[0])
		s.do("CLUSTER", "SET-CONFIG-EPOCH", i+2)
		s.do("CLUSTER", "MEET", host, port, nodes[0].do("CONFIG", "GET", "cluster-port").([]any)[1].(string))
	}
	for _, s := range nodes {
		testkit.Eventually(t, "the cluster is well", func() bool {
			info, _ := s.do("CLUSTER", "INFO").(string)
			return strings.Contains(info, "cluster_state:ok") && strings.Contains(info, "cluster_known_nodes:3")
		})
	}
	for i, config := range []redis.Config{{Addresses: addresses[:1], Cluster: true}, {Addresses: addresses}, {Addresses: addresses[2:], Cluster: true, Prefix: "other{1}:"}} {
		if i == 1 {
			for _, s := range nodes {
				s.do("FLUSHALL")
			}
		}
		shareAll(t, config)
	}
	with := 0
	for _, s := range nodes {
		if s.do("DBSIZE") != int64(0) {
			with++
		}
	}
	if with == 0 || with > 2 {
		t.Errorf("%d nodes have keys of two prefixes", with)
	}
}
