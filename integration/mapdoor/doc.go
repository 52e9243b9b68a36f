// Package mapdoor holds the proof that sendmail and the map door understand each
// other: its tests let sendmail -bt make look-ups through milterd's socket map, and
// compare what its rulesets decide with what they decide on a hash map of the same
// table. Its benchmarks compare what a look-up and a session cost with each.
package mapdoor
