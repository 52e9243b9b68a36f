//go:build race

package dryrun

// raced: the race detector makes everything many times slower.
const raced = true
