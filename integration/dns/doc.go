// Package dns tests package dnscheck against the servers that people run: it
// starts an unbound as the recursive resolver, an nsd with the zones of hosts
// and senders, and an rbldnsd with block lists, all on high ports of the
// loopback interface. Nothing leaves the host.
package dns
