package integration_test

import (
	"bufio"
	"fmt"
	"math"
	"math/rand/v2"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"milterd/integration/harness"
	"milterd/integration/testkit"
)

const (
	soakTable  = "Connect:" + soakRejected + "\tREJECT\n"
	soakRecord = "/run/milterd/sessions"
	soakLogins = "/run/milterd/mail.log"
)

// soakConfig has everything at work: look-ups, a list, Redis for grants and limits,
// logins from a log, scrubbing and recordings. Answers are forgotten soon, so that the
// faults of the DNS are felt.
const soakConfig = `
listen: {http: "inet:` + statusPort + `@127.0.0.1", max_connections: 300}
log: {level: warn}
access: {file: access}
domains: {hostname: mx.example.test, local: [example.test], relay: [partner.example]}
dns: {servers: ["127.0.0.1"], try_timeout: 100ms, timeout: 300ms, min_ttl: 1s, max_ttl: 2s}
redis: {address: "` + harness.RedisAddr + `", timeout: 100ms}
grants: {control: "local:/run/milterd/control.sock", logs: [{file: ` + soakLogins + `, format: dovecot}]}
limits: {rules: {logins: {count: recipients, by: login, rate: 1000000/1s}}}
checks:
  relay: {trust_auth_mech: [PLAIN]}
  rdns: {source: own}
  sender_domain: {mode: enforce}
  dnsbl: {lists: {bl.example: {}}}
received: {whose: [authenticated]}
record: {dir: ` + soakRecord + `, max_size: 1MiB, keep: 2}
`

// soakRounds is how often the usage is read; nothing but warming up is in the first round.
const soakRounds = 9

// soak is sendmail, which relays for everybody, with milterd as its filter, and clients
// of milterd's own door beside it.
type soak struct {
	env   *harness.Env
	redis *harness.Redis

	mu    sync.Mutex
	taken map[string]bool // queue IDs that a client of sendmail was told
	// answers counts those of milterd's own door, by kind of client and kind of answer.
	answers map[string]int
	faults  map[string]int
	next    []int // of soakFaults

	sessions, mails, putOff atomic.Int64
}

// TestNothingIsLostOrLetThroughMeanwhile has clients of every behaviour, at milterd's door
// and at sendmail's, while tables, logs and configurations change, the DNS fails, Redis is
// restarted, other clients stall, and signals come in storms. Every message that was
// accepted is in the queue; no stranger's recipient is accepted, and no user's is refused
// for good; milterd takes up no more at the end than at the beginning.
func TestNothingIsLostOrLetThroughMeanwhile(t *testing.T) {
	s := startSoak(t)
	seed, sessions := testkit.Number(t, "MILTERD_TEST_SEED", uint64(time.Now().UnixNano())), testkit.Number(t, "MILTERD_TEST_SOAK", 9000)
	t.Logf("MILTERD_TEST_SEED=%d", seed)
	begun := time.Now()
	const few = 20.
	var usages []map[string]float64
	for round := range uint64(soakRounds) {
		s.round(t, seed+round, sessions/soakRounds)
		most := math.Inf(1)
		if round > 1 {
			most = usages[1]["go_goroutines"] + few
		}
		usages = append(usages, s.usage(t, most))
		t.Logf("round %d: %d sessions at milterd's door, %d of sendmail, %d messages taken, %d replies that put off, %v",
			round, s.sessions.Load(), s.mails.Load(), len(s.taken), s.putOff.Load(), usages[round])
	}
	t.Logf("answers: %v; faults: %v; %v", s.answers, s.faults, time.Since(begun).Round(time.Second))
	memory := float64(64 << 20)
	if world.Race { // its own memory grows with what it has seen
		memory = 1 << 30
	}
	for name, allowed := range map[string]float64{"go_goroutines": few, "process_open_fds": few, "process_resident_memory_bytes": memory} {
		if first, last := usages[1][name], usages[soakRounds-1][name]; last-first > allowed {
			t.Errorf("%s has grown from %v to %v", name, first, last)
		}
	}
	s.judge(t, int(sessions))
}

func startSoak(t *testing.T) *soak {
	t.Helper()
	needWorld(t)
	if err := harness.MissingRedis(); err != nil {
		testkit.Missing(t, err.Error())
	}
	makeDirectory(t, soakRecord)
	if err := os.WriteFile(soakLogins, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	env := start(t, harness.Options{
		DNS: soakRecords(), Config: soakConfig, Access: soakTable, Files: map[string]string{"access": soakTable},
		LocalHostNames: "example.test\n", Mailboxes: []string{"shin"},
		MC: "FEATURE(`promiscuous_relay')dnl\ndefine(`confBAD_RCPT_THROTTLE', `0')dnl\n",
	})
	redis, err := env.StartRedis()
	if err != nil {
		t.Fatal(err)
	}
	return &soak{env: env, redis: redis, taken: make(map[string]bool), answers: make(map[string]int), faults: make(map[string]int)}
}

// round has so many sessions at milterd's door, eight at a time, and sendmail's clients
// and the faults beside them.
func (s *soak) round(t *testing.T, seed, sessions uint64) {
	t.Helper()
	stop := make(chan struct{})
	var beside, clients sync.WaitGroup
	beside.Go(func() { s.strike(t, rand.New(rand.NewPCG(seed, 1)), stop) })
	for i := range uint64(2) {
		beside.Go(func() { s.correspond(t, rand.New(rand.NewPCG(seed, 2+i)), stop) })
	}
	var next atomic.Uint64
	for range 8 {
		clients.Go(func() {
			for n := next.Add(1); n <= sessions && !t.Failed(); n = next.Add(1) {
				s.session(t, rand.New(rand.NewPCG(seed, 10+n)))
			}
		})
	}
	clients.Wait()
	close(stop)
	beside.Wait()
}

// usage is what milterd takes up, when it has come to rest: no session is open, and the last
// questions to the DNS are answered or given up, so that there are so many goroutines at most.
func (s *soak) usage(t *testing.T, most float64) map[string]float64 {
	t.Helper()
	var page map[string]float64
	rest := func() (bool, error) {
		page = soakMetrics(t)
		return page[`milterd_open_connections{door="filter"}`] == 0 && page["go_goroutines"] <= most, nil
	}
	if err := harness.Poll(frameTimeout, "the last session and the last question to end", rest); err != nil {
		t.Error(err)
	}
	usage := make(map[string]float64)
	for _, name := range []string{"go_goroutines", "process_open_fds", "process_resident_memory_bytes"} {
		usage[name] = page[name]
	}
	for _, door := range []string{"filter", "map"} {
		if n, told := page[`milterd_panics_total{door="`+door+`"}`]; n > 0 || !told {
			t.Errorf("%v panics at the %s door", n, door)
		}
	}
	return usage
}

// soakMetrics reads the metrics that stand alone on their line.
func soakMetrics(t *testing.T) map[string]float64 {
	t.Helper()
	response, err := http.Get("http://127.0.0.1:" + statusPort + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	values := make(map[string]float64)
	for in := bufio.NewScanner(response.Body); in.Scan(); {
		name, text, _ := strings.Cut(in.Text(), " ")
		if value, err := strconv.ParseFloat(text, 64); err == nil {
			values[name] = value
		}
	}
	return values
}

// judge looks at what has become of all mail.
func (s *soak) judge(t *testing.T, sessions int) {
	t.Helper()
	files, err := s.env.Queue()
	if err != nil {
		t.Fatal(err)
	}
	queued := make(map[string]bool)
	for _, f := range files {
		queued[f.ID] = true
		if strings.Contains(f.Text, "@victim.example") {
			t.Errorf("message %s is for the victim", f.ID)
		}
	}
	for id := range s.taken {
		if !queued[id] {
			t.Errorf("message %s was accepted and is not in the queue", id)
		}
	}
	for _, kind := range soakKinds {
		if kind.mayPass && s.answers[kind.name+": accepted"] < sessions/1000 {
			t.Errorf("of %s, only %d were accepted", kind.name, s.answers[kind.name+": accepted"])
		}
	}
	if len(s.taken) == 0 {
		t.Error("sendmail has taken nothing")
	}
	if len(s.faults) < len(soakFaults) {
		t.Errorf("of %d faults there were %v only", len(soakFaults), s.faults)
	}
	if err := s.env.Milterd.Stop(); err != nil {
		t.Fatal(err)
	}
	if code := s.env.Milterd.ExitCode(); code != 0 {
		t.Errorf("milterd's exit status is %d", code)
	}
}

// count notes an answer.
func (s *soak) count(kind, answer string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answers[fmt.Sprintf("%s: %s", kind, answer)]++
}
