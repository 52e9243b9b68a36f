package service

import (
	"errors"
	"io"
	"os"
	"os/exec"
	"os/user"
	"strconv"
	"strings"
	"syscall"
)

// The unit that runs milterd, its user, and the group that it adds as shipped.
const (
	unit  = "milterd.service"
	User  = "milterd"
	group = "smmsp"
)

// addedGroups are the groups that the unit adds on this machine. Without systemd they
// are as shipped.
func addedGroups() []string {
	out, err := exec.Command("systemctl", "show", "--property=SupplementaryGroups", "--value", unit).Output()
	if groups := strings.Fields(string(out)); err == nil && len(groups) > 0 {
		return groups
	}
	return []string{group}
}

// ErrThisUser is the error of RunAs if this process is the user's already.
var ErrThisUser = errors.New("this process is that user's")

// RunAs runs this program with other arguments as another user, and returns its exit status. Only
// root can. The error is a [user.UnknownUserError] or ErrThisUser, among others.
func RunAs(name string, args []string, stdout, stderr io.Writer) (status int, err error) {
	u, err := user.Lookup(name)
	if err != nil {
		return 0, err
	}
	credential, err := credentialOf(u)
	switch {
	case err != nil:
		return 0, err
	case int(credential.Uid) == os.Geteuid():
		return 0, ErrThisUser
	case os.Geteuid() != 0:
		return 0, errors.New("only root can check as another user")
	}
	// This name of the program needs no right to reach its directory.
	cmd := exec.Command("/proc/self/exe", args...)
	cmd.Stdout, cmd.Stderr = stdout, stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: credential}
	if err := cmd.Run(); err != nil && !errors.As(err, new(*exec.ExitError)) {
		return 0, err
	}
	return cmd.ProcessState.ExitCode(), nil
}

// credentialOf is what a process of a user's has, with the groups that milterd.service
// adds, if there are such.
func credentialOf(u *user.User) (*syscall.Credential, error) {
	groups, err := u.GroupIds()
	if err != nil {
		return nil, err
	}
	if u.Username == User {
		for _, name := range addedGroups() {
			if added, err := user.LookupGroup(name); err == nil {
				groups = append(groups, added.Gid)
			}
		}
	}
	ids := make([]uint32, 0, len(groups)+2)
	for _, text := range append([]string{u.Uid, u.Gid}, groups...) {
		id, err := strconv.ParseUint(text, 10, 32)
		if err != nil {
			return nil, err
		}
		ids = append(ids, uint32(id))
	}
	return &syscall.Credential{Uid: ids[0], Gid: ids[1], Groups: ids[2:]}, nil
}
