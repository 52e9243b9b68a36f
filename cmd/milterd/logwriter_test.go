package main

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"testing"
)

func TestLogLinesKeepTheirOrder(t *testing.T) {
	var out bytes.Buffer
	w := newLogWriter(&out)
	var want strings.Builder
	for i := range 1000 {
		fmt.Fprintf(&want, "line %d\n", i)
		fmt.Fprintf(w, "line %d\n", i)
	}
	w.close()
	if out.String() != want.String() {
		t.Errorf("%d bytes, want %d", out.Len(), want.Len())
	}
}

// TestALogThatNobodyReadsStopsNothing writes more than the buffer holds to a pipe
// without a reader, and then reads.
func TestALogThatNobodyReadsStopsNothing(t *testing.T) {
	reader, writer := io.Pipe()
	w := newLogWriter(writer)
	for i := range 3 * logLines {
		if _, err := fmt.Fprintf(w, "line %d\n", i); err != nil {
			t.Fatal(err)
		}
	}
	read := make(chan string)
	go func() {
		text, _ := io.ReadAll(reader)
		read <- string(text)
	}()
	w.close()
	if err := writer.Close(); err != nil {
		t.Fatal(err)
	}
	text := <-read
	if !strings.Contains(text, "log lines dropped") || !strings.Contains(text, "line 0\n") {
		t.Errorf("%d bytes, without the count of the dropped lines or the first line", len(text))
	}
}
