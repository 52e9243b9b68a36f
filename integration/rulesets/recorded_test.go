package rulesets

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"strings"
	"testing"

	"milterd/integration/testkit"
	"milterd/policy"
	"milterd/policy/access"
)

// recordedFile holds what sendmail -bt has answered, so that the policy can be held to it
// where there is no sendmail.
const recordedFile = "testdata/recorded.jsonl"

// The corpus is that of one seed.
const (
	recordedSeed     = 16
	recordedTables   = 10
	recordedSessions = 40
)

// recorded is one table, and what sendmail has decided with it.
type recorded struct {
	Features access.Features
	Table    []string
	Sessions []recordedSession
}

// recordedSession is a session with sendmail's decision.
type recordedSession struct {
	Addr         netip.Addr
	Name         string
	PTR          string `json:",omitempty"`
	Resolve      policy.Resolve
	Auth, Verify string `json:",omitempty"`
	From, To     string
	decision
}

func record(s session, d decision) recordedSession {
	return recordedSession{s.conn.Addr, s.conn.Name, s.conn.PTR, s.conn.Resolve, s.auth.Type, s.tls.Verify, s.from, s.to, d}
}

// session is what was recorded, and what sendmail decided.
func (r recordedSession) session() (session, decision) {
	s := session{conn: policy.Connection{Addr: r.Addr, Name: r.Name, PTR: r.PTR, Resolve: r.Resolve}, from: r.From, to: r.To}
	if r.Auth != "" {
		s.auth = policy.Auth{Type: r.Auth, Authen: "shin"}
	}
	if r.Verify != "" {
		s.tls = policy.TLS{Version: "TLSv1.3", Verify: r.Verify, CertIssuer: "/CN=ca", CertSubject: "/CN=client"}
	}
	return s, r.decision
}

// TestTheRecordedAnswersAreSendmails asks sendmail again. With -update it writes the file.
func TestTheRecordedAnswersAreSendmails(t *testing.T) {
	requireSendmail(t)
	var all []recorded
	for i := range uint64(recordedTables) {
		g := generator{rand.New(rand.NewPCG(recordedSeed, i))}
		u := standard(g.features(), g.table())
		r := recorded{Features: u.features, Table: strings.Split(strings.TrimSuffix(u.table, "\n"), "\n")}
		var sessions []session
		var queries []query
		for range recordedSessions {
			s := g.session()
			sessions, queries = append(sessions, s), append(queries, s.queries(u.features)...)
		}
		answers := newSendmail(t, u).ask(t, queries)
		for _, s := range sessions {
			r.Sessions = append(r.Sessions, record(s, s.wanted(u.features, &answers)))
		}
		all = append(all, r)
	}
	testkit.Golden(t, recordedFile, linesOf(t, all))
}

// linesOf has a line for each table and each session, so that a change can be read.
func linesOf(t *testing.T, all []recorded) string {
	t.Helper()
	var b strings.Builder
	line := func(v any) {
		text, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&b, "%s\n", text)
	}
	for _, r := range all {
		sessions := r.Sessions
		r.Sessions = nil
		line(r)
		for _, s := range sessions {
			line(s)
		}
	}
	return b.String()
}

// readRecorded reads what linesOf has written.
func readRecorded(t testing.TB) (all []recorded) {
	t.Helper()
	file, err := os.Open(recordedFile)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	in := json.NewDecoder(file)
	for range recordedTables {
		var r recorded
		if err := in.Decode(&r); err != nil {
			t.Fatal(err)
		}
		for range recordedSessions {
			var s recordedSession
			if err := in.Decode(&s); err != nil {
				t.Fatal(err)
			}
			r.Sessions = append(r.Sessions, s)
		}
		all = append(all, r)
	}
	return all
}

// FuzzRecordedAnswers has the policy decide what sendmail has decided. What changes
// nothing for sendmail must change nothing: the order of the table, the case of its keys,
// entries that concern others.
func FuzzRecordedAnswers(f *testing.F) {
	all := readRecorded(f)
	for which := range uint16(recordedTables * recordedSessions) {
		f.Add(which, uint64(which), which%50)
	}
	f.Fuzz(func(t *testing.T, which uint16, seed uint64, more uint16) {
		r := all[which%recordedTables]
		s, want := r.Sessions[which/recordedTables%recordedSessions].session()
		p := newPolicy(t, r.Features, disguised(r.Table, rand.New(rand.NewPCG(seed, 0)), int(more%1000)))
		if got, verdicts := s.asked(p); !same(want, got, verdicts[len(verdicts)-1], s) {
			t.Errorf("session %+v\nsendmail: %+v\nmilterd:  %+v\nverdicts: %+v", s, want, got, verdicts)
		}
	})
}

// disguised is a table that means the same.
func disguised(table []string, random *rand.Rand, more int) string {
	var lines []string
	for _, line := range table {
		key, value, _ := strings.Cut(line, "\t")
		if random.IntN(2) == 0 {
			key = strings.ToUpper(key)
		}
		lines = append(lines, key+strings.Repeat("\t", 1+random.IntN(2))+value)
	}
	for i := range more {
		tag := []string{"Connect:", "From:", "To:", "Spam:", ""}[random.IntN(5)]
		rest := []string{"u%d@nobody.invalid", "d%d.nobody.invalid", "nobody%d@", "100.64.0.%d", "IPv6:2001:db8:ffff::%d", "# %d"}[random.IntN(6)]
		lines = append(lines, fmt.Sprintf(tag+rest+"\tREJECT", i))
	}
	random.Shuffle(len(lines), func(i, j int) { lines[i], lines[j] = lines[j], lines[i] })
	return strings.Join(lines, "\n") + "\n"
}
