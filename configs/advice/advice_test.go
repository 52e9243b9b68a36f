package advice

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"milterd/configs"
	"milterd/configs/sendmail"
	"milterd/integration/testkit"
)

// cfDir is where Debian's package sendmail-cf has its m4 files.
const cfDir = "/usr/share/sendmail/cf"

// generate makes a sendmail.cf of a sendmail.mc, and gives its path. What m4 complains
// of is an error.
func generate(t *testing.T, mc string) string {
	t.Helper()
	testkit.Need(t, "m4")
	dir := t.TempDir()
	for name, text := range map[string]string{"milterd.m4": sendmail.Include, "access": "", "local-host-names": "", "relay-domains": ""} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	mc = strings.NewReplacer("/etc/mail/m4/milterd.m4", dir+"/milterd.m4", "/etc/mail/milterd.m4", dir+"/milterd.m4",
		"include(`/etc/mail/m4/dialup.m4')dnl", "", "include(`/etc/mail/m4/provider.m4')dnl", "").Replace(mc)
	m4 := exec.Command("m4", "-D_CF_DIR_="+cfDir+"/", "-")
	m4.Stdin = strings.NewReader(mc)
	var complaints strings.Builder
	m4.Stderr = &complaints
	cf, err := m4.Output()
	if err != nil || strings.Contains(complaints.String(), "ERROR") || strings.Contains(complaints.String(), "m4:") {
		t.Fatalf("m4: %v\n%s", err, complaints.String())
	}
	path := filepath.Join(dir, "sendmail.cf")
	if err := os.WriteFile(path, bytes.ReplaceAll(cf, []byte("/etc/mail/"), []byte(dir+"/")), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// variant is a sendmail.mc of testdata; debian.mc is Debian's own.
func variant(t *testing.T, name string) string {
	t.Helper()
	path := filepath.Join("testdata", name+".mc")
	if name == "debian" {
		path = cfDir + "/debian/sendmail.mc"
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// variants are the sendmail.mc files that are examined. Those of RHEL and FreeBSD are
// written after their stock files, the others after guides of their time.
var variants = []string{"debian", "rhel", "freebsd", "poprelayd", "auth-goaway", "split", "virtual", "smarthost", "broken"}

// config is a configuration that reads nothing of this machine but a sendmail.cf.
func config(t *testing.T, cf, more string) *configs.Config {
	t.Helper()
	dir := filepath.Dir(cf)
	c, err := configs.Parse(filepath.Join(dir, "milterd.yaml"), []byte("sendmail: {cf: "+cf+"}\naccess: {file: access}\n"+more))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// report is what the doctor says, without the places of this test.
func report(t *testing.T, cf string, c *configs.Config) string {
	t.Helper()
	var b strings.Builder
	for _, f := range Doctor(Examined{Config: c, CF: cf, Resolver: "nameserver 192.0.2.53\n", Now: time.Now()}) {
		b.WriteString(f.Severity.String() + ": " + f.String() + "\n")
		if f.Cure != "" {
			b.WriteString("    " + f.Cure + "\n")
		}
	}
	return strings.ReplaceAll(b.String(), filepath.Dir(cf)+"/", "")
}

func TestFindingsOfEverySendmailMC(t *testing.T) {
	for _, name := range variants {
		t.Run(name, func(t *testing.T) {
			cf := generate(t, variant(t, name))
			testkit.Golden(t, filepath.Join("testdata", name+".findings"), report(t, cf, config(t, cf, "")))
		})
	}
}

func TestImportsOfEverySendmailMC(t *testing.T) {
	for _, name := range variants {
		t.Run(name, func(t *testing.T) {
			cf := generate(t, variant(t, name))
			read, err := configs.ReadSendmailCF(cf)
			if err != nil {
				t.Fatal(err)
			}
			text := Import(read, cf)
			if _, err := configs.Parse(filepath.Join(filepath.Dir(cf), "milterd.yaml"), []byte(text)); err != nil {
				t.Errorf("it does not load: %v", err)
			}
			testkit.Golden(t, filepath.Join("testdata", name+".yaml"), strings.ReplaceAll(text, filepath.Dir(cf), "/etc/mail"))
		})
	}
}
