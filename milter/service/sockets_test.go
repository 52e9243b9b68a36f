package service

import (
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"milterd/configs"
	"milterd/integration/testkit"
)

// testDir is a directory with a short name, since socket paths are.
func testDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "milterd")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

func TestAMapDoorThatCannotBeOpened(t *testing.T) {
	for _, c := range []struct {
		name, listen string
		impossible   bool   // what the configuration leaves to the default cannot be had
		err, warning string // parts
		maps         int
	}{
		{"asked for", "milter: local:DIR/milter.sock, map: local:DIR/none/none/map.sock", false, "listen.map: ", "", 0},
		{"asked for, the second of two", "milter: local:DIR/milter.sock, map: [local:DIR/map.sock, local:DIR/none/none/map.sock]", false, "listen.map: ", "", 0},
		{"left to the default", "milter: local:DIR/milter.sock", true, "", "the map door stays shut", 0},
		{"not wanted", "milter: local:DIR/milter.sock, map: []", false, "", "", 0},
		{"open", "milter: local:DIR/milter.sock, map: [local:DIR/map.sock, local:DIR/map2.sock]", false, "", "", 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := testDir(t)
			config, err := configs.Parse("milterd.yaml", []byte("listen: {"+strings.ReplaceAll(c.listen, "DIR", dir)+"}\n"))
			if err != nil {
				t.Fatal(err)
			}
			if c.impossible {
				config.Listen.Map = []string{"local:" + dir + "/none/none/map.sock"}
			}
			var log testkit.Log
			s, err := Open(config, slog.New(slog.NewTextHandler(&log, nil)))
			if c.err != "" {
				if err == nil || !strings.Contains(err.Error(), c.err) || !strings.Contains(err.Error(), dir+"/none") {
					t.Fatalf("error %v, expected %s and the path", err, c.err)
				}
				for _, name := range []string{"milter.sock", "map.sock"} {
					if _, err := os.Stat(filepath.Join(dir, name)); err == nil {
						t.Errorf("%s has been left behind", name)
					}
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			defer func() {
				if err := s.Close(); err != nil {
					t.Error(err)
				}
			}()
			if len(s.Filter) != 1 || len(s.Map) != c.maps {
				t.Errorf("%d sockets of the filter door and %d of the map door, expected 1 and %d", len(s.Filter), len(s.Map), c.maps)
			}
			if got := log.String(); !strings.Contains(got, c.warning) || c.warning == "" && got != "" {
				t.Errorf("log %q, expected %q", got, c.warning)
			}
		})
	}
}

// TestADoorThatKeepsItsClientsWaitingHangs: the service manager is not told then.
func TestADoorThatKeepsItsClientsWaitingHangs(t *testing.T) {
	ln, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	for name, s := range map[string]*Sockets{"filter": {Filter: []net.Listener{ln}}, "map": {Map: []net.Listener{ln}}} {
		t.Run(name, func(t *testing.T) {
			if s.hang() == nil {
				t.Error("it is said to answer")
			}
		})
	}
}
