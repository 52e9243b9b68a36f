// Package live hears from the servers that run on this host what [advice.Doctor] cannot
// read in files: what the mail ports tell, how the resolver answers, and which DNS lists the
// running milterd leaves out.
package live

import (
	"context"
	"fmt"
	"net"
	"regexp"
	"strings"
	"time"

	"github.com/miekg/dns"

	"milterd/configs"
	"milterd/configs/advice"
	"milterd/configs/sendmail"
	"milterd/dnscheck"
	"milterd/integration/probe"
	"milterd/milter/status"
)

var bypassedList = regexp.MustCompile(`(?m)^milterd_dns_list_bypassed\{for="([^"]*)",list="([^"]*)"\} 1$`)

// Lists asks the status page, if there is one, for the DNS lists that do not work.
func Lists(config *configs.Config) []configs.Finding {
	if config.Listen.HTTP == "" {
		return nil
	}
	page, err := status.Get(config.Listen.HTTP, "/metrics", "")
	if err != nil {
		return []configs.Finding{advice.Found(configs.Warning, config.Listen.HTTP, "the status page does not answer: "+err.Error(),
			"systemctl restart milterd   by which listen.http takes effect")}
	}
	var findings []configs.Finding
	for _, m := range bypassedList.FindAllSubmatch(page, -1) {
		findings = append(findings, advice.Found(configs.Warning, "checks.dnsbl.lists", fmt.Sprintf("%s does not work for %s, so it is left out there: it is dead, lists everything, or does not answer this resolver; the log has the reason, and a list that has no such addresses should say so (families)", m[2], m[1]), ""))
	}
	return findings
}

// Ports hears what the mail ports of this host tell that stand in the sendmail.cf at path, and
// asks the resolvers. down: the filter door of milterd does not answer. It takes a minute at
// most.
func Ports(config *configs.Config, path string, down bool) []configs.Finding {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	cf, err := configs.ReadSendmailCF(path)
	if err != nil {
		return nil // the doctor says so
	}
	resolvers, err := dns.ClientConfigFromFile(resolvConf)
	if err != nil || len(resolvers.Servers) == 0 {
		resolvers = &dns.ClientConfig{Servers: []string{"127.0.0.1"}, Port: "53"} // resolv.conf(5)
	}
	findings := askServers(ctx, resolvers)
	findings = append(findings, askResolver(ctx, config, cf.Hostname)...)
	findings = append(findings, hostName(ctx, path, cf.Hostname)...)
	return append(findings, listenToAll(ctx, cf, down)...)
}

// listenToAll hears what the ports of a sendmail.cf tell. If milterd is down, sendmail
// waits for it before it greets.
func listenToAll(ctx context.Context, cf *sendmail.Config, down bool) []configs.Finding {
	var findings, silent []configs.Finding
	asked := make(map[string]bool)
	for _, d := range cf.Daemons {
		host := d.Addr
		if ip := net.ParseIP(host); ip == nil || ip.IsUnspecified() {
			host = "127.0.0.1"
			if d.Family == "inet6" {
				host = "::1"
			}
		}
		target := net.JoinHostPort(host, d.Port)
		if asked[target] {
			continue
		}
		asked[target] = true
		report, err := hear(ctx, target)
		if err != nil {
			return append(findings, advice.Found(configs.Warning, target, err.Error(), ""))
		}
		if report.Error != "" && !strings.HasPrefix(report.Error, "the greeting is ") && report.Greeting == "" {
			if down && strings.Contains(report.Error, "i/o timeout") {
				silent = append(silent, advice.Found(configs.Warning, target, "sendmail does not greet: "+report.Error+"; most likely it waits for milterd, whose filter door does not answer, and other ports were not asked", ""))
				break
			}
			silent = append(silent, advice.Found(configs.Warning, target, "sendmail does not answer at this port: "+report.Error+"; it is not running, or the load average is over RefuseLA (confREFUSE_LA)",
				"systemctl restart sendmail   which has not read this sendmail.cf, or is not running; see its log and systemctl status sendmail"))
			continue
		}
		findings = append(findings, told(report, target, d, cf.Options.Get("HelpFile").Value)...)
	}
	if len(silent) == len(asked) {
		for i := range silent {
			silent[i].Severity = configs.Severe // no port takes mail
		}
	}
	return append(findings, silent...)
}

// hostName looks whether a name ($j) is one that others can know this host by.
func hostName(ctx context.Context, path, name string) []configs.Finding {
	short, _, full := strings.Cut(name, ".")
	if !full {
		return []configs.Finding{advice.Found(configs.Warning, path, fmt.Sprintf("the host name %s is not a full one, with a domain: sendmail calls itself so, and may wait a minute for a better one at each start", name),
			"127.0.1.1 "+name+".YOUR.DOMAIN "+short+"   in /etc/hosts, in place of other lines with this name")}
	}
	if _, err := net.DefaultResolver.LookupHost(ctx, name); err != nil {
		return []configs.Finding{advice.Found(configs.Warning, path, fmt.Sprintf("the host name %s has no address: other servers refuse mail from users of it, such as reports of this host (%v)", name, err),
			name+". IN A ADDRESS   in the DNS")}
	}
	return nil
}

// hear has one port tell what it tells everybody.
func hear(ctx context.Context, target string) (*probe.Report, error) {
	reports, err := probe.Look(ctx, probe.Options{Targets: []string{target}, Owned: true, Timeout: 10 * time.Second, Time: 20 * time.Second})
	if err != nil {
		return nil, err
	}
	return reports[0], nil // one target with its port
}

// told is what is wrong with what a port has told; help is the file that HELP is answered from.
func told(r *probe.Report, target string, d sendmail.Daemon, help string) []configs.Finding {
	var findings []configs.Finding
	if strings.Contains(r.Error, "421 ") {
		findings = append(findings, advice.Found(configs.Note, target, "sendmail takes no more connections of this host for now, so it could not be asked: "+r.Error, ""))
	} else if r.Error != "" {
		findings = append(findings, advice.Found(configs.Warning, target, "sendmail breaks off at this port: "+r.Error, ""))
	} else if d.Demands() && len(r.Mechanisms.Clear)+len(r.Mechanisms.TLS) == 0 {
		findings = append(findings, advice.Found(configs.Severe, target, "AUTH is demanded (M=a), and none is offered: everybody reads 530 5.7.0 and nobody can send",
			"users and a certificate, or no M=a: see \"Port 25 takes mail, port 587 sends it\" in milterd-cookbook(7)"))
	}
	for _, l := range r.Leaks {
		severity, cure := configs.Note, ""
		switch {
		case l.Where == "AUTH":
			severity = configs.Warning
		case l.Where == "HELP" && help != "":
			cure = `sed -i '/^smtp.*\$v/d' ` + help
		}
		findings = append(findings, advice.Found(severity, target, l.Said(), cure))
	}
	return findings
}

// resolvConf names the servers that sendmail asks, whatever milterd's dns.servers are.
const resolvConf = "/etc/resolv.conf"

// askServers asks each resolver what no file of this host answers.
func askServers(ctx context.Context, resolvers *dns.ClientConfig) []configs.Finding {
	var findings []configs.Finding
	dead := 0
	for _, server := range resolvers.Servers {
		at := net.JoinHostPort(server, resolvers.Port)
		// Many resolvers have this answer by themselves (RFC 6303).
		if why := unanswered(ctx, at, "1.2.0.192.in-addr.arpa.", dns.TypePTR); why != "" {
			dead++
			findings = append(findings, advice.Found(configs.Warning, resolvConf, fmt.Sprintf("the resolver %s does not answer (%s): without one sendmail knows no client by name, and puts mail off", server, why),
				"nameserver ADDRESS   of a resolver that answers, or start the one at "+server))
		} else if why := unanswered(ctx, at, ".", dns.TypeSOA); why != "" {
			findings = append(findings, advice.Found(configs.Warning, resolvConf, fmt.Sprintf("the resolver %s knows nothing of the root of the DNS (%s): it reaches no other servers, unless this is a closed network", server, why), ""))
		}
	}
	if dead == len(resolvers.Servers) {
		for i := range findings {
			findings[i].Severity, findings[i].Cause = configs.Severe, true
		}
	}
	return findings
}

// unanswered is why a server has no answer to a question, empty if it has one.
func unanswered(ctx context.Context, server, name string, qtype uint16) (why string) {
	client := dns.Client{Timeout: 2 * time.Second}
	for range 2 { // a packet may get lost
		reply, _, err := client.ExchangeContext(ctx, new(dns.Msg).SetQuestion(name, qtype), server)
		switch {
		case err != nil:
			why = err.Error()
		case reply.Rcode == dns.RcodeSuccess || reply.Rcode == dns.RcodeNameError:
			return ""
		default:
			return dns.RcodeToString[reply.Rcode]
		}
	}
	return why
}

// slowAnswer is how long an answer of the resolver may take before it is told of.
const slowAnswer = time.Second

// askResolver asks for a name as milterd asks for those of clients.
func askResolver(ctx context.Context, config *configs.Config, name string) []configs.Finding {
	if !config.AsksDNS() {
		return nil
	}
	client, err := dnscheck.NewClient(config.DNS.Client)
	if err != nil {
		return []configs.Finding{advice.Found(configs.Severe, "dns.servers", err.Error(), "")}
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
	return []configs.Finding{advice.Found(configs.Warning, "dns.servers", text+": clients wait for it, and what a check does not know within dns.deadline is a temporary error",
		"dns: {servers: [127.0.0.1]}   # a resolver of your own, on this host")}
}
