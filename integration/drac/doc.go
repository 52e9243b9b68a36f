// Package drac tests package policy/grant/drac against what it meets on a real
// host: the rpcbind of Debian, and a client that makes its calls with the RPC
// library (libtirpc) which the mail servers that know DRAC are built with. It
// all runs in a network namespace, with rpcbind's socket in a private /run.
package drac
