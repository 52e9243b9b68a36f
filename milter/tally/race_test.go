//go:build race

package tally

// raced: the race detector makes everything many times slower.
const raced = true
