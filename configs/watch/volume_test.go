package watch

import (
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"
)

// volume is a directory as Kubernetes mounts a ConfigMap: each file is a link into
// ..data, and that is a link to a directory of its own for each version.
type volume struct {
	t        *testing.T
	dir      string
	versions int
}

// swap puts a version of the files in the place of the one before, all at once.
func (v *volume) swap(files map[string]string) {
	v.t.Helper()
	v.versions++
	before, _ := os.Readlink(filepath.Join(v.dir, "..data"))
	version := "..version" + strconv.Itoa(v.versions)
	v.must(os.Mkdir(filepath.Join(v.dir, version), 0o755))
	for name, text := range files {
		write(v.t, filepath.Join(v.dir, version), name, text)
		if before == "" {
			v.must(os.Symlink(filepath.Join("..data", name), filepath.Join(v.dir, name)))
		}
	}
	v.must(os.Symlink(version, filepath.Join(v.dir, "..data_tmp")))
	v.must(os.Rename(filepath.Join(v.dir, "..data_tmp"), filepath.Join(v.dir, "..data")))
	if before != "" {
		v.must(os.RemoveAll(filepath.Join(v.dir, before)))
	}
}

func (v *volume) must(err error) {
	v.t.Helper()
	if err != nil {
		v.t.Fatal(err)
	}
}

// No file of the watched names is touched by a swap: only a link is, that they lead
// through.
func TestASwappedConfigMapIsAChange(t *testing.T) {
	for name, w := range map[string]*Watcher{"events": New(time.Hour), "polling": withoutEvents(t)} {
		t.Run(name, func(t *testing.T) {
			v := &volume{t: t, dir: t.TempDir()}
			v.swap(map[string]string{"milterd.yaml": "mode: shadow\n"})
			file := filepath.Join(v.dir, "milterd.yaml")
			reasons, _ := watching(t, w, file)
			for range 3 { // the directory that is watched goes away with each
				v.swap(map[string]string{"milterd.yaml": "mode: enforce\n"})
				expect(t, reasons, file+" changed")
			}
		})
	}
}
