package harness

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
)

const (
	// Hostname is the name of the server.
	Hostname = "mx.example.test"
	// ServerAddr4 and ServerAddr6 are its addresses.
	ServerAddr4 = "203.0.113.25"
	ServerAddr6 = "2001:db8::25"

	// runtimeDir holds the files of an Env: logs, and nothing that sendmail
	// has to trust.
	runtimeDir = "/run/harness"
)

// makeFiles gives this process a file system in which everything that sendmail
// and milterd read or write is private. The copies are below dir.
func makeFiles(dir string) error {
	// Without this, each mount would show outside as well.
	if err := syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	if err := syscall.Mount("proc", "/proc", "proc", 0, ""); err != nil {
		return fmt.Errorf("mount /proc: %w", err)
	}
	stage := filepath.Join(dir, "stage")
	if err := os.Mkdir(stage, 0o755); err != nil {
		return err
	}
	if err := syscall.Mount("tmpfs", stage, "tmpfs", 0, "mode=0755"); err != nil {
		return fmt.Errorf("mount %s: %w", stage, err)
	}
	for _, step := range []func(string) error{copyEtc, makeDev, makeRun} {
		if err := step(stage); err != nil {
			return err
		}
	}
	for _, path := range []string{"/var/spool/mqueue", "/var/spool/mqueue-client", "/var/lib/sendmail", "/var/mail"} {
		if err := coverEmpty(path); err != nil {
			return err
		}
	}
	// The unconfigured sendmail.mc wants it; the package makes it on demand.
	if err := os.MkdirAll("/var/lib/sendmail/host_status", 0o755); err != nil {
		return err
	}
	return writeEtc()
}

// copyEtc puts a copy of /etc over /etc.
func copyEtc(stage string) error {
	etc := filepath.Join(stage, "etc")
	if out, err := exec.Command("cp", "-a", "/etc", etc).CombinedOutput(); err != nil {
		return fmt.Errorf("copy /etc: %w: %s", err, out)
	}
	return bind(etc, "/etc")
}

// makeDev makes a /dev with the few devices that anyone here opens. It has
// no log socket, so that what sendmail says to syslog comes to the Env and
// not to the machine's journal.
func makeDev(stage string) error {
	dev := filepath.Join(stage, "dev")
	if err := os.Mkdir(dev, 0o755); err != nil {
		return err
	}
	for _, name := range []string{"null", "zero", "full", "random", "urandom", "tty"} {
		if err := os.WriteFile(filepath.Join(dev, name), nil, 0o600); err != nil {
			return err
		}
		if err := bind("/dev/"+name, filepath.Join(dev, name)); err != nil {
			return err
		}
	}
	for name, target := range map[string]string{"fd": "fd", "stdin": "fd/0", "stdout": "fd/1", "stderr": "fd/2"} {
		if err := os.Symlink("/proc/self/"+target, filepath.Join(dev, name)); err != nil {
			return err
		}
	}
	if err := os.Mkdir(filepath.Join(dev, "shm"), 0o1777); err != nil {
		return err
	}
	return bind(dev, "/dev")
}

// makeRun makes a /run with the directories that sendmail's package and
// milterd's unit make at boot.
func makeRun(stage string) error {
	run := filepath.Join(stage, "run")
	for _, name := range []string{"sendmail/mta", "sendmail/msp", "sendmail/stampdir", "milterd", "harness", "lock"} {
		if err := os.MkdirAll(filepath.Join(run, name), 0o755); err != nil {
			return err
		}
	}
	return bind(run, "/run")
}

// bind mounts a file or directory, with the mounts in it, over another.
func bind(from, to string) error {
	if err := syscall.Mount(from, to, "", syscall.MS_BIND|syscall.MS_REC, ""); err != nil {
		return fmt.Errorf("bind %s over %s: %w", from, to, err)
	}
	return nil
}

// coverEmpty mounts an empty directory with the same owner and mode over one
// that a package made. A directory that is not there needs no cover.
func coverEmpty(path string) error {
	var st syscall.Stat_t
	if err := syscall.Stat(path, &st); err == syscall.ENOENT {
		return nil
	} else if err != nil {
		return fmt.Errorf("stat %s: %w", path, err)
	}
	options := fmt.Sprintf("mode=%04o,uid=%d,gid=%d", st.Mode&0o7777, st.Uid, st.Gid)
	if err := syscall.Mount("tmpfs", path, "tmpfs", 0, options); err != nil {
		return fmt.Errorf("cover %s: %w", path, err)
	}
	return nil
}

// writeEtc writes the names and addresses of this host, for the resolver and
// sendmail.
func writeEtc() error {
	short, _, _ := strings.Cut(Hostname, ".")
	for path, text := range map[string]string{
		// One second and one attempt: a test that waits for a time-out waits long enough.
		"/etc/resolv.conf":   "nameserver 127.0.0.1\noptions timeout:1 attempts:1\n",
		"/etc/nsswitch.conf": "passwd: files\ngroup: files\nshadow: files\nhosts: files dns\nservices: files\nprotocols: files\n",
		"/etc/hosts":         fmt.Sprintf("127.0.0.1 localhost\n::1 localhost\n127.0.1.1 %s %s\n", Hostname, short),
		"/etc/hostname":      short + "\n",
		"/etc/mailname":      Hostname + "\n",
	} {
		// It may be a symbolic link to somewhere in /run.
		if err := os.Remove(path); err != nil && !os.IsNotExist(err) {
			return err
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			return err
		}
	}
	return os.MkdirAll("/etc/milterd", 0o755)
}

// makeNetwork brings up lo with the server's addresses and makes every client
// address local.
func makeNetwork() error {
	short, _, _ := strings.Cut(Hostname, ".")
	if err := syscall.Sethostname([]byte(short)); err != nil {
		return fmt.Errorf("set host name: %w", err)
	}
	// Container engines like to switch it off; if the kernel has none,
	// the addresses below fail.
	_ = os.WriteFile("/proc/sys/net/ipv6/conf/all/disable_ipv6", []byte("0"), 0)
	// With IPv4 a local route is enough to bind an address, IPv6 wants more.
	if err := os.WriteFile("/proc/sys/net/ipv6/ip_nonlocal_bind", []byte("1"), 0); err != nil {
		return err
	}
	lines := []string{
		"link set lo up",
		"addr add " + ServerAddr4 + "/32 dev lo",
		"addr add " + ServerAddr6 + "/128 dev lo nodad",
	}
	for _, network := range []string{"192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24", "10.0.0.0/8", "2001:db8::/32"} {
		lines = append(lines, "route add local "+network+" dev lo")
	}
	cmd := exec.Command("ip", "-batch", "-")
	cmd.Stdin = strings.NewReader(strings.Join(lines, "\n") + "\n")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("ip: %w: %s", err, out)
	}
	return nil
}
