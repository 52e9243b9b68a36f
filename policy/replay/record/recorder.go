package record

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	mathrand "math/rand/v2"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Compression says how finished files are compressed.
type Compression string

// The compressions. The empty one is Gzip.
const (
	Gzip Compression = "gzip"
	Zstd Compression = "zstd"
	None Compression = "none"
)

// minKey is the least length of a redaction key in octets: with a key that is
// guessed local parts can be found by trying them.
const minKey = 16

// maxQueued bounds the octets that may wait to be written, in addition to
// Config.Buffer: sessions of hostile clients are large.
const maxQueued = 64 << 20

// Config is what a Recorder needs. Dir is required.
type Config struct {
	// Dir is the directory of the recordings, a complete path.
	Dir string
	// MaxSize is how many octets a file may get before the next one begins.
	// Default: 64 MiB.
	MaxSize int64
	// Keep is how many finished files stay; 0 for all.
	Keep int
	// Compress says how finished files are compressed.
	Compress Compression
	// Sample is the share of the connections that is recorded, above 0 and 1 at
	// most; 0 stands for 1. Which ones is left to chance, so that no client can tell.
	Sample float64
	// Redact replaces what names people by tokens.
	Redact bool
	// Key is the secret that tokens are made with, of 16 octets at least. Without
	// one the Recorder makes up its own, and the tokens of two Recorders, or of two
	// runs of the program, cannot be compared.
	Key []byte
	// Headers names the header fields that are stored; AllHeaders stores every one.
	// With Redact none is.
	Headers    []string
	AllHeaders bool
	// Buffer is how many sessions may wait to be written. Default: 1024.
	Buffer int
	// Logger is told when writing fails, and when it works again. Default: none.
	Logger *slog.Logger
	// Now is the clock. Default: time.Now.
	Now func() time.Time
}

func (c Config) withDefaults() (Config, error) {
	switch {
	case !filepath.IsAbs(c.Dir):
		return c, fmt.Errorf("directory %q, expected a complete path", c.Dir)
	case c.MaxSize < 0 || c.Keep < 0 || c.Buffer < 0:
		return c, errors.New("a size, a number of files or of sessions below 0")
	case c.Sample < 0 || c.Sample > 1 || c.Sample != c.Sample:
		return c, fmt.Errorf("sample %v, expected a share above 0, and 1 at most", c.Sample)
	case c.Redact && len(c.Key) > 0 && len(c.Key) < minKey:
		return c, fmt.Errorf("redaction key of %d octets, expected %d at least", len(c.Key), minKey)
	}
	c.MaxSize, c.Buffer, c.Sample = cmp.Or(c.MaxSize, 64<<20), cmp.Or(c.Buffer, 1024), cmp.Or(c.Sample, 1)
	c.Compress, c.Logger = cmp.Or(c.Compress, Gzip), cmp.Or(c.Logger, slog.New(slog.DiscardHandler))
	if !slices.Contains([]Compression{Gzip, Zstd, None}, c.Compress) {
		return c, fmt.Errorf("compression %q, expected gzip, zstd or none", c.Compress)
	}
	if c.Redact {
		c.Headers, c.AllHeaders = nil, false
	}
	if c.Redact && len(c.Key) == 0 {
		c.Key = make([]byte, 32)
		// It fills the key or ends the program.
		_, _ = rand.Read(c.Key)
		c.Logger.Info("recordings are redacted with a key of this run; another run makes other tokens")
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	return c, nil
}

// Recorder writes connections down. Its methods are safe for concurrent use; a nil
// Recorder records nothing.
type Recorder struct {
	config Config
	// random gives numbers in [0, 1) to sample with.
	random func() float64
	// filtering: the filter door is in use.
	filtering atomic.Bool
	number    atomic.Uint64
	// transactions has the transaction of each message under way, by the MTA's id.
	transactions sync.Map

	// mu orders the last parts before the end.
	mu     sync.RWMutex
	closed bool
	queue  chan *part
	queued atomic.Int64

	done   chan struct{}
	ctx    context.Context
	cancel context.CancelFunc

	// See Register.
	recorded, dropped, lost, leftOut, cut, bytes, files atomic.Uint64
	// failing: the last attempt to write has failed.
	failing atomic.Bool
}

// Open begins to record. An error says that the configuration cannot be; whether the
// directory can be written to shows only with the first session, as mail does not
// depend on it. CheckDir tells beforehand.
func Open(config Config) (*Recorder, error) {
	config, err := config.withDefaults()
	if err != nil {
		return nil, fmt.Errorf("record sessions: %w", err)
	}
	r := newRecorder(config)
	r.start()
	return r, nil
}

// newRecorder makes a Recorder that writes nothing yet.
func newRecorder(config Config) *Recorder {
	r := &Recorder{
		config: config, random: mathrand.Float64,
		queue: make(chan *part, config.Buffer), done: make(chan struct{}),
	}
	r.ctx, r.cancel = context.WithCancel(context.Background())
	return r
}

func (r *Recorder) start() {
	w := newWriter(r)
	go func() {
		defer close(r.done)
		defer r.cancel()
		var keeping sync.WaitGroup
		keeping.Go(w.keeper.run)
		w.run()
		close(w.keeper.work)
		keeping.Wait()
	}()
}

// Close writes what has been handed over so far, and compresses the last file. When
// ctx is over it gives up what is left of that, and returns ctx's error. Connections
// that end later are dropped. It logs the counters.
func (r *Recorder) Close(ctx context.Context) error {
	r.mu.Lock()
	if !r.closed {
		r.closed = true
		close(r.queue)
	}
	r.mu.Unlock()
	defer func() {
		r.config.Logger.Info("recorder stopped", "recorded", r.recorded.Load(), "dropped", r.dropped.Load(), "lost", r.lost.Load(), "bytes", r.bytes.Load())
	}()
	select {
	case <-r.done:
		return nil
	case <-ctx.Done():
		r.cancel()
		return fmt.Errorf("close the recording in %s: %w", r.config.Dir, ctx.Err())
	}
}

// Register has a registry read the recorder's counters.
func (r *Recorder) Register(to prometheus.Registerer) {
	counter := func(name, help string, n *atomic.Uint64) {
		to.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{Name: name, Help: help}, func() float64 { return float64(n.Load()) }))
	}
	counter("milterd_recorder_recorded_total", "Sessions, or parts of long ones, that were written.", &r.recorded)
	counter("milterd_recorder_dropped_total", "Sessions, or parts of long ones, that found record.buffer full.", &r.dropped)
	counter("milterd_recorder_lost_total", "Sessions, or parts of long ones, that could not be written.", &r.lost)
	counter("milterd_recorder_left_out_total", "Messages that cannot be recorded so that they replay.", &r.leftOut)
	counter("milterd_recorder_cut_total", "Messages beyond what is kept of one client, and those with too many recipients.", &r.cut)
	counter("milterd_recorder_written_bytes_total", "Octets written, before compression.", &r.bytes)
	counter("milterd_recorder_files_total", "Files begun.", &r.files)
	to.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "milterd_recorder_failing", Help: "Whether the last attempt to write failed.",
	}, func() float64 {
		if r.failing.Load() {
			return 1
		}
		return 0
	}))
}

// take queues a part of a connection, or drops it.
func (r *Recorder) take(p *part) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	size := int64(p.size)
	if !r.closed && r.queued.Add(size) <= maxQueued {
		select {
		case r.queue <- p:
			return
		default:
		}
	}
	if !r.closed {
		r.queued.Add(-size)
	}
	r.dropped.Add(1)
}
