package limits

import (
	"crypto/sha256"
	"strconv"

	"milterd/policy"
)

// second is one, in microseconds.
const second = 1_000_000

// Key names a count: see the package comment.
type Key [16]byte

func newKey(limit string, period int, whom string) Key {
	var room [256]byte
	text := append(append(room[:0], limit...), 0)
	text = append(strconv.AppendInt(text, int64(period), 10), 0)
	sum := sha256.Sum256(append(text, whom...))
	return Key(sum[:len(Key{})])
}

// Bucket is one rate of one limit for one key, and what is asked of it. Times are in
// microseconds.
type Bucket struct {
	Key Key
	// Interval is the time in which room for one comes; Burst is how many fit.
	Interval, Burst int64
	// N is how many are to be taken; 0 only asks.
	N int64
	// Limit is the number of the limit in the question. Its buckets are taken together.
	Limit int
	// Enforced: nothing is taken from any bucket if this one has no room.
	Enforced bool
	// Invented: see policy.LimitQuery.
	Invented bool

	// Left is the answer: the time until the bucket is empty, before anything is taken.
	Left int64
	// Taken: N was taken.
	Taken bool
}

// wait is the time until there is room, 0 or less if there is.
func (b *Bucket) wait() int64 { return b.Left + (max(b.N, 1)-b.Burst)*b.Interval }

// after is the time until the bucket is empty, now.
func (b *Bucket) after() int64 {
	if b.Taken {
		return b.Left + b.N*b.Interval
	}
	return b.Left
}

// full is the time until a full bucket is empty. There is more than that only after a clock
// went back, or with a smaller rate than before: it counts as full, and drains from now on.
func (b *Bucket) full() int64 { return b.Burst * b.Interval }

// used is how many of the burst are used.
func (b *Bucket) used() int { return int((b.Left + b.Interval - 1) / b.Interval) }

// buckets are those of some queries.
func buckets(queries []policy.LimitQuery) []Bucket {
	all := make([]Bucket, 0, 2*len(queries))
	for i := range queries {
		q := &queries[i]
		for _, r := range q.Rates {
			all = append(all, Bucket{
				Key: newKey(q.Limit.Name, r.Period, q.Key), Interval: r.Interval(), Burst: int64(r.Burst),
				N: int64(q.N), Limit: i, Enforced: q.Enforced, Invented: q.Invented,
			})
		}
	}
	return all
}

// decide says which buckets are taken from, once Left of all is known: those of the
// limits that have room, if all enforced ones have.
func decide(all []Bucket) {
	for i := range all {
		if all[i].Enforced && all[i].wait() > 0 {
			return
		}
	}
	for i := 0; i < len(all); {
		end, room := i, true
		for ; end < len(all) && all[end].Limit == all[i].Limit; end++ {
			room = room && all[end].wait() <= 0
		}
		for ; i < end; i++ {
			all[i].Taken = room && all[i].N > 0
		}
	}
}

// answer fills in the answers to queries.
func answer(queries []policy.LimitQuery, all []Bucket) {
	for i := range queries {
		queries[i].Answer = policy.LimitAnswer{}
	}
	rate := 0
	for i := range all {
		b := &all[i]
		if i == 0 || all[i-1].Limit != b.Limit {
			rate = 0
		}
		q := &queries[b.Limit]
		wait := int((max(b.wait(), 0) + second - 1) / second)
		// Of several rates the one that has room last tells; without a wait the fullest.
		if rate == 0 || wait > q.Answer.Wait || wait == 0 && q.Answer.Wait == 0 && int64(b.used())*int64(q.Answer.Rate.Burst) > int64(q.Answer.Used)*b.Burst {
			q.Answer = policy.LimitAnswer{Rate: q.Rates[rate], Used: b.used(), Wait: wait}
		}
		rate++
	}
}
