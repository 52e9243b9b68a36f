package packages

import (
	"debug/elf"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"milterd/integration/testkit"
)

// installed are files of both packages; each has others, too.
var installed = []string{
	"/etc/milterd/milterd.yaml",
	"/etc/fail2ban/filter.d/milterd.conf",
	"/usr/lib/systemd/system/milterd.service",
	"/usr/lib/systemd/system/milterd.socket",
	"/usr/lib/systemd/system/milterd-map.socket",
	"/usr/lib/tmpfiles.d/milterd.conf",
	"/usr/sbin/milterd",
	"/usr/share/bash-completion/completions/milterd",
	"/usr/share/doc/milterd/copyright",
	"/usr/share/doc/milterd/examples/alerts.yaml",
	"/usr/share/doc/milterd/examples/grafana.json",
	"/usr/share/man/man5/milterd-access.5.gz",
	"/usr/share/man/man5/milterd-log.5.gz",
	"/usr/share/man/man5/milterd-sessions.5.gz",
	"/usr/share/man/man5/milterd.yaml.5.gz",
	"/usr/share/man/man7/milterd-cookbook.7.gz",
	"/usr/share/man/man7/milterd-metrics.7.gz",
	"/usr/share/man/man8/milterd.8.gz",
	"/usr/share/zsh/vendor-completions/_milterd",
}

// TestARelease makes one of a clone that has neither tags nor anything but what is
// committed, and looks at every file of it.
func TestARelease(t *testing.T) {
	testkit.NeedRoot(t)
	testkit.Need(t, "git", "make", "dpkg-deb", "lintian", "rpm", "sha256sum")
	t.Setenv("MAKEFLAGS", "") // of the make that runs the tests: its jobs are its own
	clone, dist := filepath.Join(t.TempDir(), "clone"), filepath.Join(t.TempDir(), "dist")
	run(t, "git", "clone", "--quiet", "--no-tags", source, clone)
	run(t, "make", "-C", clone, "release", "DIST="+dist)
	run(t, "sh", "-c", `cd "$0" && sha256sum --check --strict SHA256SUMS`, dist)

	release := strings.TrimSpace(run(t, "make", "-s", "-C", clone, "package-version"))
	if !strings.HasPrefix(release, "0.0.0~20") {
		t.Errorf("a source without a release has the version %q", release)
	}
	want := []string{"SHA256SUMS"}
	for arch, machine := range map[string]elf.Machine{"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64} {
		binary, deb, rpm := "milterd-"+release+"-linux-"+arch, "milterd_"+release+"_"+arch+".deb", "milterd-"+release+"."+arch+".rpm"
		want = append(want, binary, binary+".cdx.json", deb, rpm)
		checkBinary(t, filepath.Join(dist, binary), machine)
		checkParts(t, filepath.Join(dist, binary+".cdx.json"), release)
		checkDeb(t, filepath.Join(dist, deb), arch, machine)
		checkRPM(t, filepath.Join(dist, rpm), map[string]string{"amd64": "x86_64", "arm64": "aarch64"}[arch])
	}
	entries, err := os.ReadDir(dist)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, entry := range entries {
		got = append(got, entry.Name())
	}
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("files %q, expected %q", got, want)
	}
	t.Run("rpm", func(t *testing.T) { installRPM(t, filepath.Join(dist, "milterd-"+release+".amd64.rpm")) })
}

func checkBinary(t *testing.T, path string, want elf.Machine) {
	t.Helper()
	binary, err := elf.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer binary.Close()
	if binary.Machine != want {
		t.Errorf("%s is for %v, expected %v", path, binary.Machine, want)
	}
	if libraries, err := binary.ImportedLibraries(); err != nil || len(libraries) > 0 {
		t.Errorf("%s needs %q (%v)", path, libraries, err)
	}
}

// checkParts: the list has the parts of the program, and none that only tests use.
func checkParts(t *testing.T, path, release string) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var list struct {
		BOMFormat string
		Metadata  struct {
			Component struct{ Name, Version string }
		}
		Components []struct {
			Name, Version string
			Evidence      struct{ Licenses []any }
		}
	}
	if err := json.Unmarshal(text, &list); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	if c := list.Metadata.Component; list.BOMFormat != "CycloneDX" || c.Name != "milterd" || c.Version != release {
		t.Errorf("%s is a %q about %q %q", path, list.BOMFormat, c.Name, c.Version)
	}
	parts := make(map[string]bool)
	for _, c := range list.Components {
		parts[c.Name] = true
		if c.Version == "" || len(c.Evidence.Licenses) == 0 && c.Name != "std" {
			t.Errorf("%s: %s has the version %q and %d licences", path, c.Name, c.Version, len(c.Evidence.Licenses))
		}
	}
	for name, want := range map[string]bool{"std": true, "github.com/d--j/go-milter": true, "github.com/miekg/dns": true, "pgregory.net/rapid": false} {
		if parts[name] != want {
			t.Errorf("%s has %s: %v, expected %v", path, name, !want, want)
		}
	}
}

func checkDeb(t *testing.T, path, arch string, machine elf.Machine) {
	t.Helper()
	if got := strings.TrimSpace(run(t, "dpkg-deb", "--field", path, "Architecture")); got != arch {
		t.Errorf("%s has the architecture %q, expected %q", path, got, arch)
	}
	unpacked := t.TempDir()
	run(t, "dpkg-deb", "--extract", path, unpacked)
	for _, file := range append(installed, "/etc/init.d/milterd", "/usr/share/sendmail/cf/feature/milterd.m4") {
		if _, err := os.Stat(filepath.Join(unpacked, file)); err != nil {
			t.Errorf("%s: %v", path, err)
		}
	}
	checkBinary(t, filepath.Join(unpacked, "usr/sbin/milterd"), machine)
	run(t, "lintian", "--allow-root", "--fail-on", "error,warning", path)
}

func checkRPM(t *testing.T, path, arch string) {
	t.Helper()
	if got := run(t, "rpm", "-qp", "--queryformat", "%{NAME} %{ARCH} %{LICENSE}", path); got != "milterd "+arch+" BSD-2-Clause" {
		t.Errorf("%s says %q", path, got)
	}
	files := strings.Split(run(t, "rpm", "-qlp", path), "\n")
	for _, file := range append(installed, "/usr/share/sendmail-cf/feature/milterd.m4") {
		if !slices.Contains(files, file) {
			t.Errorf("%s has no %s", path, file)
		}
	}
	if got := run(t, "rpm", "-qcp", path); got != "/etc/fail2ban/filter.d/milterd.conf\n/etc/milterd/milterd.yaml\n" {
		t.Errorf("%s keeps of the administrator's:\n%s", path, got)
	}
}

// installRPM has rpm install, replace and remove the package in a clean root, with its
// scripts. There are Debian's programs in it, and no systemd that runs.
func installRPM(t *testing.T, path string) {
	testkit.Need(t, "debootstrap")
	root := cleanRoot(t)
	rpm := func(args ...string) string {
		return run(t, "rpm", append([]string{"--root", root, "--force-debian", "--nodeps"}, args...)...)
	}
	rpm("--install", path)
	if got := run(t, "chroot", root, "milterd", "-version"); !strings.HasPrefix(got, "milterd ") {
		t.Errorf("-version: %s", got)
	}
	if got := run(t, "chroot", root, "id", "milterd"); !strings.Contains(got, "(smmsp)") {
		t.Errorf("the user milterd: %s", got)
	}
	if got := rpm("--verify", "milterd"); got != "" {
		t.Errorf("after the installation files differ from the package's:\n%s", got)
	}
	config := filepath.Join(root, "etc/milterd/milterd.yaml")
	const mine = "mode: shadow # mine\n"
	if err := os.WriteFile(config, []byte(mine), 0o644); err != nil {
		t.Fatal(err)
	}
	rpm("--install", "--force", path)
	if got, err := os.ReadFile(config); err != nil || string(got) != mine {
		t.Errorf("the configuration after an upgrade: %q, %v", got, err)
	}
	rpm("--erase", "milterd")
	for _, file := range installed {
		if _, err := os.Lstat(filepath.Join(root, file)); err == nil {
			t.Errorf("erased, but there is %s", file)
		}
	}
	if got, err := os.ReadFile(config + ".rpmsave"); err != nil || string(got) != mine {
		t.Errorf("the administrator's configuration after removal: %q, %v", got, err)
	}
}
