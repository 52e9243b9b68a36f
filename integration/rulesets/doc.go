// Package rulesets holds the proof that milterd's checks decide as sendmail's own
// rulesets do: its tests put the same generated access tables and sessions to
// sendmail -bt and to package policy, and compare every answer.
//
// Some of the answers are kept in testdata/recorded.jsonl, to which FuzzRecordedAnswers
// holds the policy without a sendmail. go test -run TestTheRecordedAnswers -update writes
// them anew.
//
// MILTERD_TEST_SEED sets the seed, MILTERD_TEST_TABLES the number of tables; make soak runs
// with many more than make test.
package rulesets
