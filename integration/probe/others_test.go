package probe

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"milterd/integration/testkit"
)

// host is where a server of another kind runs: a Debian of its own with a network of its
// own, in which every address of 198.51.100.0/24 is a stranger's.
const host = "203.0.113.25"

// inside makes the network, enters the root that is $0, and starts the server by the
// lines that come behind it.
const inside = `set -e
hostname mx.example.test
ip link set lo up
ip addr add ` + host + `/32 dev lo
ip route add local 198.51.100.0/24 dev lo
mount -t proc proc "$0/proc"
mount --rbind /dev "$0/dev"
printf '127.0.0.1 localhost\n` + host + ` mx.example.test mx\n' >"$0/etc/hosts"
printf 'nameserver 127.0.0.1\n' >"$0/etc/resolv.conf"
echo mx.example.test >"$0/etc/mailname"
exec chroot "$0" sh -c "$1"
`

// TestOtherServersAreNoRelays probes what Debian's Postfix and Exim are without any
// change but their names, the address that they listen on, and that Postfix does not
// sleep a second before each refusal.
func TestOtherServersAreNoRelays(t *testing.T) {
	for _, c := range []struct {
		name, packages, start string
		leaks                 []string
	}{
		{"postfix", "postfix", `set -e
postconf -e smtpd_error_sleep_time=0 myhostname=mx.example.test "mydestination=mx.example.test, localhost"
/etc/init.d/postfix start >/tmp/log 2>&1`, nil},
		{"exim", "exim4-daemon-light adduser", `set -e
sed -i "s/^dc_eximconfig_configtype=.*/dc_eximconfig_configtype='internet'/; s/^dc_local_interfaces=.*/dc_local_interfaces=''/
	s/^dc_other_hostnames=.*/dc_other_hostnames='mx.example.test'/" /etc/exim4/update-exim4.conf.conf
/etc/init.d/exim4 start >/tmp/log 2>&1`,
			[]string{"greeting tells the version of the software"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			network := runInRoot(t, c.name, c.packages, c.start)
			reports, err := Run(context.Background(), Options{Targets: []string{host + ":25"}, Owned: true, Delay: time.Millisecond, Dial: network.dial})
			if err != nil {
				t.Fatal(err)
			}
			r := reports[0]
			var text strings.Builder
			if err := r.Write(&text, false); err != nil {
				t.Fatal(err)
			}
			t.Log(text.String())
			var leaks []string
			for _, l := range r.Leaks {
				leaks = append(leaks, l.Where+" "+l.What)
			}
			if fmt.Sprint(leaks) != fmt.Sprint(c.leaks) || !strings.HasPrefix(r.Verdict, "no relay: none of ") || r.Error != "" {
				t.Errorf("verdict %q, error %q, leaks %q, expected %q", r.Verdict, r.Error, leaks, c.leaks)
			}
			if len(r.Attempts) < len(forms) {
				t.Errorf("%d attempts of %d forms", len(r.Attempts), len(forms))
			}
		})
	}
}

// network is a network namespace.
type network struct{ file *os.File }

// runInRoot starts a server in a Debian of its own that has the packages. It ends with the
// test, and so does all else in there.
func runInRoot(t *testing.T, name, packages, start string) network {
	t.Helper()
	testkit.NeedRoot(t)
	testkit.Need(t, "debootstrap", "unshare", "ip", "tar")
	out, err := exec.Command("sh", append([]string{"../debian-root", name}, strings.Fields(packages)...)...).Output()
	if err != nil {
		testkit.Missing(t, fmt.Sprintf("no root with %s: %v", packages, err))
	}
	root := filepath.Join(t.TempDir(), "root")
	if err := os.Mkdir(root, 0o755); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("tar", "-C", root, "-xf", strings.TrimSpace(string(out))).CombinedOutput(); err != nil {
		t.Fatalf("tar: %v\n%s", err, out)
	}
	server := exec.Command("unshare", "--mount", "--pid", "--net", "--uts", "--ipc", "--fork", "--kill-child",
		"sh", "-c", inside, root, start+"\necho started\nexec sleep infinity")
	var complaints strings.Builder
	server.Stderr = &complaints
	said, err := server.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = server.Process.Signal(syscall.SIGKILL)
		_ = server.Wait()
	})
	if line, err := bufio.NewReader(said).ReadString('\n'); line != "started\n" {
		log, _ := os.ReadFile(filepath.Join(root, "tmp/log"))
		t.Fatalf("%s does not start: %q, %v\n%s\n%s", name, line, err, log, complaints.String())
	}
	file, err := os.Open(fmt.Sprintf("/proc/%d/ns/net", server.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = file.Close() })
	n := network{file}
	testkit.Eventually(t, name+" listens", func() bool {
		conn, err := n.dial(context.Background(), "tcp", host+":25")
		return err == nil && conn.Close() == nil
	})
	return n
}

// dial connects as a stranger in the network.
func (n network) dial(ctx context.Context, protocol, address string) (conn net.Conn, err error) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		// The thread is not unlocked, so that it ends with this goroutine.
		runtime.LockOSThread()
		if err = unix.Setns(int(n.file.Fd()), unix.CLONE_NEWNET); err != nil {
			return
		}
		dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP("198.51.100.77")}, Timeout: testkit.Patience}
		conn, err = dialer.DialContext(ctx, protocol, address)
	}()
	<-done
	return conn, err
}
