package configs

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// madeAtStart are the directories that milterd.service has made at each start.
var madeAtStart = []string{"/run/milterd", "/var/run/milterd", "/var/lib/milterd"}

// CheckPlaces finds what would keep milterd from starting, or from writing what it is
// to write, if it ran as the user of this process: directories that are not there or
// not open to it, and groups. The error is an [*Error] that holds every problem.
func (c *Config) CheckPlaces() error {
	r := report{config: c}
	check := func(key string, err error) {
		if err != nil {
			r.wrong(key, "%v", err)
		}
	}
	for _, l := range c.listeners() {
		if network, path := l.Dial(); network == "unix" {
			check(l.key, writable(filepath.Dir(path)))
		}
	}
	check("listen.socket_group", ownGroup(c.Listen.SocketGroup))
	check("grants.control_group", ownGroup(c.Grants.ControlGroup))
	if c.Grants.File != "" {
		check("grants.file", writable(filepath.Dir(c.Grants.File)))
	}
	if c.Limits.File != "" {
		check("limits.file", writable(filepath.Dir(c.Limits.File)))
	}
	for _, l := range c.Grants.Logs {
		if err := unix.Faccessat(unix.AT_FDCWD, l.File, unix.R_OK, unix.AT_EACCESS); errors.Is(err, fs.ErrPermission) {
			check("grants.logs", fmt.Errorf("%s: %w", l.File, err))
		}
	}
	if dir := c.Record.Dir; dir != "" {
		if !isDir(dir) {
			dir = filepath.Dir(dir)
		}
		// Without a directory mail goes on, which has been warned of.
		if isDir(dir) {
			check("record.dir", writable(dir))
		}
	}
	return r.err()
}

// checkNames warns of names in the list of a key that are files beside the configuration.
func (s *sources) checkNames(key string, names []string) {
	for _, name := range names {
		path, err := filepath.Abs(s.config.path(name))
		if err != nil || s.config.name == "" || strings.HasPrefix(name, "/") {
			continue
		}
		if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() {
			s.warnOf(key, "%s is taken for a name, and there is a file %s; for the names in it write %s: [%s]", quote(name), path, key, path)
		}
	}
}

// checkPlaces warns of files and directories that milterd would need to have.
func (c *Config) checkPlaces(s *sources) {
	s.checkNames("domains.local", c.Domains.Local)
	s.checkNames("domains.relay", c.Domains.Relay)
	g := &c.Grants
	if g.File != "" && !isDir(filepath.Dir(g.File)) {
		s.warnOf("grants.file", "there is no directory %s, and milterd does not start without", filepath.Dir(g.File))
	}
	// The directory itself is made at the start.
	if dir := c.Record.Dir; dir != "" && !isDir(filepath.Dir(dir)) {
		s.warnOf("record.dir", "there is no directory %s, so nothing will be recorded", filepath.Dir(dir))
	} else if info, err := os.Stat(dir); dir != "" && err == nil && !info.IsDir() {
		s.warnOf("record.dir", "%s is not a directory, so nothing will be recorded", dir)
	}
	for _, l := range g.Logs {
		if _, err := os.Stat(l.File); os.IsNotExist(err) {
			s.warnOf("grants.logs", "%s: no such file (yet)", l.File)
		}
	}
	if g.File != "" && g.Control == "" && g.Dovecot.Listen == "" && len(g.Logs) == 0 && g.DRAC.Listen == "" {
		s.warnOf("grants.file", "nothing makes grants here: expected control, dovecot, logs or drac as well")
	}
	if g.Control != "" && c.Limits.File == "" && len(c.Redis.Addresses) == 0 {
		s.warnOf("grants.control", "limits.file is empty, so a login that milterd -block has stopped can send again when milterd is started anew; expected, for example, /var/lib/milterd/limits")
	}
}

func isDir(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}

// checkOthers warns of a file that every user of this machine can read or write,
// whichever of the two is in forbidden; key says what the file is. One that is not
// there yet is made with a mode that is right.
func (s *sources) checkOthers(path, key string, forbidden os.FileMode) {
	info, err := os.Stat(path)
	if err != nil {
		return
	}
	can, chmod := "", ""
	switch info.Mode() & forbidden {
	case 0o002:
		can, chmod = "write to", "o-w"
	case 0o004:
		can, chmod = "read", "o-r"
	case 0o006:
		can, chmod = "read and write to", "o-rw"
	default:
		return
	}
	s.warn(path, 0, "every user of this machine can %s it (%s); chmod %s takes that away", can, key, chmod)
}

// UnsafeSockets are the findings about sockets that sendmail does not use, as others can
// write to a directory above them, or in whose place others could be.
func (c *Config) UnsafeSockets(groupsTrusted bool) []Finding {
	s := &sources{report: report{config: c}}
	for _, l := range c.listeners() {
		path, ok := strings.CutPrefix(l.String(), "local:")
		if l.key != "listen.milter" && l.key != "listen.map" || !ok {
			continue
		}
		dir, mode := openDir(path, groupsTrusted)
		file, line := c.place(l.key)
		switch {
		case dir == "":
		case mode&0o002 != 0 && mode&fs.ModeSticky != 0: // such as /tmp, which has to be so
			s.find(Warning, "listen: {milter: "+stockMilter+", map: "+stockMap+"}", file, line,
				"%s: every user of this machine can make files in %s, and so, while milterd is down, a %s that sendmail asks in its place", l.key, dir, path)
		case mode&0o002 != 0:
			s.severe("chmod o-w "+dir, file, line, "%s: every user of this machine can write to %s, so sendmail calls %s unsafe and does not use it", l.key, dir, path)
		default:
			s.severe("chmod g-w "+dir, file, line, "%s: a group can write to %s, so sendmail calls %s unsafe and does not use it", l.key, dir, path)
		}
	}
	return s.findings
}

// openDir is the lowest directory above a path that others may write to, empty if there is none.
func openDir(path string, groupsTrusted bool) (string, fs.FileMode) {
	others := fs.FileMode(0o022)
	if groupsTrusted {
		others = 0o002
	}
	for dir := filepath.Dir(path); dir != "/" && dir != "."; dir = filepath.Dir(dir) {
		if info, err := os.Stat(dir); err == nil && info.Mode()&others != 0 {
			return dir, info.Mode()
		}
	}
	return "", 0
}

// writable reports why files cannot be made in a directory.
func writable(dir string) error {
	err := unix.Faccessat(unix.AT_FDCWD, dir, unix.W_OK|unix.X_OK, unix.AT_EACCESS)
	switch {
	case errors.Is(err, fs.ErrNotExist) && slices.Contains(madeAtStart, dir):
		return nil
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("there is no directory %s", dir)
	case err != nil:
		return fmt.Errorf("the user that milterd runs as (%s) must be able to write to %s: %w", userName(), dir, err)
	}
	return nil
}

// ownGroup reports why a socket cannot be given to a group: the process must be in it.
func ownGroup(name string) error {
	if name == "" {
		return nil
	}
	id, err := strconv.Atoi(name)
	if err != nil {
		group, err := user.LookupGroup(name)
		if err != nil {
			return err
		}
		if id, err = strconv.Atoi(group.Gid); err != nil {
			return err
		}
	}
	groups, err := os.Getgroups()
	if err != nil || os.Geteuid() == 0 || os.Getegid() == id || slices.Contains(groups, id) {
		return err
	}
	return fmt.Errorf("the user that milterd runs as (%s) is not in the group %s, so it cannot give its sockets to it; SupplementaryGroups=%s in milterd.service puts it there", userName(), name, name)
}

// userName is whom this process belongs to.
func userName() string {
	if u, err := user.Current(); err == nil {
		return u.Username
	}
	return strconv.Itoa(os.Geteuid())
}
