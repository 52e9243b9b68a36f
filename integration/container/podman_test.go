package container

import (
	"net"
	"net/textproto"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"milterd/integration/harness"
	"milterd/integration/testkit"
)

// root is the source.
const root = "../.."

// engine is a podman with a store of its own.
type engine struct {
	t   *testing.T
	dir string
}

func (e *engine) command(args ...string) *exec.Cmd {
	return exec.Command("podman", append([]string{"--root", filepath.Join(e.dir, "store"), "--runroot", filepath.Join(e.dir, "run")}, args...)...)
}

// try runs podman, and returns what it prints to standard output.
func (e *engine) try(args ...string) (string, error) {
	output, err := e.command(args...).Output()
	return strings.TrimSpace(string(output)), err
}

// do runs podman, which has to succeed.
func (e *engine) do(args ...string) string {
	e.t.Helper()
	cmd := e.command(args...)
	complaints := new(strings.Builder)
	cmd.Stderr = complaints
	output, err := cmd.Output()
	if err != nil {
		e.t.Fatalf("podman %s: %v\n%s\n%s", strings.Join(args, " "), err, last(string(output), 20), last(complaints.String(), 20))
	}
	return strings.TrimSpace(string(output))
}

// logs are all that a container has printed.
func (e *engine) logs(container string) string {
	output, _ := e.command("logs", container).CombinedOutput()
	return string(output)
}

// build builds the two images from their Containerfiles as they are, once.
func (e *engine) build(base string) {
	e.t.Helper()
	if _, err := e.try("image", "exists", "milterd"); err == nil {
		return
	}
	goroot, cache := goEnv(e.t, "GOROOT"), goEnv(e.t, "GOCACHE")
	modules := goEnv(e.t, "GOMODCACHE")
	e.do("import", base, "docker.io/library/debian:bookworm-slim")
	e.do("import", "--change", "ENV PATH=/usr/local/go/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
		"--change", "ENV GOPATH=/go", "--change", "ENV GOTOOLCHAIN=local", "--change", "ENV GOSUMDB=off",
		"--change", "ENV GOPROXY=file:///go/pkg/mod/cache/download", base, "docker.io/library/golang:1.26-bookworm")
	e.do("build", "--format", "docker", "--pull=never", "--network=none", "-t", "sendmail",
		"-f", filepath.Join(root, "configs/container/Containerfile.sendmail"), filepath.Join(root, "configs"))
	e.do("build", "--format", "docker", "--pull=never", "--network=none", "-t", "milterd", "--build-arg", "VERSION=v1.2.3-test",
		"-v", goroot+":/usr/local/go:ro", "-v", modules+":/go/pkg/mod", "-v", cache+":/root/.cache/go-build",
		"-f", filepath.Join(root, "configs/container/Containerfile"), root)
}

func goEnv(t *testing.T, name string) string {
	t.Helper()
	output, err := exec.Command("go", "env", name).Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(output))
}

// pod is a running pod of pod.yaml.
type pod struct {
	*engine
	file string
	// addr is its address on the bridge.
	addr string
}

// play starts pod.yaml with some texts replaced, and waits until both answer.
func (e *engine) play(t *testing.T, replace ...string) *pod {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, "configs/container/pod.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(replace); i += 2 {
		if !strings.Contains(string(text), replace[i]) {
			t.Fatalf("pod.yaml has no %q", replace[i])
		}
	}
	p := &pod{engine: &engine{t, e.dir}, file: filepath.Join(t.TempDir(), "pod.yaml")}
	if err := os.WriteFile(p.file, []byte(strings.NewReplacer(replace...).Replace(string(text))), 0o600); err != nil {
		t.Fatal(err)
	}
	p.do("play", "kube", p.file)
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("sendmail:\n%s\nmilterd:\n%s", last(p.logs("mail-sendmail"), 40), last(p.logs("mail-milterd"), 20))
		}
		p.do("play", "kube", "--down", p.file)
		p.do("volume", "rm", "--all", "--force")
	})
	infra := p.do("pod", "inspect", "mail", "--format", "{{.InfraContainerID}}")
	p.addr = p.do("inspect", infra, "--format", "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}")
	testkit.Eventually(t, "milterd answers", p.healthy)
	testkit.Eventually(t, "sendmail answers", func() bool {
		conn, err := net.Dial("tcp", p.addr+":25")
		if err != nil {
			return false
		}
		return conn.Close() == nil
	})
	return p
}

// healthy runs what the probe of the pod runs.
func (p *pod) healthy() bool {
	_, err := p.try("exec", "mail-milterd", "/usr/sbin/milterd", "-health")
	return err == nil
}

// send sends a message, and returns the first reply that does not take it, or the last.
func (p *pod) send(from, to, recipient string) string {
	p.t.Helper()
	conn, err := harness.Dial(from, to)
	if err != nil {
		p.t.Fatal(err)
	}
	defer conn.Close()
	reply, err := conn.ReadReply()
	for _, line := range []string{"EHLO client.example", "MAIL FROM:<a@good.example>", "RCPT TO:<" + recipient + ">", "DATA", "Subject: hi\r\n\r\nhello\r\n."} {
		if err != nil {
			p.t.Fatal(err)
		}
		if reply.Code >= 400 {
			break
		}
		reply, err = conn.Command(line)
	}
	if err != nil {
		p.t.Fatal(err)
	}
	return reply.First()
}

// expect sends a message and compares the beginning of the reply.
func (p *pod) expect(from, recipient, want string) {
	p.t.Helper()
	if got := p.send(from, p.addr+":25", recipient); !strings.HasPrefix(got, want) {
		p.t.Errorf("from %s to %s: %q, expected %q", from, recipient, got, want)
	}
}

// becomes sends messages until the reply is the expected one.
func (p *pod) becomes(from, recipient, want string) {
	p.t.Helper()
	testkit.Eventually(p.t, want+" for "+from, func() bool {
		return strings.HasPrefix(p.send(from, p.addr+":25", recipient), want)
	})
}

// volume is where a volume is on this machine.
func (p *pod) volume(name string) string {
	return p.do("volume", "inspect", name, "--format", "{{.Mountpoint}}")
}

// listenAs is a mail server at an address, which takes everything. It sends the RCPT
// commands that it has heard.
func listenAs(t *testing.T, addr string) <-chan string {
	t.Helper()
	heard := make(chan string, 16)
	testkit.Serve(t, "tcp", addr+":25", func(conn net.Conn) { takeMail(conn, heard) })
	return heard
}

// takeMail speaks the server's half of SMTP on one connection.
func takeMail(conn net.Conn, heard chan<- string) {
	_ = conn.SetDeadline(time.Now().Add(testkit.Patience))
	text := textproto.NewConn(conn)
	reply := "220 sink"
	for {
		if text.PrintfLine("%s", reply) != nil {
			return
		}
		line, err := text.ReadLine()
		verb, _, _ := strings.Cut(strings.ToUpper(line), " ")
		switch {
		case err != nil:
			return
		case verb == "RCPT":
			heard <- line
			reply = "250 ok"
		case verb == "DATA":
			if text.PrintfLine("354 go on") != nil {
				return
			}
			if _, err := text.ReadDotBytes(); err != nil {
				return
			}
			reply = "250 ok"
		case verb == "EHLO":
			reply = "502 no"
		case verb == "QUIT":
			reply = "221 bye"
		default:
			reply = "250 ok"
		}
	}
}

// need skips the test if the machine lacks something.
func need(t *testing.T) {
	t.Helper()
	if missing != nil {
		testkit.Missing(t, missing.Error())
	}
	if runtime.GOOS != "linux" {
		testkit.Missing(t, "containers need Linux")
	}
}
