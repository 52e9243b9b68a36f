package watch

import (
	"io/fs"
	"maps"
	"os"
	"syscall"
)

// fingerprint tells a changed file from the one noted; info is nil if there is no file.
type fingerprint struct{ info fs.FileInfo }

func takePrint(name string) fingerprint {
	info, _ := os.Stat(name)
	return fingerprint{info}
}

func (p fingerprint) same(q fingerprint) bool {
	if p.info == nil || q.info == nil {
		return p.info == nil && q.info == nil
	}
	return os.SameFile(p.info, q.info) && p.info.Size() == q.info.Size() &&
		p.info.ModTime().Equal(q.info.ModTime()) && p.info.Mode() == q.info.Mode() &&
		changeTime(p.info) == changeTime(q.info)
}

// changeTime is when a file's owner, permissions or text last changed. Unlike the time
// of modification it cannot be set, and it shows a chown, too.
func changeTime(info fs.FileInfo) int64 {
	if stat, ok := info.Sys().(*syscall.Stat_t); ok {
		return stat.Ctim.Nano()
	}
	return 0
}

// fingerprints are those of files, by name.
type fingerprints map[string]fingerprint

func (p fingerprints) now() fingerprints {
	prints := make(fingerprints, len(p))
	for name := range p {
		prints[name] = takePrint(name)
	}
	return prints
}

func (p fingerprints) same(q fingerprints) bool { return maps.EqualFunc(p, q, fingerprint.same) }
