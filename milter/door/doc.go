// Package door holds what the two doors into sendmail, the filter door and the map
// door, have in common: what is in force, socket addresses, a listener that outlives
// the errors that pass, counters, and a log of panics that a peer cannot flood.
package door
