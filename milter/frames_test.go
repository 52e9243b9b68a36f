package milter

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/iotest"
)

// guardHolds reads arbitrary bytes through a guard. What comes out is the whole frames at
// the beginning of what went in but for those with macros, each well-formed, and the
// buffer never outgrows what arrived. It returns what is wrong.
func guardHolds(g *guard, sent []byte, oneByOne bool) error {
	var r io.Reader = bytes.NewReader(sent)
	if oneByOne {
		r = iotest.OneByteReader(r)
	}
	c := g.admit(memoryConn{Reader: r})
	defer c.Close()
	got, err := io.ReadAll(c)
	want := forLibrary(sent, g.limits, c.number)
	if !bytes.HasPrefix(want, got) {
		return fmt.Errorf("read %q, which is not the beginning of %q", got, want)
	}
	check := frameChecker{limits: g.limits}
	for rest := got; len(rest) > 0; {
		if len(rest) < lengthBytes+1 || int(frameLength(rest)) > len(rest)-lengthBytes {
			return fmt.Errorf("part of a frame was handed on: %q", rest)
		}
		end := lengthBytes + int(frameLength(rest))
		if err := check.check(rest[lengthBytes], rest[lengthBytes+1:end]); err != nil {
			return fmt.Errorf("handed on: %w", err)
		}
		rest = rest[end:]
	}
	if malformed := frameError(""); (len(got) < len(want)) != errors.As(err, &malformed) {
		return fmt.Errorf("handed on %d of %d bytes, and ended with %w", len(got), len(want), err)
	}
	if limit := max(firstBuffer, 2*len(sent)); len(c.in) > limit {
		return fmt.Errorf("a buffer of %d bytes for %d bytes received", len(c.in), len(sent))
	}
	return nil
}

// wellFormed are frames that an MTA sends, which the streams below begin as.
func wellFormed() [][]byte {
	return [][]byte{
		frame('D', "Cj\x00mx.example\x00"), connectFrame("203.0.113.8"), frame('C', "mx.example\x006\x9c\xb0IPv6:2001:db8::8\x00"), frame('C', "localhost\x00U"),
		frame('H', "x\x00"), frame('D', "M{auth_type}\x00PLAIN\x00"), frame('M', "<a@good.example>\x00SIZE=1\x00"), frame('R', "<b@our.example>\x00"),
		frame('T'), frame('L', "Subject\x00hi\x00"), frame('N'), frame('B', "text\r\n"), frame('E'), frame('A'), frame('K'), frame('U', "x\x00"), frame('Q'),
	}
}

// stream makes one: some frames in any order, mostly with OPTNEG before them, of which
// some are changed in a place or two. It uses the room of into.
func stream(random *rand.Rand, frames [][]byte, into []byte) []byte {
	b := into[:0]
	if random.IntN(8) > 0 {
		b = append(b, optneg(6, allActions, allProtocol)...)
	}
	for range 1 + random.IntN(6) {
		begin := len(b)
		b = append(b, frames[random.IntN(len(frames))]...)
		switch random.IntN(6) {
		case 0: // an octet of the frame, or of its length
			b[begin+random.IntN(len(b)-begin)] = byte(random.IntN(256))
		case 1: // one that means something
			const meant = "\x00CHMRTNELBAUDKQO4LU6\xff"
			b[begin+random.IntN(len(b)-begin)] = meant[random.IntN(len(meant))]
		case 2: // cut off, with its length put right or not
			b = b[:begin+1+random.IntN(len(b)-begin)]
			if n := len(b) - begin; n > lengthBytes && random.IntN(2) == 0 {
				b[begin+2], b[begin+3] = byte((n-lengthBytes)>>8), byte(n-lengthBytes)
			}
		}
	}
	return b
}

// TestManyStreams reads streams of a seeded generator through guards: 20,000 of them, or
// as many as MILTERD_TEST_FRAMES says. The seed is in the message.
func TestManyStreams(t *testing.T) {
	total, seed := 20_000, uint64(1)
	if text := os.Getenv("MILTERD_TEST_FRAMES"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil {
			t.Fatalf("MILTERD_TEST_FRAMES: %v", err)
		}
		total, seed = n, rand.Uint64()
	}
	workers := runtime.GOMAXPROCS(0)
	var passed, octets atomic.Int64
	var running sync.WaitGroup
	for w := range workers {
		running.Go(func() {
			random := rand.New(rand.NewPCG(seed, uint64(w)))
			g, frames, sent := testGuard(Limits{FrameBytes: 1 << 16, Headers: 4}), wellFormed(), []byte(nil)
			for n := w; n < total && !t.Failed(); n += workers {
				sent = stream(random, frames, sent)
				octets.Add(int64(len(sent)))
				if err := guardHolds(g, sent, random.IntN(16) == 0); err != nil {
					t.Errorf("seed %d, worker %d of %d, stream %d: %v", seed, w, workers, n/workers, err)
				}
				passed.Add(1)
			}
			if n := g.active(); n > 0 {
				t.Errorf("%d connections are left", n)
			}
		})
	}
	running.Wait()
	t.Logf("seed %d: %d streams, %d octets", seed, passed.Load(), octets.Load())
	if passed.Load() < int64(total) && !t.Failed() {
		t.Errorf("%d streams of %d", passed.Load(), total)
	}
}

// TestStreamsAreBothGoodAndBad: a generator of nothing but nonsense would test little.
func TestStreamsAreBothGoodAndBad(t *testing.T) {
	random, frames := rand.New(rand.NewPCG(1, 2)), wellFormed()
	reasons := make(map[string]int)
	for range 20_000 {
		c := testGuard(Limits{FrameBytes: 1 << 16, Headers: 4}).admit(memoryConn{Reader: bytes.NewReader(stream(random, frames, nil))})
		_, err := io.ReadAll(c)
		reason := "good"
		if malformed := frameError(""); errors.As(err, &malformed) {
			_, reason, _ = strings.Cut(string(malformed), ": ")
			reason = strings.Map(func(r rune) rune {
				if r >= '0' && r <= '9' || r > '~' {
					return -1
				}
				return r
			}, reason)
		}
		reasons[reason]++
	}
	if good := reasons["good"]; good < 2_000 || good > 18_000 || len(reasons) < 15 {
		t.Errorf("%d good streams of 20000, %d kinds of bad ones", good, len(reasons))
	}
}
