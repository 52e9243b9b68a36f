package main

import (
	"fmt"
	"io"
)

// runCheck validates the configuration, or decides recorded sessions.
func runCheck(o options, stdout, stderr io.Writer) int {
	fmt.Fprintln(stderr, "milterd: -check is not built yet")
	return exitUsage
}
