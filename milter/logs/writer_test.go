package logs

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m)
}

func TestLogLinesKeepTheirOrder(t *testing.T) {
	var out bytes.Buffer
	w := NewWriter(&out)
	var want strings.Builder
	for i := range 1000 {
		fmt.Fprintf(&want, "line %d\n", i)
		fmt.Fprintf(w, "line %d\n", i)
	}
	w.Close()
	if out.String() != want.String() {
		t.Errorf("%d bytes, want %d", out.Len(), want.Len())
	}
}

// TestALogWithoutAReaderStopsNothing writes more than the buffer holds to a pipe
// without a reader, and then reads.
func TestALogWithoutAReaderStopsNothing(t *testing.T) {
	reader, writer := io.Pipe()
	w := NewWriter(writer)
	padding := strings.Repeat("x", 1000)
	for i := range 3 * maxWaiting / len(padding) {
		if _, err := fmt.Fprintf(w, "line %d\n%s\n", i, padding); err != nil {
			t.Fatal(err)
		}
	}
	read := make(chan string)
	go func() {
		text, _ := io.ReadAll(reader)
		read <- string(text)
	}()
	w.Close()
	if err := writer.Close(); err != nil {
		t.Fatal(err)
	}
	text := <-read
	if !strings.Contains(text, "log lines dropped") || !strings.Contains(text, "line 0\n") {
		t.Errorf("%d bytes, without the count of the dropped lines or the first line", len(text))
	}
}

func TestLinesAreWrittenWithoutBeingAskedFor(t *testing.T) {
	reader, writer := io.Pipe()
	w := NewWriter(writer)
	defer w.Close()
	lines := bufio.NewReader(reader)
	for i := range 3 {
		want := fmt.Sprintf("line %d\n", i)
		fmt.Fprint(w, want)
		if got, err := lines.ReadString('\n'); err != nil || got != want {
			t.Fatalf("%q, %v, want %q", got, err, want)
		}
	}
}

// BenchmarkWriter is a line on its way to a pipe that is read.
func BenchmarkWriter(b *testing.B) {
	reader, writer, err := os.Pipe()
	if err != nil {
		b.Fatal(err)
	}
	go io.Copy(io.Discard, reader)
	w := NewWriter(writer)
	line := []byte(strings.Repeat("x", 250) + "\n")
	b.ReportAllocs()
	for b.Loop() {
		w.Write(line)
	}
	w.Close()
	writer.Close()
}
