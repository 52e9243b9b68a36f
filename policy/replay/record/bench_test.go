package record

import (
	"testing"

	"milterd/policy"
	"milterd/policy/access"
)

// BenchmarkSession is a connection with one message to one recipient, judged, and
// recorded or not. Writing happens elsewhere; what does not fit the queue is dropped.
func BenchmarkSession(b *testing.B) {
	p := fixture(b, access.Features{DelayChecks: true, BlocklistRecipients: true})
	facts := client("203.0.113.8")
	dialogue := func(r *Recorder) {
		e := policy.Evaluator(p.NewSession(facts, nil))
		if r != nil {
			e = r.NewSession(p, facts, policy.NoAnswers{})
		}
		e.Helo("client.example", policy.TLS{})
		e.Mail(policy.Auth{}, policy.Mail{From: "a@good.example", Mailer: "esmtp"})
		e.Rcpt(policy.Recipient{To: "x@example.test", Mailer: "local"})
		e.EndOfMessage(nil)
		e.Abort()
		e.Close()
	}
	b.Run("not recorded", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			dialogue(nil)
		}
	})
	b.Run("not in the sample", func(b *testing.B) {
		r := newRecorder(Config{Dir: "/nowhere", Sample: 1e-9})
		r.config.Now = newClock().Now
		b.ReportAllocs()
		for b.Loop() {
			dialogue(r)
		}
	})
	b.Run("noted", func(b *testing.B) {
		r := newRecorder(mustDefaults(b))
		b.ReportAllocs()
		for b.Loop() {
			dialogue(r)
			// Nobody writes.
			p := <-r.queue
			r.queued.Add(-int64(p.size))
		}
	})
	b.Run("recorded", func(b *testing.B) {
		r := open(b, Config{Compress: None, Keep: 2})
		b.ReportAllocs()
		for b.Loop() {
			dialogue(r)
		}
		finish(b, r)
		s := r.Stats()
		b.ReportMetric(float64(s.Dropped)/float64(s.Dropped+s.Recorded), "dropped/session")
	})
}

// BenchmarkWrite is what the writer does for a session, without the disk.
func BenchmarkWrite(b *testing.B) {
	p := fixture(b, access.Features{DelayChecks: true, BlocklistRecipients: true})
	for name, redact := range map[string]bool{"plain": false, "redacted": true} {
		b.Run(name, func(b *testing.B) {
			r := newRecorder(withDefaults(b, Config{Dir: "/nowhere", Redact: redact}))
			one(r, p, "a@good.example", "x@example.test")
			connection := <-r.queue
			w := newWriter(r)
			b.ReportAllocs()
			for b.Loop() {
				read, _ := connection.sessions(w.redact)
				w.line.Reset()
				if err := w.encoder.Encode(read[0]); err != nil {
					b.Fatal(err)
				}
			}
			b.SetBytes(int64(w.line.Len()))
		})
	}
}

func mustDefaults(b *testing.B) Config { return withDefaults(b, Config{Dir: "/nowhere"}) }
