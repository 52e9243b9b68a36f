package main

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// installPackages runs the script on a machine that has some packages, written
// as dpkg-query's answer: "STATUS NAME PROVIDES". apt-get only says that it ran.
func installPackages(t *testing.T, installed string, env string, args ...string) (status int, stderr string) {
	t.Helper()
	dir := t.TempDir()
	for name, script := range map[string]string{
		"dpkg-query": `#!/bin/sh
case "$3" in
*Provides*) printf '%s' "$INSTALLED" ;;
*) printf '%s' "$INSTALLED" | awk -v name="$4" '$2 == name { print $1; found = 1 } END { exit !found }' | tr -d '\n' ;;
esac
`,
		"apt-get": "#!/bin/sh\necho \"apt-get $*\"\n",
		"id":      "#!/bin/sh\necho 0\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(script), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command("sh", append([]string{"../install-packages"}, args...)...)
	cmd.Env = append(os.Environ(), "PATH="+dir+":"+os.Getenv("PATH"), "INSTALLED="+installed, "POLICY_RC_D="+filepath.Join(dir, "policy-rc.d"), env)
	var out strings.Builder
	cmd.Stderr = &out
	err := cmd.Run()
	if exit := new(exec.ExitError); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), out.String()
}

func TestAnotherMailServerIsNotReplaced(t *testing.T) {
	const refusal = "exim4-daemon-light is this machine's mail server, and installing sendmail would remove it"
	exim := "installed bash \ninstalled exim4-daemon-light default-mta, mail-transport-agent\n"
	cases := []struct {
		name, installed, env string
		args                 []string
		status               int
		refused, installs    bool
	}{
		{"another mail server", exim, "CI=", nil, 1, true, false},
		{"another mail server, in a demonstration", exim, "CI=", []string{"--try"}, 0, true, false},
		{"another mail server, on a machine for tests", exim, "CI=true", nil, 0, false, true},
		{"no mail server", "installed bash \n", "CI=", nil, 0, false, true},
		{"a mail server that was removed", "config-files exim4-daemon-light mail-transport-agent\n", "CI=", nil, 0, false, true},
		{"sendmail", "installed sendmail-bin mail-transport-agent\n", "CI=", nil, 0, false, true},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			status, stderr := installPackages(t, c.installed, c.env, c.args...)
			if status != c.status || strings.Contains(stderr, refusal) != c.refused || strings.Contains(stderr, "apt-get install") != c.installs {
				t.Errorf("exit status %d, stderr:\n%s", status, stderr)
			}
		})
	}
}
