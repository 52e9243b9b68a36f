package configs

import (
	"os"
	"path/filepath"
)

// checkPlaces warns of files and directories that milterd would need to have.
func (c *Config) checkPlaces(s *sources) {
	warn := func(key, format string, args ...any) { s.warn(c.name, c.lines[key], key+": "+format, args...) }
	if file := c.Grants.File; file != "" && !isDir(filepath.Dir(file)) {
		warn("grants.file", "there is no directory %s, and milterd does not start without", filepath.Dir(file))
	}
	// The directory itself is made at the start.
	if dir := c.Record.Dir; dir != "" && !isDir(filepath.Dir(dir)) {
		warn("record.dir", "there is no directory %s, so nothing will be recorded", filepath.Dir(dir))
	} else if info, err := os.Stat(dir); dir != "" && err == nil && !info.IsDir() {
		warn("record.dir", "%s is not a directory, so nothing will be recorded", dir)
	}
	for _, l := range c.Grants.Logs {
		if _, err := os.Stat(l.File); os.IsNotExist(err) {
			warn("grants.logs", "%s: no such file (yet)", l.File)
		}
	}
	g := &c.Grants
	sources := g.Control != "" || g.Dovecot.Listen != "" || len(g.Logs) > 0 || g.DRAC.Listen != ""
	if g.File != "" && !sources {
		warn("grants.file", "nothing makes grants here: expected control, dovecot, logs or drac as well")
	}
	if c.Listen.HTTP != "" && reachable(c.Listen.HTTP) {
		warn("listen.http", "%s can be reached from other machines, and asks nobody who they are", c.Listen.HTTP)
	}
}

func isDir(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}
