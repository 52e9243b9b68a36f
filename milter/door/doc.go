// Package door holds what the two doors into sendmail, the filter door and the map
// door, have in common: what is in force, a listener that outlives the errors that pass,
// and a log of panics that a peer cannot flood.
package door
