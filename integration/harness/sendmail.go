package harness

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"

	"milterd/configs/sendmail"
)

const (
	// stockMC is /etc/mail/sendmail.mc as the package installs it.
	stockMC = "/usr/share/sendmail/cf/debian/sendmail.mc"

	mailDir    = "/etc/mail"
	queueDir   = "/var/spool/mqueue"
	trafficLog = runtimeDir + "/traffic.log"
)

// ListenLines are what an administrator adds to the stock sendmail.mc, which
// listens on 127.0.0.1 only, to serve the world on ports 25 and 587.
const ListenLines = "DAEMON_OPTIONS(`Name=MTA, Family=inet, Addr=" + ServerAddr4 + ", Port=smtp')dnl\n" +
	"DAEMON_OPTIONS(`Name=MTA6, Family=inet6, Addr=" + ServerAddr6 + ", Port=smtp')dnl\n" +
	"DAEMON_OPTIONS(`Name=MSA, Family=inet, Addr=" + ServerAddr4 + ", Port=submission, M=Ea')dnl\n" +
	"DAEMON_OPTIONS(`Name=MSA6, Family=inet6, Addr=" + ServerAddr6 + ", Port=submission, M=Ea')dnl\n"

// FilterLines make milterd the filter.
const FilterLines = "INPUT_MAIL_FILTER(`milterd', `S=local:/run/milterd/milter.sock, F=T, T=S:10s;R:10s;E:1m')dnl\n"

// includeFile is where milterd.m4 is for an include.
const includeFile = mailDir + "/m4/milterd.m4"

// accessFeature is the line of the stock file that milterd.m4 takes the place of.
const accessFeature = "FEATURE(`access_db', , `skip')dnl\n"

// buildMC makes sendmail.mc of the stock one.
func buildMC(stock string, o Options) (string, error) {
	if o.Whole != "" {
		return o.Whole + TLSLines + testLines, nil
	}
	mc := stock + ListenLines
	if o.Include == "" {
		mc += FilterLines
	} else {
		before, after, found := strings.Cut(mc, accessFeature)
		if !found {
			return "", fmt.Errorf("%s: no line %q", stockMC, accessFeature)
		}
		mc = before + o.Include + after
	}
	auth := AuthLines
	if o.TrustAuthMech != "" {
		auth = strings.Replace(auth, trustAll, "TRUST_AUTH_MECH(`"+o.TrustAuthMech+"')", 1)
	}
	return mc + auth + TLSLines + testLines + o.MC, nil
}

// AuthLines switch SMTP AUTH on.
const AuthLines = "define(`confAUTH_MECHANISMS', `DIGEST-MD5 CRAM-MD5 LOGIN PLAIN')dnl\n" +
	trustAll + "dnl\n"

const trustAll = "TRUST_AUTH_MECH(`DIGEST-MD5 CRAM-MD5 LOGIN PLAIN')"

// testLines are for the tests alone: mail stays in the queue to be looked at, and a busy
// machine refuses, delays and holds back none.
const testLines = "define(`confDELIVERY_MODE', `queueonly')dnl\n" +
	"define(`confREFUSE_LA', `10000')dnl\ndefine(`confQUEUE_LA', `10000')dnl\ndefine(`confDELAY_LA', `10000')dnl\n"

// testAccess lifts the limits of the stock features greet_pause, ratecontrol
// and conncontrol in the way that they document. greet_pause knows no entry for
// everybody, so each network of the world has one.
const testAccess = "ClientRate:\t0\nClientConn:\t0\n" +
	"GreetPause:10\t0\nGreetPause:192.0.2\t0\nGreetPause:198.51.100\t0\n" +
	"GreetPause:203.0.113\t0\nGreetPause:IPv6:2001:db8\t0\n"

// saslConf makes sendmail check passwords in /etc/sasldb2.
const saslConf = "pwcheck_method: auxprop\nauxprop_plugin: sasldb\nmech_list: DIGEST-MD5 CRAM-MD5 LOGIN PLAIN\n"

// configureSendmail writes /etc/mail and builds sendmail.cf, access.db and the
// SASL users.
func configureSendmail(o Options) error {
	stock, err := os.ReadFile(stockMC)
	if err != nil {
		return err
	}
	mc, err := buildMC(string(stock), o)
	if err != nil {
		return err
	}
	for path, text := range map[string]string{
		mailDir + "/sendmail.mc":          mc,
		includeFile:                       sendmail.Include,
		mailDir + "/access":               testAccess + o.Access,
		mailDir + "/local-host-names":     o.LocalHostNames,
		mailDir + "/relay-domains":        o.RelayDomains,
		mailDir + "/trusted-users":        "",
		mailDir + "/aliases":              "postmaster: root\nabuse: root\n",
		mailDir + "/m4/dialup.m4":         "",
		mailDir + "/m4/provider.m4":       "",
		mailDir + "/sasl/Sendmail.conf.2": saslConf, // where Debian's package links to
		"/etc/sasl2/Sendmail.conf":        saslConf, // where the library looks first
	} {
		if err := replaceFile(path, text, 0o644); err != nil {
			return err
		}
	}
	if err := makeCertificate(); err != nil {
		return err
	}
	cf, err := run("", "m4", mailDir+"/sendmail.mc")
	if err != nil {
		return err
	}
	if err := replaceFile(mailDir+"/sendmail.cf", cf, 0o644); err != nil {
		return err
	}
	if _, err := run(testAccess+o.Access, "makemap", "hash", mailDir+"/access"); err != nil {
		return err
	}
	if _, err := run("", "sendmail", "-bi"); err != nil {
		return err
	}
	if err := addMailboxes(o.Mailboxes); err != nil {
		return err
	}
	return addUsers(o.Users)
}

// addMailboxes makes the users of the host whom mail can be sent to.
func addMailboxes(names []string) error {
	const path, first = "/etc/passwd", 60000
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	passwd := string(text)
	for i, name := range names {
		if !strings.Contains("\n"+passwd, "\n"+name+":") {
			passwd += fmt.Sprintf("%s:x:%d:%d::/nonexistent:/usr/sbin/nologin\n", name, first+i, first+i)
		}
	}
	return replaceFile(path, passwd, 0o644)
}

// addUsers makes the SASL users, and no others.
func addUsers(users map[string]string) error {
	if err := os.Remove("/etc/sasldb2"); err != nil && !os.IsNotExist(err) {
		return err
	}
	for name, password := range users {
		if _, err := run(password, "saslpasswd2", "-p", "-c", "-u", Hostname, name); err != nil {
			return err
		}
	}
	return nil
}

// replaceFile writes a file that may be a symbolic link elsewhere so far.
func replaceFile(path, text string, mode os.FileMode) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	if err := os.Remove(path); err != nil && !os.IsNotExist(err) {
		return err
	}
	return os.WriteFile(path, []byte(text), mode)
}

// run runs a command to its end and returns its output.
func run(stdin, name string, args ...string) (string, error) {
	cmd := exec.Command(name, args...)
	cmd.Stdin = strings.NewReader(stdin)
	var stdout, stderr strings.Builder
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("%s %s: %w\n%s%s", name, strings.Join(args, " "), err, stdout.String(), stderr.String())
	}
	return stdout.String(), nil
}

// daemonOption is an option line of sendmail.cf that opens a port.
var daemonOption = regexp.MustCompile(`(?m)^O DaemonPortOptions=(.*)$`)

// daemonAddrs lists the addresses that a sendmail.cf makes sendmail listen on.
func daemonAddrs(cf string) ([]netip.AddrPort, error) {
	var addrs []netip.AddrPort
	for _, match := range daemonOption.FindAllStringSubmatch(cf, -1) {
		host, port := "0.0.0.0", "smtp"
		for _, option := range strings.Split(match[1], ",") {
			key, value, _ := strings.Cut(strings.TrimSpace(option), "=")
			switch key {
			case "Addr":
				host = value
			case "Port":
				port = value
			}
		}
		switch port {
		case "smtp":
			port = "25"
		case "submission":
			port = "587"
		}
		addr, err := netip.ParseAddrPort(net.JoinHostPort(host, port))
		if err != nil {
			return nil, fmt.Errorf("daemon option %q: %w", match[1], err)
		}
		addrs = append(addrs, addr)
	}
	return addrs, nil
}

// listening reports whether every address has a listener, without connecting
// to it: a connection would show up in the logs and counters under test.
func listening(addrs []netip.AddrPort) (bool, error) {
	var table strings.Builder
	for _, name := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
		text, err := os.ReadFile(name)
		if err != nil {
			return false, err
		}
		table.Write(text)
	}
	for _, addr := range addrs {
		if !strings.Contains(table.String(), " "+procAddr(addr)+" ") {
			return false, nil
		}
	}
	return true, nil
}

// procAddr is the local address, remote address and state of a listener as
// /proc/net/tcp shows them: words of four bytes in the order of the machine.
func procAddr(addr netip.AddrPort) string {
	ip := addr.Addr().AsSlice()
	var local strings.Builder
	for i := 0; i < len(ip); i += 4 {
		fmt.Fprintf(&local, "%08X", binary.NativeEndian.Uint32(ip[i:]))
	}
	const stateListen = "0A"
	return fmt.Sprintf("%s:%04X %s:0000 %s", local.String(), addr.Port(), strings.Repeat("0", 2*len(ip)), stateListen)
}

// startSendmail starts the daemon and waits until it listens everywhere.
func startSendmail(log *Log) (*process, error) {
	cf, err := os.ReadFile(mailDir + "/sendmail.cf")
	if err != nil {
		return nil, err
	}
	addrs, err := daemonAddrs(string(cf))
	if err != nil {
		return nil, err
	}
	p, err := launch(log, "/usr/sbin/sendmail", "-L", "sm-mta", "-bD", "-X", trafficLog)
	if err != nil {
		return nil, err
	}
	err = Poll(startTimeout, "sendmail to listen", func() (bool, error) {
		if err := p.ended(); err != nil {
			return false, err
		}
		return listening(addrs)
	})
	if err != nil {
		return nil, errors.Join(err, p.stop(syscall.SIGTERM), errors.New(log.String()))
	}
	return p, nil
}

// QueueFile is the envelope and header file of a message in the queue.
type QueueFile struct {
	// ID is the queue id that sendmail told the client.
	ID string
	// Held: the message is quarantined.
	Held bool
	// Text is the file: the envelope, and the header lines of the message as
	// they will be sent on, "H" before each.
	Text string
}

// headerLine begins a header field in a queue file: H, the flags of mailers that
// want it between question marks, the field.
var headerLine = regexp.MustCompile(`^H\?[^?]*\?`)

// Header is the header of the message as it will be sent on. Fields that only some
// mailers want (Return-Path) are not in it.
func (q QueueFile) Header() string {
	var b strings.Builder
	in := false
	for line := range strings.Lines(q.Text) {
		if flags := headerLine.FindString(line); flags != "" {
			in = flags == "H??"
			line = line[len(flags):]
		} else if line[0] != ' ' && line[0] != '\t' {
			in = false
		}
		if in {
			b.WriteString(line)
		}
	}
	return b.String()
}

// FieldNames are the names of the header's fields, in order.
func (q QueueFile) FieldNames() []string {
	var names []string
	for line := range strings.Lines(q.Header()) {
		if name, _, ok := strings.Cut(line, ":"); ok && line[0] != ' ' && line[0] != '\t' {
			names = append(names, name)
		}
	}
	return names
}

// readQueue reads every message in the queue.
func readQueue() ([]QueueFile, error) {
	entries, err := os.ReadDir(queueDir)
	if err != nil {
		return nil, err
	}
	var files []QueueFile
	for _, entry := range entries {
		// qf is a message to be sent, hf one that is held (op.me, Appendix B).
		kind, id := entry.Name()[:min(2, len(entry.Name()))], entry.Name()[min(2, len(entry.Name())):]
		if kind != "qf" && kind != "hf" {
			continue
		}
		text, err := os.ReadFile(filepath.Join(queueDir, entry.Name()))
		if os.IsNotExist(err) {
			continue // renamed or gone since it was listed
		}
		if err != nil {
			return nil, err
		}
		files = append(files, QueueFile{ID: id, Held: kind == "hf", Text: string(text)})
	}
	return files, nil
}

// emptyQueue removes all messages.
func emptyQueue() error {
	entries, err := os.ReadDir(queueDir)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if err := os.RemoveAll(filepath.Join(queueDir, entry.Name())); err != nil {
			return err
		}
	}
	return nil
}
