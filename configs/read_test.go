package configs

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"milterd/integration/testkit"
)

// A user who may write to the directory of a file can put a pipe in its place at any moment.
func TestAPipeThatComesInBetweenHoldsNothingUp(t *testing.T) {
	dir := t.TempDir()
	path, file, pipe := filepath.Join(dir, "local-host-names"), filepath.Join(dir, "file"), filepath.Join(dir, "pipe")
	if err := os.WriteFile(file, []byte("example.test\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	stop, read := make(chan struct{}), make(chan struct{})
	var running sync.WaitGroup
	running.Go(func() {
		for {
			for _, target := range []string{file, pipe} {
				select {
				case <-stop:
					return
				default:
				}
				if err := errors.Join(os.Link(target, path+".new"), os.Rename(path+".new", path)); err != nil {
					t.Error(err)
					return
				}
			}
		}
	})
	go func() {
		defer close(read)
		for range 20_000 {
			if f, _, err := openFile(path); err == nil {
				f.Close()
			} else if errors.Is(err, fs.ErrPermission) {
				t.Error(err)
			}
		}
	}()
	testkit.Eventually(t, "20,000 times opened", func() bool {
		select {
		case <-read:
			return true
		default:
			return false
		}
	})
	close(stop)
	running.Wait()
}
