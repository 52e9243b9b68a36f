package record

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"milterd/policy"
	"milterd/policy/access"
)

// askAbout puts the question about one recipient of a message to the map door.
func askAbout(r *Recorder, p *policy.Policy, facts policy.Connection, id, to string) policy.Verdict {
	e := r.NewQuestion(id, p, facts, policy.NoAnswers{})
	defer e.Close()
	e.Helo("client.example", policy.TLS{})
	e.SetQueueID(id)
	e.Mail(policy.Auth{}, policy.Mail{From: "a@good.example"})
	return e.Rcpt(policy.Recipient{To: to, Mailer: "esmtp"})
}

// steps are the commands of a recording with what is expected of them.
func steps(t *testing.T, dir string) (steps []string) {
	t.Helper()
	for _, s := range sessions(t, dir) {
		for _, x := range s.Expect {
			steps = append(steps, strings.TrimSpace(fmt.Sprintf("%s %s %s", x.Stage, x.Arg, x.Action)))
		}
	}
	return steps
}

func TestWhatTheMapDoorRefusesIsInTheMessage(t *testing.T) {
	const id, relayed, own, denied = "4AMH0abc012345", "x@relayed.example", "x@example.test", "x@other.example"
	p := fixture(t, access.Features{DelayChecks: true})
	ours, other := client("203.0.113.8"), client("203.0.113.9")
	for _, tt := range []struct {
		name string
		ask  func(r *Recorder, e policy.Evaluator)
		want []string
	}{
		{"all are refused, and the message is given up", func(r *Recorder, e policy.Evaluator) {
			askAbout(r, p, ours, id, denied)
			askAbout(r, p, ours, id, "y@other.example")
			e.Abort()
		}, []string{"rcpt x@other.example reject", "rcpt y@other.example reject"}},
		{"the connection ends", func(r *Recorder, e policy.Evaluator) { askAbout(r, p, ours, id, denied) }, []string{"rcpt x@other.example reject"}},
		{"in their place", func(r *Recorder, e policy.Evaluator) {
			askAbout(r, p, ours, id, denied)
			askAbout(r, p, ours, id, relayed)
			e.Rcpt(policy.Recipient{To: relayed, Mailer: "esmtp"})
			askAbout(r, p, ours, id, "y@other.example")
			e.EndOfMessage(nil)
		}, []string{"rcpt x@other.example reject", "rcpt x@relayed.example accept", "rcpt y@other.example reject", "eom  accept"}},
		{"of two with the same text one is refused by sendmail's rules", func(r *Recorder, e policy.Evaluator) {
			askAbout(r, p, ours, id, relayed)
			askAbout(r, p, ours, id, relayed)
			e.Rcpt(policy.Recipient{To: relayed, Mailer: "esmtp"})
			e.EndOfMessage(nil)
		}, []string{"rcpt x@relayed.example accept", "rcpt x@relayed.example accept"}},
		{"another client with the same id", func(r *Recorder, e policy.Evaluator) {
			askAbout(r, p, other, id, denied)
			e.Abort()
		}, []string{"rcpt x@other.example reject", "mail a@good.example accept"}},
		{"another id", func(r *Recorder, e policy.Evaluator) {
			askAbout(r, p, ours, "4AMH0abc012346", denied)
			askAbout(r, p, ours, "", denied)
			e.Abort()
		}, []string{"rcpt x@other.example reject", "mail a@good.example accept", "rcpt x@other.example reject", "mail a@good.example accept"}},
		{"after the message", func(r *Recorder, e policy.Evaluator) {
			e.Rcpt(policy.Recipient{To: relayed, Mailer: "esmtp"})
			e.EndOfMessage(nil)
			askAbout(r, p, ours, id, denied)
			e.Abort()
		}, []string{"rcpt x@other.example reject", "mail a@good.example accept", "rcpt x@relayed.example accept", "eom  accept"}},
		{"both doors take it", func(r *Recorder, e policy.Evaluator) {
			askAbout(r, p, ours, id, own)
			e.Rcpt(policy.Recipient{To: own, Mailer: "esmtp"})
			e.EndOfMessage(nil)
		}, []string{"rcpt x@example.test accept", "eom  accept"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			r := open(t, Config{Dir: dir})
			_, e := begin(r, p, ours, nil)
			e.Helo("client.example", policy.TLS{})
			e.SetQueueID(id)
			e.Mail(policy.Auth{}, policy.Mail{From: "a@good.example"})
			tt.ask(r, e)
			e.Close()
			finish(t, r)
			if diff := cmp.Diff(append([]string{"mail a@good.example accept"}, tt.want...), steps(t, dir)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if found := differences(p, sessions(t, dir), nil); len(found) > 0 {
				t.Errorf("differences: %q", found)
			}
			if left := underWay(r); left > 0 {
				t.Errorf("%d transactions are left", left)
			}
		})
	}
}

// TestTheMapDoorAloneIsRecorded: where sendmail has no filter, each question is a session
// with its answer, which a replay gives again.
func TestTheMapDoorAloneIsRecorded(t *testing.T) {
	const id = "4AMH0abc012345"
	p, dir := fixture(t, access.Features{DelayChecks: true}), t.TempDir()
	r := open(t, Config{Dir: dir})
	askAbout(r, p, client("203.0.113.8"), id, "x@other.example")
	askAbout(r, p, client("203.0.113.66"), "4AMH0abc012346", "x@other.example")
	askAbout(r, p, client("198.51.100.7"), "4AMH0abc012347", "x@example.test")
	finish(t, r)
	want := []string{
		"mail a@good.example accept", "rcpt x@other.example reject", "mail a@good.example accept", "rcpt x@other.example accept",
		"mail a@good.example accept", "rcpt x@example.test reject",
	}
	if diff := cmp.Diff(want, steps(t, dir)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	written := sessions(t, dir)
	if len(written) != 3 || !strings.HasSuffix(written[0].ID, "-"+id) {
		t.Errorf("%d sessions, expected one for each question, with the queue id: %+v", len(written), written)
	}
	if found := differences(p, written, nil); len(found) > 0 {
		t.Errorf("differences: %q", found)
	}
	if underWay(r) > 0 {
		t.Error("a transaction is left")
	}
}

// TestASampleOfTheMapDoorAlone: without a filter door the sample is one of questions, and
// with one a message that is not in the sample is in the recording of neither.
func TestASampleOfTheMapDoorAlone(t *testing.T) {
	p, dir := fixture(t, access.Features{DelayChecks: true}), t.TempDir()
	r := open(t, Config{Dir: dir, Sample: 0.5})
	chance := 0.1
	r.random = func() float64 { return chance }
	ask := func() { askAbout(r, p, client("203.0.113.8"), "4AMH0abc012345", "x@other.example") }
	ask()
	chance = 0.9
	ask()
	_, e := begin(r, p, client("203.0.113.8"), nil)
	chance = 0.1
	ask()
	e.Close()
	finish(t, r)
	if n := len(sessions(t, dir)); n != 1 {
		t.Errorf("%d sessions, expected 1", n)
	}
}

// TestQuestionsBeyondWhatIsKeptOfAConnection leave nothing of their own.
func TestQuestionsBeyondWhatIsKeptOfAConnection(t *testing.T) {
	const id = "4AMH0abc012345"
	p, dir := fixture(t, access.Features{DelayChecks: true}), t.TempDir()
	r := open(t, Config{Dir: dir})
	c, e := begin(r, p, client("203.0.113.8"), nil)
	c.count = maxMessages
	e.SetQueueID(id)
	e.Mail(policy.Auth{}, policy.Mail{From: "a@good.example"})
	askAbout(r, p, client("203.0.113.8"), id, "x@other.example")
	e.Close()
	finish(t, r)
	if n := len(sessions(t, dir)); n != 0 || underWay(r) > 0 {
		t.Errorf("%d sessions, expected none; %d transactions are left", n, underWay(r))
	}
}

// TestARefusedMessageIsNotAskedAbout: nothing comes after a MAIL that is refused, and a
// connection that is not in the sample is not in the recording.
func TestARefusedMessageIsNotAskedAbout(t *testing.T) {
	p := fixture(t, access.Features{})
	r := open(t, Config{Dir: t.TempDir()})
	_, e := begin(r, p, client("198.51.100.7"), nil)
	e.SetQueueID("4AMH0abc012345")
	if v := e.Mail(policy.Auth{}, policy.Mail{From: "a@good.example"}); v.Action.Accepts() {
		t.Fatalf("%s", v)
	}
	if underWay(r) > 0 {
		t.Error("a message that was refused can be asked about")
	}
	e.Close()
	r.config.Sample, r.random = 0.5, func() float64 { return 0.9 }
	_, e = begin(r, p, client("203.0.113.8"), nil)
	e.SetQueueID("4AMH0abc012346")
	e.Mail(policy.Auth{}, policy.Mail{From: "a@good.example"})
	if v := askAbout(r, p, client("203.0.113.8"), "4AMH0abc012346", "x@other.example"); v.Action != policy.ActionReject {
		t.Errorf("%s", v)
	}
	e.Close()
	if underWay(r) > 0 {
		t.Error("a connection that is not recorded can be asked about")
	}
}

// TestOfManyQuestionsTheFirstAreKept: a client may name recipients without end between
// two commands that the filter door hears of.
func TestOfManyQuestionsTheFirstAreKept(t *testing.T) {
	const id = "4AMH0abc012345"
	p := fixture(t, access.Features{})
	for _, tt := range []struct {
		to    string
		least int
	}{{"x%04d@other.example", 700}, {strings.Repeat("x", 900) + "%04d@other.example", 100}} {
		dir := t.TempDir()
		r := open(t, Config{Dir: dir})
		_, e := begin(r, p, client("203.0.113.8"), nil)
		e.SetQueueID(id)
		e.Mail(policy.Auth{}, policy.Mail{From: "a@good.example"})
		for i := range 3 * maxRecipients {
			askAbout(r, p, client("203.0.113.8"), id, fmt.Sprintf(tt.to, i))
		}
		of := r.transaction(id, client("203.0.113.8").Addr)
		if of == nil || of.size > maxMessageBytes || len(of.asked) > maxRecipients {
			t.Fatalf("%+v", of)
		}
		e.Close()
		finish(t, r)
		if got := len(steps(t, dir)) - 1; got < tt.least || got > maxRecipients || r.Stats().Cut != 1 {
			t.Errorf("%d recipients are kept, expected %d or more; %d messages are cut, expected 1", got, tt.least, r.Stats().Cut)
		}
	}
}

// underWay is how many transactions have not ended.
func underWay(r *Recorder) (n int) {
	r.transactions.Range(func(any, any) bool { n++; return true })
	return n
}
