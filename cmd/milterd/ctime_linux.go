package main

import (
	"io/fs"
	"syscall"
)

// changeTime is when a file's owner, permissions or text last changed. Unlike
// the time of modification nobody can set it, and it shows a chown, too.
func changeTime(info fs.FileInfo) int64 {
	if stat, ok := info.Sys().(*syscall.Stat_t); ok {
		return stat.Ctim.Nano()
	}
	return 0
}
