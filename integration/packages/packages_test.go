// Package packages lives with milterd's Debian package in a clean Debian 12 beside
// Debian's sendmail: installation, the documented lines, an upgrade, removal, purge. It
// also runs the documents' lines for an installation from source and for Postfix, and has
// the judgement of systemd-analyze, lintian and m4.
package packages

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"milterd/integration/testkit"
)

const source = "../.."

// run runs a command and returns what it prints.
func run(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

func TestAPackageIsInstalledUpgradedAndPurged(t *testing.T) {
	testkit.NeedRoot(t)
	testkit.Need(t, "debootstrap", "unshare", "ip", "dpkg-deb", "lintian")
	root := cleanRoot(t)
	packagesInto(t, root, "in-root")
	t.Log(run(t, "unshare", "--mount", "--pid", "--net", "--uts", "--ipc", "--fork", "--kill-child", "sh", "-c",
		`hostname mx.example.test && ip link set lo up && mount -t proc proc "$0/proc" && mount -t devtmpfs dev "$0/dev" && exec chroot "$0" /in-root`, root))
}

// service runs a script in a root, and ends its systemd.
const service = `[Service]
Type=oneshot
ExecStart=/SCRIPT
StandardOutput=file:/result
StandardError=file:/result
ExecStopPost=/bin/sh -c 'echo "$EXIT_STATUS" >/status; systemctl poweroff --no-block'
[Install]
WantedBy=multi-user.target
`

// TestAPackageUnderSystemd has systemd as process 1 of a container.
func TestAPackageUnderSystemd(t *testing.T) {
	testkit.Need(t, "dpkg-deb", "lintian")
	root := systemdRoot(t)
	packagesInto(t, root, "in-systemd")
	underSystemd(t, root, "in-systemd")
}

// systemdRoot is a Debian with sendmail that has systemd as process 1.
func systemdRoot(t *testing.T) string {
	t.Helper()
	testkit.NeedRoot(t)
	testkit.Need(t, "debootstrap", "systemd-nspawn", "timeout")
	root := cleanRoot(t, "bookworm-systemd", "sendmail-bin", "sendmail-cf", "sendmail-base", "m4", "make", "procps", "adduser", "systemd-sysv", "dbus")
	// sendmail is started when it has its configuration.
	run(t, "chroot", root, "update-rc.d", "sendmail", "remove")
	return root
}

// underSystemd has a script of the root run as a service, and ends when it has.
func underSystemd(t *testing.T, root, script string) {
	t.Helper()
	for name, text := range map[string]string{
		"etc/hosts": "127.0.0.1 localhost\n127.0.1.1 mx.example.test mx\n", "etc/hostname": "mx\n", "etc/systemd/system/trial.service": strings.Replace(service, "SCRIPT", script, 1),
	} {
		put(t, filepath.Join(root, name), text)
	}
	run(t, "chroot", root, "systemctl", "enable", "trial.service")
	console, err := exec.Command("timeout", "--kill-after=10", "180", "systemd-nspawn", "--quiet", "-D", root, "--boot", "--private-network",
		"--hostname=mx", "--register=no", "--keep-unit", "--console=pipe").CombinedOutput()
	result, _ := os.ReadFile(filepath.Join(root, "result")) // there is a status, or none
	status, _ := os.ReadFile(filepath.Join(root, "status"))
	if string(status) != "0\n" {
		t.Fatalf("exit status %q, %v\n%s\nconsole:\n%s", status, err, result, console[max(0, len(console)-4000):])
	}
	t.Logf("%s", result)
}

func put(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// cleanRoot unpacks a Debian, as integration/debian-root makes it.
func cleanRoot(t *testing.T, args ...string) string {
	t.Helper()
	root := t.TempDir()
	run(t, "tar", "-C", root, "-xf", strings.TrimSpace(run(t, "sh", append([]string{filepath.Join(source, "integration/debian-root")}, args...)...)))
	if err := os.Chmod(root, 0o755); err != nil {
		t.Fatal(err)
	}
	return root
}

// packagesInto makes two packages and puts them into a root, with the script that lives
// with them.
func packagesInto(t *testing.T, root, script string) {
	t.Helper()
	for name, version := range map[string]string{"first.deb": "1.0.0", "second.deb": "1.0.1"} {
		dist := t.TempDir()
		run(t, "make", "-C", source, "deb", "VERSION=v"+version, "DIST="+dist)
		debs, err := filepath.Glob(filepath.Join(dist, "milterd_"+version+"_*.deb"))
		if err != nil || len(debs) != 1 {
			t.Fatalf("packages: %v, %v", debs, err)
		}
		run(t, "lintian", "--allow-root", "--fail-on", "error,warning", debs[0])
		run(t, "cp", debs[0], filepath.Join(root, name))
	}
	run(t, "cp", "functions", script, root)
}

// TestTheUnitsAreValid: systemd-analyze knows all they say.
func TestTheUnitsAreValid(t *testing.T) {
	testkit.Need(t, "systemd-analyze")
	dir := t.TempDir()
	for _, name := range []string{"milterd.service", "milterd.socket", "milterd-map.socket"} {
		text, err := os.ReadFile(filepath.Join(source, "configs/packaging", name))
		if err != nil {
			t.Fatal(err)
		}
		// There need not be a milterd on this machine, nor its manual.
		unit := strings.Replace(string(text), "ExecStart=/usr/sbin/milterd", "ExecStart=/bin/true", 1)
		unit = strings.Replace(unit, "Documentation=", "# ", 1)
		if err := os.WriteFile(filepath.Join(dir, name), []byte(unit), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	service := filepath.Join(dir, "milterd.service")
	if out := run(t, "systemd-analyze", "verify", service, filepath.Join(dir, "milterd.socket"), filepath.Join(dir, "milterd-map.socket")); strings.Contains(out, dir) {
		t.Errorf("verify:\n%s", out)
	}
	// The threshold is ten times the exposure level, which is 1.6.
	run(t, "systemd-analyze", "security", "--offline=true", "--threshold=20", service)
}

// TestTheFeatureIsTheInclude: FEATURE(`milterd') makes the sendmail.cf that the include
// makes.
func TestTheFeatureIsTheInclude(t *testing.T) {
	const macros = "/usr/share/sendmail/cf"
	testkit.Need(t, "m4")
	if _, err := os.Stat(macros); err != nil {
		testkit.Missing(t, err.Error())
	}
	cf := t.TempDir()
	run(t, "cp", "-r", macros+"/.", cf)
	file := filepath.Join(cf, "feature/milterd.m4")
	run(t, "cp", filepath.Join(source, "configs/sendmail/milterd.m4"), file)
	made := func(line string) string {
		mc := filepath.Join(t.TempDir(), "sendmail.mc")
		text := "define(`_CF_DIR_', `" + cf + "/')dnl\ninclude(`" + cf + "/m4/cf.m4')dnl\nVERSIONID(`x')\nOSTYPE(`debian')dnl\n" +
			line + "dnl\nMAILER(`local')dnl\nMAILER(`smtp')dnl\n"
		if err := os.WriteFile(mc, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		out, err := exec.Command("m4", mc).Output()
		if err != nil {
			t.Fatalf("m4: %v", err)
		}
		// The head tells when and where it was made.
		_, rules, _ := strings.Cut(string(out), "\nV10/Berkeley")
		return rules
	}
	feature, include := made("FEATURE(`milterd')"), made("include(`"+file+"')")
	if !strings.Contains(feature, "Xmilterd, S=local:/run/milterd/milter.sock") || !strings.Contains(feature, "Kaccess socket -f -T<TMPF> local:/run/milterd/map.sock") {
		t.Error("FEATURE(`milterd') leads to no door")
	}
	var other []string
	for line := range strings.Lines(feature) {
		if !strings.HasPrefix(line, "#") && !strings.Contains(include, line) {
			other = append(other, line)
		}
	}
	if len(other) > 0 {
		t.Errorf("lines of FEATURE(`milterd') that the include does not make: %q", other)
	}
}
