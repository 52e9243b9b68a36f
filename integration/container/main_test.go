// Package container builds the images of configs/container with podman, unaltered, and
// runs the pod: sendmail with milterd beside it, mail through both.
//
// All of it happens in namespaces of its own, so that no address, port, bridge or file
// of the machine is touched. The two base images cannot be had without a registry; they
// are made of a small Debian, which debootstrap installs once into the user's cache
// directory, and of the machine's own Go.
package container

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// inside tells the second copy of the program that it runs in the namespaces.
const inside = "MILTERD_TEST_CONTAINER"

// Addresses in the network namespace.
const (
	good     = "203.0.113.8"  // a client with a name
	refused  = "203.0.113.40" // one that the table of pod.yaml refuses
	mailHost = "203.0.113.99" // where other.example takes its mail
	resolver = "203.0.113.53"
)

// needed are the commands, and the packages that have them.
var needed = []struct{ command, pkg string }{
	{"podman", "podman"}, {"runc", "runc"}, {"catatonit", "catatonit"}, {"debootstrap", "debootstrap"},
	{"unshare", "util-linux"}, {"ip", "iproute2"}, {"iptables", "iptables"}, {"go", "Go"},
}

// lacking says what this machine lacks, nil if the tests can run.
func lacking() error {
	if os.Geteuid() != 0 {
		return errors.New("containers of one's own need root here")
	}
	for _, n := range needed {
		if _, err := exec.LookPath(n.command); err != nil {
			return fmt.Errorf("%s is missing, package %s has it", n.command, n.pkg)
		}
	}
	return nil
}

// missing is why the tests cannot run.
var missing error

func TestMain(m *testing.M) {
	if os.Getenv(inside) != "" {
		if err := enter(); err != nil {
			fmt.Fprintln(os.Stderr, "container:", err)
			os.Exit(1)
		}
		os.Exit(m.Run())
	}
	if missing = lacking(); missing != nil {
		os.Exit(m.Run())
	}
	code, err := outside()
	if err != nil {
		fmt.Fprintln(os.Stderr, "container:", err)
	}
	os.Exit(code)
}

// outside fetches what comes from the network, and runs the tests in namespaces.
func outside() (int, error) {
	base, err := baseSystem()
	if err != nil {
		return 1, err
	}
	// The Containerfile downloads all modules, which a build on this machine need not have.
	download := exec.Command("go", "mod", "download")
	download.Dir = root
	if output, err := download.CombinedOutput(); err != nil {
		return 1, fmt.Errorf("go mod download: %w\n%s", err, output)
	}
	dir, err := os.MkdirTemp("", "milterd-container-")
	if err != nil {
		return 1, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	self, err := os.Executable()
	if err != nil {
		return 1, err
	}
	cmd := exec.Command("unshare", append([]string{"--mount", "--net", "--pid", "--ipc", "--fork", "--mount-proc", "--kill-child", "--propagation", "private", self}, os.Args[1:]...)...)
	cmd.Env = append(os.Environ(), inside+"="+dir+" "+base)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	err = cmd.Run()
	if exit := new(exec.ExitError); errors.As(err, &exit) && exit.ExitCode() > 0 {
		return exit.ExitCode(), nil
	}
	if err != nil {
		return 1, err
	}
	return 0, nil
}

// packages are those of the example's sendmail image. With them in the base image, its
// build finds nothing left to download.
const packages = "ca-certificates,make,sendmail-bin,sendmail-cf,m4,sasl2-bin,libsasl2-modules,busybox"

// baseSystem is the archive of a small Debian, made once.
func baseSystem() (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	dir := filepath.Join(cache, "milterd-tests")
	archive := filepath.Join(dir, "bookworm-base.tar")
	if _, err := os.Stat(archive); err == nil {
		return archive, nil
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	work, err := os.MkdirTemp(dir, "debootstrap-")
	if err != nil {
		return "", err
	}
	defer func() { _ = os.RemoveAll(work) }()
	for _, command := range [][]string{
		{"debootstrap", "--variant=minbase", "--include=" + packages, "bookworm", filepath.Join(work, "root"), "http://deb.debian.org/debian"},
		{"tar", "-C", filepath.Join(work, "root"), "--exclude=./var/cache/apt/archives/*.deb", "--exclude=./proc/*", "--exclude=./sys/*", "-cf", filepath.Join(work, "tar"), "."},
	} {
		if output, err := exec.Command(command[0], command[1:]...).CombinedOutput(); err != nil {
			return "", fmt.Errorf("%s: %w\n%s", command[0], err, last(string(output), 20))
		}
	}
	return archive, os.Rename(filepath.Join(work, "tar"), archive)
}

// last are the last lines of a text.
func last(text string, n int) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}

// enter makes the network and the file systems of the tests, as the first thing the
// second copy does.
func enter() error {
	if os.Getpid() != 1 {
		return errors.New(inside + " is set, but this process is not in namespaces of its own")
	}
	dir, _, _ := strings.Cut(os.Getenv(inside), " ")
	commands := [][]string{{"ip", "link", "set", "lo", "up"}}
	for _, addr := range []string{good, refused, mailHost, resolver} {
		commands = append(commands, []string{"ip", "addr", "add", addr + "/32", "dev", "lo"})
	}
	resolv := filepath.Join(dir, "resolv.conf")
	if err := os.WriteFile(resolv, []byte("nameserver "+resolver+"\n"), 0o644); err != nil {
		return err
	}
	commands = append(commands, []string{"mount", "--bind", resolv, "/etc/resolv.conf"})
	// What podman and its network plug-ins keep elsewhere than it is told.
	for _, path := range []string{"/run", "/var/lib/cni", "/etc/cni/net.d"} {
		if _, err := os.Stat(path); err == nil {
			commands = append(commands, []string{"mount", "-t", "tmpfs", "tmpfs", path})
		}
	}
	for _, command := range commands {
		if output, err := exec.Command(command[0], command[1:]...).CombinedOutput(); err != nil {
			return fmt.Errorf("%s: %w\n%s", strings.Join(command, " "), err, output)
		}
	}
	return containersConf(dir)
}

// containersConf makes podman run with what works inside of a container, too.
func containersConf(dir string) error {
	const text = `[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "none"
[containers]
default_ulimits = ["nofile=20000:20000", "nproc=10000:10000"]
`
	path := filepath.Join(dir, "containers.conf")
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		return err
	}
	return os.Setenv("CONTAINERS_CONF", path)
}
