// Package manual holds the manual pages of milterd, in Markdown that go-md2man makes
// pages of. Two of them are made from the source, so that nothing is said twice:
// milterd.yaml(5) from configs/milterd.yaml, milterd-access(5) from the package comment of
// policy/access. go test ./configs/manual -update writes them anew.
package manual
