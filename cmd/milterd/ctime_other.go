//go:build !linux

package main

import "io/fs"

// changeTime is not known here: a changed owner is noticed when the file is read
// the next time.
func changeTime(fs.FileInfo) int64 { return 0 }
