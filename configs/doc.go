// Package configs reads milterd's configuration.
//
// The file milterd.yaml beside this source is built into the binary. It holds
// every key with its default and a comment, and is the reference: what a user's
// file does not say is taken from there, key by key.
//
// Reading is strict, because a mail server whose administrator believes that a
// misspelt rule is in force is worse than one that does not start. An unknown
// key, a duplicate key, a wrong type, a second document, an impossible value, an
// anchor or a tag is a [Problem] with file and line, and all problems of a file
// are reported at once.
//
// [Load] and [Parse] only read the configuration. [Config.Policy] goes on to
// read what it names, the access table, the domain files and sendmail.cf, and
// makes the policy; [Config.Files] lists those files, for whoever watches them.
package configs

import _ "embed"

//go:embed milterd.yaml
var reference []byte

// Reference is the embedded configuration: every key, its default and its
// comment.
func Reference() string { return string(reference) }
