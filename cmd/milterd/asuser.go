package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/user"
	"strconv"
	"strings"
	"syscall"

	"milterd/policy/replay/dryrun"
)

// The unit that runs milterd, its user, and the group that it adds as shipped.
const (
	daemonUnit  = "milterd.service"
	daemonUser  = "milterd"
	daemonGroup = "smmsp"
)

// daemonGroups are the groups that the unit adds on this machine. Without systemd they
// are as shipped.
func daemonGroups() []string {
	out, err := exec.Command("systemctl", "show", "--property=SupplementaryGroups", "--value", daemonUnit).Output()
	if groups := strings.Fields(string(out)); err == nil && len(groups) > 0 {
		return groups
	}
	return []string{daemonGroup}
}

// checkAsUser runs a check of the configuration as the user that milterd will run as, in
// a process of that user's: what root can read, and write to, says little. It is not
// done if this process is that user's already, or if it is root's and the user of
// milterd.service does not exist.
func checkAsUser(o *options, stdout, stderr io.Writer) (status int, done bool) {
	name, root := cmp.Or(o.user, daemonUser), os.Geteuid() == 0
	if o.user == "" && (!root || o.access != "") {
		return 0, false
	}
	u, err := user.Lookup(name)
	if o.user == "" && errors.As(err, new(user.UnknownUserError)) {
		o.check.Places = true
		return 0, false
	}
	var credential *syscall.Credential
	if err == nil {
		credential, err = credentialOf(u)
	}
	switch {
	case err != nil:
		return complain(stderr, fmt.Errorf("-user %s: %w", name, err)), true
	case int(credential.Uid) == os.Geteuid():
		o.check.Places = true
		return 0, false
	case !root:
		return complain(stderr, fmt.Errorf("-user %s: only root can check as another user", name)), true
	}
	args := []string{"-check", "-user", u.Username}
	if o.config != "" {
		args = append(args, "-config", o.config)
	}
	if o.access != "" {
		args = append(args, "-access", o.access)
	}
	// This name of the program needs no right to reach its directory.
	cmd := exec.Command("/proc/self/exe", args...)
	cmd.Stdout, cmd.Stderr = stdout, stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: credential}
	err = cmd.Run()
	if exit := new(exec.ExitError); err != nil && !errors.As(err, &exit) {
		return complain(stderr, fmt.Errorf("-user %s: %w", u.Username, err)), true
	}
	if status = cmd.ProcessState.ExitCode(); status != exitOK {
		dryrun.Complain(stderr, fmt.Errorf("checked as the user %s; -user root checks as root", u.Username))
	}
	return status, true
}

// credentialOf is what a process of a user's has, with the groups that milterd.service
// adds, if there are such.
func credentialOf(u *user.User) (*syscall.Credential, error) {
	groups, err := u.GroupIds()
	if err != nil {
		return nil, err
	}
	if u.Username == daemonUser {
		for _, name := range daemonGroups() {
			if group, err := user.LookupGroup(name); err == nil {
				groups = append(groups, group.Gid)
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
