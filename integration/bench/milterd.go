package main

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"milterd/integration/testkit/dnstest"
)

// startDNS starts the DNS server that knows the clients, the sender's domain and a list.
func startDNS() (*dnstest.Server, error) {
	lines := []string{"good.example. MX 10 mx1.good.example.", "2.0.0.127.bl.example. A 127.0.0.2"}
	for n := range clients {
		addr, name := client(n)
		last := addr[strings.LastIndexByte(addr, '.')+1:]
		lines = append(lines, last+".113.0.203.in-addr.arpa. PTR "+name+".", name+". A "+addr)
	}
	return dnstest.Start(dnstest.Options{Lines: lines})
}

// writeTable writes an access table of so many lines, of which none says anything of the
// sessions: each key that is looked for is missed.
func writeTable(file string, lines int) error {
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	w := bufio.NewWriter(f)
	for i := range lines {
		switch i % 4 {
		case 0:
			fmt.Fprintf(w, "From:user%d@spam%d.example\tREJECT\n", i, i/7)
		case 1:
			fmt.Fprintf(w, "To:nobody%d@our.example\tERROR:5.1.1:550 User unknown\n", i)
		default:
			fmt.Fprintf(w, "Connect:100.%d.%d.%d\tREJECT\n", 64+i>>16%64, i>>8%256, i%256)
		}
	}
	return errors.Join(w.Flush(), f.Close())
}

// setting is how a milterd is run.
type setting struct {
	name, program string
	lines         int
	more          string // of the configuration
}

// config is as shipped but for where things are. The log goes to a file.
const config = `
listen: {milter: "local:SOCKET", map: [], http: "local:METRICS", max_connections: 6000}
access: {file: TABLE}
domains: {hostname: mx.our.example, local: [our.example], relay: []}
dns: {servers: ["DNS"]}
`

// allChecks has every check at work.
const allChecks = `
checks:
  sender_domain: {mode: enforce}
  rdns: {source: own}
  dnsbl: {lists: {bl.example: {}}}
`

func tableFile(dir string, lines int) string {
	return filepath.Join(dir, fmt.Sprintf("access-%d", lines))
}

// startMilterd starts a milterd that asks dns.
func startMilterd(dir, dns string, s setting) (*filter, error) {
	table := tableFile(dir, s.lines)
	if _, err := os.Stat(table); err != nil {
		if err := writeTable(table, s.lines); err != nil {
			return nil, err
		}
	}
	base := filepath.Join(dir, s.name)
	text := strings.NewReplacer("SOCKET", base+".sock", "METRICS", base+".http", "TABLE", table, "DNS", dns).Replace(config) +
		strings.ReplaceAll(s.more, "DIR", base)
	if err := os.WriteFile(base+".yaml", []byte(text), 0o600); err != nil {
		return nil, err
	}
	return start(dir, s.name, base+".http", s.program, "-config", base+".yaml")
}

// buildMilterd builds the milterd of this source as it is released.
func buildMilterd(dir string) (string, error) {
	program := filepath.Join(dir, "milterd")
	build := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", program, "milterd/cmd/milterd")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build milterd: %w: %s", err, out)
	}
	return program, nil
}
