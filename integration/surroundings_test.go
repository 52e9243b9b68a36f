package integration_test

import (
	"errors"
	"net"
	"net/mail"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"milterd/integration/harness"
	"milterd/integration/testkit"
	"milterd/integration/testkit/dnstest"
)

// trouble is what the doctor warns of that is no line of a sendmail.mc.
type trouble struct {
	name, about string
	options     harness.Options
	// breaks makes the trouble in a running server, cures ends it, by the finding's cure
	// if there is one. Without cures, a server with the options cured has none.
	breaks func(*testing.T, *harness.Env)
	cures  func(*testing.T, *harness.Env, finding)
	cured  harness.Options
	// live: the doctor asks the ports and the DNS, too.
	live bool
	// lines are said to port 25, unless observe looks elsewhere.
	lines     []string
	observe   func(*testing.T, *harness.Env) string
	bad, good string
}

// settled is a configuration with a table of its own, that takes names from nowhere.
func settled(more string) string {
	return "access: {file: access}\ndomains: {local: [], relay: []}\n" + more
}

// sh runs what a cure says.
func sh(t *testing.T, command string) {
	t.Helper()
	if out, err := exec.Command("sh", "-c", command).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", command, err, out)
	}
}

// withFile has a file hold another text until the test ends.
func withFile(t *testing.T, path, text string) {
	t.Helper()
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { writeFile(t, path, string(before)) })
	writeFile(t, path, text)
}

// restartSendmail has sendmail read its file anew, as its unit does.
func restartSendmail(t *testing.T, env *harness.Env) {
	t.Helper()
	mark := env.Syslog.Len()
	sh(t, "kill -HUP $(head -1 /run/sendmail/mta/sendmail.pid)")
	if _, err := env.Syslog.Wait(testkit.Patience, mark, "starting daemon"); err != nil {
		t.Fatal(err)
	}
	testkit.Eventually(t, "sendmail listens", func() bool { return listens(port25) == "listens" })
}

// listens says whether a server is there, or what the error is.
func listens(address string) string {
	conn, err := net.Dial("tcp", address)
	if err == nil {
		err = conn.Close()
	}
	if err != nil {
		return err.Error()
	}
	return "listens"
}

// anotherStarts starts a second sendmail, and says how it does.
func anotherStarts(t *testing.T, env *harness.Env) (said string) {
	t.Helper()
	mark := env.Syslog.Len()
	sendmail := exec.Command("/usr/sbin/sendmail", "-L", "another", "-bD", "-ODaemonPortOptions=Addr=127.0.0.1,Port=10025", "-OPidFile=/dev/null")
	var out testkit.Log
	sendmail.Stdout, sendmail.Stderr = &out, &out
	if err := sendmail.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = sendmail.Wait()
	}()
	testkit.Eventually(t, "sendmail waits, serves or ends", func() bool {
		if lines := env.Syslog.FindAll(mark, "sleeping"); len(lines) > 0 {
			said = lines[0]
			return true
		}
		select {
		case <-ended:
			said = out.String()
			return true
		default:
			said = listens("127.0.0.1:10025")
			return !strings.Contains(said, "refused")
		}
	})
	_ = sendmail.Process.Kill()
	<-ended
	return said
}

// datedAhead sends a message and says how far ahead of this clock the Received fields of
// all that are in the queue are dated.
func datedAhead(t *testing.T, env *harness.Env) string {
	t.Helper()
	conversation(t, stranger, port25, "mail "+anybody)
	queue, err := env.Queue()
	if err != nil {
		t.Fatal(err)
	}
	var ahead []string
	for _, message := range queue {
		header := message.Header()
		at, err := mail.ParseDate(strings.TrimSpace(header[strings.LastIndexByte(header, ';')+1:]))
		if err != nil {
			t.Fatalf("%v in %q", err, header)
		}
		ahead = append(ahead, strings.TrimSuffix(time.Until(at).Round(time.Hour).String(), "0m0s"))
	}
	slices.Sort(ahead)
	return strings.Join(ahead, " ")
}

// addLine writes a line into the sendmail.mc, as a cure says, and makes the sendmail.cf anew.
func addLine(t *testing.T, env *harness.Env, line string) {
	t.Helper()
	text, err := os.ReadFile("/etc/mail/sendmail.mc")
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, "/etc/mail/sendmail.mc", string(text)+line+"\n")
	sh(t, "m4 /etc/mail/sendmail.mc >"+stockCF)
	restartSendmail(t, env)
}

// asNobody runs a command as a user without rights.
func asNobody(command string) string {
	out, _ := exec.Command("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "sh", "-c", command).CombinedOutput()
	return string(out)
}

// resolver has another DNS server in resolv.conf until the test ends.
func resolver(t *testing.T, addr string, lines ...string) {
	t.Helper()
	server, err := dnstest.Start(dnstest.Options{Addr: addr + ":53", Lines: lines})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Close(); err != nil {
			t.Error(err)
		}
	})
	withFile(t, "/etc/resolv.conf", "nameserver "+addr+"\n")
}

// command is a cure without what is said about it.
func (f finding) command() string {
	command, _, _ := strings.Cut(f.Cure, "   ")
	return command
}

// aged sets the time of a file.
func aged(t *testing.T, path string, age time.Duration) {
	t.Helper()
	if at := time.Now().Add(-age); os.Chtimes(path, at, at) != nil {
		t.Fatalf("%s: its time cannot be set", path)
	}
}

// reconfigure starts milterd anew.
func reconfigure(t *testing.T, env *harness.Env, config string) {
	t.Helper()
	if err := errors.Join(env.WriteFile("milterd.yaml", config), env.Milterd.Stop(), env.Milterd.Start()); err != nil {
		t.Fatal(err)
	}
}

// servesAs starts milterd as the user that -doctor takes for its own, and returns what it
// says until it serves or ends.
func servesAs(t *testing.T, _ *harness.Env) string {
	t.Helper()
	var log testkit.Log
	daemon := exec.Command(world.Binary, "-config", harness.ConfigFile)
	daemon.Stderr = &log
	daemon.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 60000, Gid: 60000}}
	if err := daemon.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = daemon.Wait()
	}()
	testkit.Eventually(t, "milterd serves or ends", func() bool {
		select {
		case <-ended:
			return true
		default:
			return log.Has("policy in force")
		}
	})
	_ = daemon.Process.Signal(syscall.SIGTERM)
	<-ended
	return log.String()
}

// signals has the kernel stop or continue milterd.
func signals(signal syscall.Signal) func(*testing.T, *harness.Env) {
	return func(t *testing.T, env *harness.Env) {
		t.Helper()
		if err := syscall.Kill(env.Milterd.PID(), signal); err != nil {
			t.Fatal(err)
		}
	}
}

func everyTrouble() []trouble {
	return slices.Concat(troubles, loginTroubles, fileTroubles, portTroubles)
}

// TestWhatTheDoctorSeesAroundHappensAndIsCured is the same for what is no line of a
// sendmail.mc.
func TestWhatTheDoctorSeesAroundHappensAndIsCured(t *testing.T) {
	for _, c := range everyTrouble() {
		t.Run(c.name, func(t *testing.T) {
			env := start(t, c.with(c.options))
			if c.breaks != nil {
				c.breaks(t, env)
			}
			f := c.examined(t, true)
			shows(t, "with the trouble", c.observed(t, env), c.bad)
			if t.Failed() {
				return
			}
			if c.cures != nil {
				c.cures(t, env, f)
			} else {
				if err := env.Close(); err != nil {
					t.Fatal(err)
				}
				env = start(t, c.with(c.cured))
			}
			c.examined(t, false)
			shows(t, "after the cure", c.observed(t, env), c.good)
		})
	}
}

func (c trouble) with(o harness.Options) harness.Options {
	o.LocalHostNames = "example.test\n"
	if o.Files == nil {
		o.Files = map[string]string{"access": ""}
	}
	return o
}

// examined waits until the doctor tells of the trouble, or no longer does.
func (c trouble) examined(t *testing.T, want bool) (f finding) {
	t.Helper()
	options := []string{"-offline"}
	if c.live {
		options = nil
	}
	var findings []finding
	defer func() {
		if t.Failed() {
			t.Logf("%+v", findings)
		}
	}()
	testkit.Eventually(t, "what the doctor says of "+c.about, func() bool {
		var found bool
		findings, _ = examine(t, options...)
		f, found = about(findings, c.about)
		return found == want
	})
	return f
}

func (c trouble) observed(t *testing.T, env *harness.Env) string {
	t.Helper()
	if c.observe != nil {
		return c.observe(t, env)
	}
	return conversation(t, stranger, port25, c.lines...)
}
