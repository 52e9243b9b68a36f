package configs

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

func TestFilesThatEveryUserCanReadOrWriteAreWarnedAbout(t *testing.T) {
	const text = `access: {file: access}
domains: {local: [], relay: []}
grants: {file: grants.db, control: local:DIR/control.sock}
limits: {file: limits}
`
	for _, c := range []struct {
		name           string
		access, grants os.FileMode
		want           []string
	}{
		{"private ones", 0o600, 0o600, nil},
		{"a table that is read, a database of a group", 0o664, 0o660, nil},
		{"a table that is written", 0o666, 0o600, []string{"DIR/access: every user of this machine can write to it (the access table: who may relay); chmod o-w takes that away"}},
		{"a database that is read", 0o600, 0o644, []string{"DIR/grants.db: every user of this machine can read it (grants.file); chmod o-r takes that away"}},
		{"a database that is written", 0o600, 0o602, []string{"DIR/grants.db: every user of this machine can write to it (grants.file); chmod o-w takes that away"}},
		{"a database that is both", 0o600, 0o666, []string{"DIR/grants.db: every user of this machine can read and write to it (grants.file); chmod o-rw takes that away"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := write(t, map[string]string{"access": "", "grants.db": ""})
			// Not by the way of creating them, which the umask has a say in.
			for name, mode := range map[string]os.FileMode{"access": c.access, "grants.db": c.grants} {
				if err := os.Chmod(filepath.Join(dir, name), mode); err != nil {
					t.Fatal(err)
				}
			}
			_, warnings := build(t, dir, text)
			equal(t, "warnings", warnings, c.want)
		})
	}
	_, warnings := build(t, write(t, map[string]string{"access": ""}), text)
	equal(t, "warnings about a database that is not there yet", warnings, nil)
}

func TestNetworksThatTogetherAreEverybody(t *testing.T) {
	eighths := make([]string, 8)
	for i := range eighths {
		eighths[i] = fmt.Sprintf("%d.0.0.0/3", i*32)
	}
	for _, c := range []struct {
		networks []string
		want     bool
	}{
		{nil, false},
		{[]string{"127.0.0.0/8", "::1/128"}, false},
		{[]string{"0.0.0.0/0"}, true},
		{[]string{"203.0.113.0/24", "0.0.0.0/0"}, true},
		{[]string{"::/0"}, true},
		{[]string{"2000::/3"}, true},
		{[]string{"2000::/4", "3000::/4"}, true},
		{[]string{"2000::/4"}, false},
		{[]string{"0.0.0.0/1", "128.0.0.0/1"}, true},
		{[]string{"0.0.0.0/1", "0.0.0.0/1"}, false},
		{[]string{"128.0.0.0/1", "64.0.0.0/2", "0.0.0.0/2"}, true},
		{eighths, true},
		{eighths[1:], false},
		{eighths[:7], false},
		{append([]string{"0.0.0.0/4", "16.0.0.0/5", "24.0.0.0/6", "28.0.0.0/7", "30.0.0.0/8"}, eighths[1:]...), false},
		{append([]string{"0.0.0.0/4", "16.0.0.0/5", "24.0.0.0/6", "28.0.0.0/7", "30.0.0.0/7"}, eighths[1:]...), true},
	} {
		if got := everybody(prefixes(c.networks...)); got != c.want {
			t.Errorf("%v: %v, want %v", c.networks, got, c.want)
		}
	}
}
