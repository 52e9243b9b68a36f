package dns_test

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/miekg/dns"

	"milterd/integration/testkit"
)

// programs are the servers, as their Debian packages install them.
var programs = []string{"unbound", "nsd", "rbldnsd"}

// lookPath finds a program, also where the path of an ordinary user does not
// lead.
func lookPath(program string) (string, error) {
	if path, err := exec.LookPath(program); err == nil {
		return path, nil
	}
	return exec.LookPath("/usr/sbin/" + program)
}

// missing says which programs are not there.
func missing() error {
	var errs []error
	for _, program := range programs {
		if _, err := lookPath(program); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// process is a server that runs until the tests end.
type process struct {
	name string
	cmd  *exec.Cmd
	done chan struct{}
	log  testkit.Log
}

func startProcess(name string, args ...string) (*process, error) {
	path, err := lookPath(name)
	if err != nil {
		return nil, err
	}
	p := &process{name: name, cmd: exec.Command(path, args...), done: make(chan struct{})}
	p.cmd.Stdout, p.cmd.Stderr = &p.log, &p.log
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	go func() {
		defer close(p.done)
		_ = p.cmd.Wait()
	}()
	return p, nil
}

func (p *process) stop() {
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.done:
	case <-time.After(testkit.Patience):
		_ = p.cmd.Process.Kill()
		<-p.done
	}
}

// ready waits until the server answers a question with that code.
func (p *process) ready(addr, name string, qtype uint16, rcode int) error {
	client := dns.Client{Timeout: 2 * time.Second}
	var last error
	for deadline := time.Now().Add(testkit.Patience); time.Now().Before(deadline); {
		select {
		case <-p.done:
			return fmt.Errorf("%s has ended:\n%s", p.name, &p.log)
		default:
		}
		reply, _, err := client.Exchange(new(dns.Msg).SetQuestion(name, qtype), addr)
		if err == nil && reply.Rcode == rcode {
			return nil
		}
		if last = err; err == nil {
			last = fmt.Errorf("%s", dns.RcodeToString[reply.Rcode])
		}
		time.Sleep(10 * time.Millisecond)
	}
	return fmt.Errorf("%s does not answer on %s: %w\n%s", p.name, addr, last, &p.log)
}

// freePort finds a port of the loopback interface that is free for UDP and TCP.
func freePort() (int, error) {
	for range 20 {
		packets, err := net.ListenPacket("udp", "127.0.0.1:0")
		if err != nil {
			return 0, err
		}
		listener, err := net.Listen("tcp", packets.LocalAddr().String())
		if err == nil {
			err = errors.Join(listener.Close(), packets.Close())
			return packets.LocalAddr().(*net.UDPAddr).Port, err
		}
		_ = packets.Close()
	}
	return 0, errors.New("no port is free for both UDP and TCP")
}

// laboratory is the three servers and a silent one.
type laboratory struct {
	dir       string
	resolver  string // unbound's address
	processes []*process
	silent    net.PacketConn
}

func (l *laboratory) close() {
	for _, p := range l.processes {
		p.stop()
	}
	if l.silent != nil {
		_ = l.silent.Close()
	}
	_ = os.RemoveAll(l.dir)
}

// start runs one of the servers and waits for its first answer.
func (l *laboratory) start(port int, probe string, qtype uint16, name string, args ...string) error {
	p, err := startProcess(name, args...)
	if err != nil {
		return err
	}
	l.processes = append(l.processes, p)
	return p.ready(net.JoinHostPort("127.0.0.1", strconv.Itoa(port)), probe, qtype, dns.RcodeSuccess)
}

func (l *laboratory) write(name, text string) error {
	return os.WriteFile(filepath.Join(l.dir, name), []byte(text), 0o644)
}

// open starts everything.
func open() (*laboratory, error) {
	dir, err := os.MkdirTemp("", "milterd-dns-")
	if err != nil {
		return nil, err
	}
	l := &laboratory{dir: dir}
	// rbldnsd reads its files as a user of its own.
	if err := os.Chmod(dir, 0o755); err != nil {
		return l, err
	}
	var ports [3]int
	for i := range ports {
		if ports[i], err = freePort(); err != nil {
			return l, err
		}
	}
	if l.silent, err = net.ListenPacket("udp", "127.0.0.1:0"); err != nil {
		return l, err
	}
	silent := l.silent.LocalAddr().(*net.UDPAddr).Port
	if err := l.startNSD(ports[0]); err != nil {
		return l, err
	}
	if err := l.startRBLDNSD(ports[1]); err != nil {
		return l, err
	}
	return l, l.startUnbound(ports[2], ports[0], ports[1], silent)
}

// zones are nsd's.
var zones = map[string]string{
	"example":                  exampleZone(),
	"113.0.203.in-addr.arpa":   reverseZone,
	"8.b.d.0.1.0.0.2.ip6.arpa": reverse6Zone,
	"100.51.198.in-addr.arpa":  "1 PTR many.example.\n",
}

func exampleZone() string {
	var b strings.Builder
	b.WriteString(`
mx.good         A     203.0.113.5
mx.good         AAAA  2001:db8::5
good            MX    10 mx.good
forged          A     203.0.113.99
second          A     203.0.113.10
first           A     203.0.113.98
chain1          CNAME chain2
chain2          CNAME mx.good
lost            CNAME nowhere
null            MX    0 .
inward          MX    10 inward-host
inward-host     A     127.0.0.1
xn--bcher-kva   MX    10 mx.good
`)
	for i := range 150 {
		fmt.Fprintf(&b, "many A 198.51.100.%d\n", i+1)
	}
	return b.String()
}

const reverseZone = `
5   PTR mx.good.example.
6   PTR forged.example.
10  PTR first.example.
10  PTR second.example.
11  PTR broken.test.
16  CNAME 16.sub
16.sub PTR alias16.example.
`

const reverse6Zone = `
5.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0 PTR mx.good.example.
`

func (l *laboratory) startNSD(port int) error {
	var conf strings.Builder
	fmt.Fprintf(&conf, `server:
	ip-address: 127.0.0.1@%d
	username: ""
	chroot: ""
	zonesdir: %q
	database: ""
	pidfile: ""
	xfrdfile: %q
	xfrdir: %q
	zonelistfile: %q
	server-count: 1
	verbosity: 1
remote-control:
	control-enable: no
`, port, l.dir, l.dir+"/xfrd.state", l.dir, l.dir+"/zone.list")
	for zone, text := range zones {
		file := zone + ".zone"
		head := "$ORIGIN " + zone + ".\n$TTL 300\n@ SOA ns.example. hostmaster.example. 1 3600 600 86400 60\n@ NS ns.example.\n"
		if err := l.write(file, head+text); err != nil {
			return err
		}
		fmt.Fprintf(&conf, "zone:\n\tname: %q\n\tzonefile: %q\n", zone, file)
	}
	if err := l.write("nsd.conf", conf.String()); err != nil {
		return err
	}
	return l.start(port, "mx.good.example.", dns.TypeA, "nsd", "-d", "-c", l.dir+"/nsd.conf")
}

// lists are rbldnsd's, by dataset.
var lists = map[string]string{
	"bl.test:ip4set:bl4": `
:127.0.0.2:Listed, see http://bl.test/?$
127.0.0.2
203.0.113.8
203.0.113.9 :127.0.0.200:Listed for another reason
`,
	"bl.test:ip6trie:bl6": `
:127.0.0.4:Listed, see http://bl.test/?$
::ffff:7f00:2/128
2001:db8::8/128
`,
	"wl.test:ip4set:wl4": `
:127.0.5.2:
127.0.0.2
203.0.113.12
`,
	"error.test:ip4trie:error4": `
:127.255.255.254:Ask from elsewhere
0/0
`,
	"everything.test:ip4trie:everything4": `
:127.0.0.2:Parked
0/0
`,
	"empty.test:ip4set:empty4": `
:127.0.0.2:
192.0.2.1
`,
	"dbl.test:dnset:dbl": `
:127.0.1.2:Spam domain
test
.spam.example
`,
}

func (l *laboratory) startRBLDNSD(port int) error {
	args := []string{"-n", "-b", "127.0.0.1/" + strconv.Itoa(port), "-w", l.dir, "-t", "300"}
	for dataset, text := range lists {
		file := dataset[strings.LastIndex(dataset, ":")+1:]
		if err := l.write(file, "$SOA 300 ns.test. hostmaster.test. 0 600 300 86400 60\n$NS 300 ns.test\n"+text); err != nil {
			return err
		}
		args = append(args, dataset)
	}
	return l.start(port, "2.0.0.127.bl.test.", dns.TypeA, "rbldnsd", args...)
}

func (l *laboratory) startUnbound(port, nsd, rbldnsd, silent int) error {
	var conf strings.Builder
	fmt.Fprintf(&conf, `server:
	interface: 127.0.0.1@%d
	do-ip6: no
	do-daemonize: no
	do-not-query-localhost: no
	use-syslog: no
	logfile: ""
	username: ""
	chroot: ""
	directory: %q
	pidfile: ""
	module-config: "iterator"
	edns-buffer-size: 1232
	num-threads: 1
	outgoing-range: 256
	local-zone: "test." nodefault
	local-zone: "113.0.203.in-addr.arpa." nodefault
	local-zone: "100.51.198.in-addr.arpa." nodefault
	local-zone: "8.b.d.0.1.0.0.2.ip6.arpa." nodefault
remote-control:
	control-enable: no
`, port, l.dir)
	stub := func(zone string, at int) {
		fmt.Fprintf(&conf, "stub-zone:\n\tname: %q\n\tstub-addr: 127.0.0.1@%d\n\tstub-no-cache: no\n", zone, at)
	}
	for zone := range zones {
		stub(zone, nsd)
	}
	done := make(map[string]bool)
	for dataset := range lists {
		zone, _, _ := strings.Cut(dataset, ":")
		if !done[zone] {
			stub(zone, rbldnsd)
		}
		done[zone] = true
	}
	// A lame delegation: nsd refuses to answer for a zone that it does not have.
	stub("broken.test", nsd)
	stub("silent.test", silent)
	if err := l.write("unbound.conf", conf.String()); err != nil {
		return err
	}
	l.resolver = net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
	return l.start(port, "mx.good.example.", dns.TypeA, "unbound", "-d", "-c", l.dir+"/unbound.conf")
}

// lab is what the tests ask.
var lab *laboratory

// need skips a test where the servers are not installed.
func need(t *testing.T) {
	t.Helper()
	err := missing()
	if err == nil {
		return
	}
	testkit.Missing(t, fmt.Sprintf("real DNS servers cannot be started: %v", err))
}

func TestMain(m *testing.M) {
	os.Exit(func() int {
		if missing() != nil {
			return m.Run()
		}
		var err error
		lab, err = open()
		if lab != nil {
			defer lab.close()
		}
		if err != nil {
			fmt.Fprintf(os.Stderr, "start dns servers: %v\n", err)
			return 1
		}
		return m.Run()
	}())
}
