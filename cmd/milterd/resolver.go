package main

import (
	"context"
	"fmt"
	"time"

	"github.com/miekg/dns"

	"milterd/configs"
	"milterd/dnscheck"
)

// slowAnswer is how long an answer of the resolver may take before it is told of.
const slowAnswer = time.Second

// askResolver asks for a name as milterd asks for those of clients.
func askResolver(ctx context.Context, config *configs.Config, name string) []configs.Finding {
	if !config.AsksDNS() {
		return nil
	}
	client, err := dnscheck.NewClient(config.DNS.Client)
	if err != nil {
		return []configs.Finding{found(configs.Severe, "dns.servers", err.Error())}
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(ctx, config.DNS.Deadline)
	defer cancel()
	begun := time.Now()
	result := client.Lookup(ctx, name, dns.TypeA)
	took := time.Since(begun).Round(time.Millisecond)
	text := ""
	switch {
	case result.Status == dnscheck.Temporary:
		text = fmt.Sprintf("the resolver has no answer about %s (%v)", name, result.Err)
	case took > slowAnswer:
		text = fmt.Sprintf("the resolver took %v to answer about %s", took, name)
	default:
		return nil
	}
	f := found(configs.Warning, "dns.servers", text+": clients wait for it, and what a check does not know within dns.deadline is a temporary error")
	f.Cure = "dns: {servers: [127.0.0.1]}   # a resolver of your own, on this host"
	return []configs.Finding{f}
}
