package configs

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// A pipe that takes the place of a file after it was looked at stops nothing.
func TestAPipeInAFilesPlaceIsNotWaitedFor(t *testing.T) {
	dir := t.TempDir()
	pipe, file := filepath.Join(dir, "pipe"), filepath.Join(dir, "file")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte("text\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := openRegular(pipe); err == nil || !strings.Contains(err.Error(), "is no longer a regular file") {
		t.Errorf("a pipe: %v", err)
	}
	f, size, err := openRegular(file)
	if err != nil || size != 5 {
		t.Fatalf("a file: %d octets, %v", size, err)
	}
	f.Close()
}
