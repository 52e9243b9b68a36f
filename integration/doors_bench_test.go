package integration_test

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"milterd/integration/harness"
)

// What one round of BenchmarkDoors is made of: sessions of one envelope without a
// message, from so many clients at once, on an access table of so many lines more.
const (
	doorSessions = 400
	doorClients  = 4
	doorLines    = 10_000
)

// BenchmarkDoors compares a real sendmail with its own hash map as access_db, and one
// that includes milterd.m4 and asks milterd for the same table. Both have milterd as
// their filter. They take turns, and an iteration is one round of each:
//
//	go test ./integration -run '^$' -bench Doors -benchtime 3x
//
// It says how many SMTP sessions there were a second, and how much processor time
// sendmail and milterd together took for each.
func BenchmarkDoors(b *testing.B) {
	needWorld(b)
	options, err := harness.ReadScene("scenes/doors")
	if err != nil {
		b.Fatal(err)
	}
	var table strings.Builder
	table.WriteString(options.Files["access"])
	for i := range doorLines {
		fmt.Fprintf(&table, "Connect:100.%d.%d.%d\tREJECT\n", 64+i%64, i/64%256, i%251)
	}
	options.Files["access"] = table.String()
	options.Config += "\nlog: {level: warn}\n"
	options.DNS = append(options.DNS, "20.2.0.192.in-addr.arpa. PTR line20.access.example.", "line20.access.example. A 192.0.2.20")
	hash := options
	// The harness itself gives sendmail's own table what the scene begins with.
	_, rest, found := strings.Cut(table.String(), "# But for these clients.")
	if !found {
		b.Fatal("the scene's access table does not begin with the limits for everybody")
	}
	hash.Access, hash.Include = rest, ""
	kinds := []struct {
		name    string
		options harness.Options
	}{{"hash", hash}, {"map-door", options}}
	took, busy := make([]time.Duration, len(kinds)), make([]time.Duration, len(kinds))
	b.ResetTimer()
	for range b.N {
		for i, kind := range kinds {
			wall, cpu, err := doorRound(kind.options)
			if err != nil {
				b.Fatalf("%s: %v", kind.name, err)
			}
			took[i] += wall
			busy[i] += cpu
		}
	}
	b.ReportMetric(0, "ns/op")
	for i, kind := range kinds {
		sessions := float64(b.N * doorSessions)
		b.ReportMetric(sessions/took[i].Seconds(), kind.name+":sessions/s")
		b.ReportMetric(float64(busy[i].Microseconds())/sessions, kind.name+":cpu-µs/session")
	}
}

// doorRound runs all sessions of a round on a server of their own, and returns how long
// they took, and the processor time of the server from its start to its end.
func doorRound(o harness.Options) (wall, cpu time.Duration, err error) {
	env, err := world.Start(o)
	if err != nil {
		return 0, 0, err
	}
	before, err := childrenTime()
	begun := time.Now()
	errs := make([]error, doorClients)
	var working sync.WaitGroup
	for i := range doorClients {
		working.Go(func() {
			for range doorSessions / doorClients {
				if errs[i] = envelopeFrom("192.0.2.20"); errs[i] != nil {
					return
				}
			}
		})
	}
	working.Wait()
	wall = time.Since(begun)
	// What the server's processes took is known once they have ended.
	if err := errors.Join(append(errs, err, env.Close())...); err != nil {
		return 0, 0, err
	}
	after, err := childrenTime()
	return wall, after - before, err
}

// envelopeFrom is one session, up to the recipient.
func envelopeFrom(addr string) error {
	conn, err := harness.Dial(addr, harness.ServerAddr4+":25")
	if err != nil {
		return err
	}
	defer conn.Close()
	if _, err := conn.ReadReply(); err != nil {
		return err
	}
	return sayAll(conn, "EHLO line20.access.example", "MAIL FROM:<a@good.example>", "RCPT TO:<shin@example.test>", "RSET", "QUIT")
}

// childrenTime is the processor time of all children that have ended, and theirs.
func childrenTime() (time.Duration, error) {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_CHILDREN, &usage); err != nil {
		return 0, err
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano()), nil
}
