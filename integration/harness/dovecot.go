package harness

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"syscall"
)

const (
	// DovecotLog is the file that Dovecot logs to.
	DovecotLog = dovecotDir + "/log/dovecot.log"

	dovecotDir    = runtimeDir + "/dovecot"
	dovecotMail   = dovecotDir + "/mail"
	dovecotUsers  = "/etc/dovecot/harness.users"
	dovecotConfig = "/etc/dovecot/harness.conf"
	// dovecotUID owns all mail, whose ever it is.
	dovecotUID = 60999
)

// dovecotLines are POP3 and IMAP without TLS on the server's addresses, with all
// state in private places, and without the pauses that follow failed logins.
const dovecotLines = `protocols = imap pop3
listen = ` + ServerAddr4 + `, ` + ServerAddr6 + `
base_dir = /run/dovecot
state_dir = ` + dovecotDir + `/state
log_path = ` + DovecotLog + `
ssl = no
disable_plaintext_auth = no
# Names that an administrator would not allow, to see what the log makes of them.
auth_username_chars =
auth_username_format =
auth_failure_delay = 0
service anvil {
  unix_listener anvil-auth-penalty {
    mode = 0
  }
}
passdb {
  driver = passwd-file
  args = scheme=PLAIN username_format=%u ` + dovecotUsers + `
}
userdb {
  driver = static
  args = uid=60999 gid=60999 home=` + dovecotMail + `
}
mail_location = maildir:~/mail
`

// Dovecot is a running POP3 and IMAP server.
type Dovecot struct {
	process *process
}

// MissingDovecot says what this machine lacks for a Dovecot.
func MissingDovecot() error {
	return missingFiles(map[string]string{
		"/usr/sbin/dovecot":           "dovecot-core",
		"/usr/lib/dovecot/pop3-login": "dovecot-pop3d",
		"/usr/lib/dovecot/imap-login": "dovecot-imapd",
	})
}

// missingFiles says which files are not there, and the packages that have them.
func missingFiles(packages map[string]string) error {
	var errs []error
	for path, name := range packages {
		if _, err := os.Stat(path); err != nil {
			errs = append(errs, fmt.Errorf("%s is missing, package %s has it", path, name))
		}
	}
	return errors.Join(errs...)
}

// StartDovecot starts Dovecot on ports 110 and 143 of the server's addresses, and
// waits until it listens. Its users have the passwords that are given, by name;
// lines are more for its configuration. It ends with the Env.
func (e *Env) StartDovecot(users map[string]string, lines string) (*Dovecot, error) {
	var passwords strings.Builder
	for name, password := range users {
		fmt.Fprintf(&passwords, "%s:%s\n", name, password)
	}
	for path, text := range map[string]string{dovecotUsers: passwords.String(), dovecotConfig: dovecotLines + lines} {
		if err := replaceFile(path, text, 0o644); err != nil {
			return nil, err
		}
	}
	if err := os.RemoveAll(dovecotDir); err != nil {
		return nil, err
	}
	for _, dir := range []string{dovecotDir + "/log", dovecotDir + "/state", dovecotMail} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return nil, err
		}
	}
	if err := os.Chown(dovecotMail, dovecotUID, dovecotUID); err != nil {
		return nil, err
	}
	output := new(Log)
	p, err := launch(output, "/usr/sbin/dovecot", "-F", "-c", dovecotConfig)
	if err != nil {
		return nil, err
	}
	var addrs []netip.AddrPort
	for _, host := range []string{ServerAddr4, ServerAddr6} {
		addr := netip.MustParseAddr(host)
		addrs = append(addrs, netip.AddrPortFrom(addr, 110), netip.AddrPortFrom(addr, 143))
	}
	err = Poll(startTimeout, "Dovecot to listen", func() (bool, error) {
		if err := p.ended(); err != nil {
			return false, err
		}
		return listening(addrs)
	})
	if err != nil {
		log, _ := os.ReadFile(DovecotLog)
		return nil, errors.Join(err, p.stop(syscall.SIGTERM), fmt.Errorf("Dovecot says: %s%s", output, log))
	}
	e.closers = append(e.closers, func() error { return p.stop(syscall.SIGTERM) })
	return &Dovecot{process: p}, nil
}

// ReopenLog makes Dovecot open its log file anew, as after a rotation
// (doveadm log reopen).
func (d *Dovecot) ReopenLog() error { return d.process.signal(syscall.SIGUSR1) }
