//go:build !race

package dryrun

const raced = false
