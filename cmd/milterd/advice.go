package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"milterd/configs"
	"milterd/configs/advice"
	"milterd/configs/sendmail"
	"milterd/integration/probe"
	"milterd/milter/service"
	"milterd/milter/status"
)

// defaultCF is where a server's sendmail.cf is.
const defaultCF = "/etc/mail/sendmail.cf"

// adviceOptions are those of -doctor, -mc and -import.
type adviceOptions struct {
	cf            string
	offline, json bool
	both          bool
	system        string
}

func cfFlag(o *options, f *flag.FlagSet) {
	textFlag(f, &o.advice.cf, "cf", "the `FILE` of sendmail's configuration (default "+defaultCF+")")
}

func doctorFlags(o *options, f *flag.FlagSet) {
	cfFlag(o, f)
	f.BoolVar(&o.advice.offline, "offline", false, "neither connect to the mail ports of this host nor ask the DNS")
	f.BoolVar(&o.advice.json, "json", false, "print the findings as JSON")
}

func mcFlags(o *options, f *flag.FlagSet) {
	cfFlag(o, f)
	names := strings.Join(slices.Sorted(maps.Keys(advice.Systems)), ", ")
	f.BoolVar(&o.advice.both, "both", false, "for both doors, not for the filter alone")
	o.advice.system = "debian"
	f.Func("system", "`NAME` of the operating system, one of "+names+" (default debian)", func(s string) error {
		if _, known := advice.Systems[s]; !known {
			return fmt.Errorf("expected one of %s", names)
		}
		o.advice.system = s
		return nil
	})
}

func runMC(o *options, stdout, stderr io.Writer) int {
	config, _, err := o.place().Load()
	if err != nil {
		return complain(stderr, err)
	}
	cf, err := serverCF(cmp.Or(o.advice.cf, config.SendmailCF(), defaultCF))
	if err != nil && o.advice.cf != "" {
		return complain(stderr, err)
	}
	return written(stderr, stdout, advice.MC(config, cf, o.advice.both, advice.Systems[o.advice.system]))
}

func runImport(o *options, stdout, stderr io.Writer) int {
	path, err := filepath.Abs(cmp.Or(o.advice.cf, defaultCF))
	if err != nil {
		return complain(stderr, err)
	}
	cf, err := serverCF(path)
	if err != nil {
		return complain(stderr, err)
	}
	return written(stderr, stdout, advice.Import(cf, path))
}

// serverCF reads the sendmail.cf of a server.
func serverCF(path string) (*sendmail.Config, error) {
	cf, err := configs.ReadSendmailCF(path)
	if err == nil && cf.Submission {
		return nil, errors.New(path + " is the file of a submission program, expected that of a server: -cf " + defaultCF)
	}
	return cf, err
}

// written writes a result to its end.
func written(stderr, stdout io.Writer, text string) int {
	if _, err := io.WriteString(stdout, text); err != nil {
		fmt.Fprintf(stderr, "milterd: write results: %v\n", err)
		return exitFailure
	}
	return exitOK
}

// The exit statuses of -doctor.
const (
	exitWarnings = 1
	exitErrors   = 2
)

// runDoctor looks at sendmail and milterd together.
func runDoctor(o *options, stdout, stderr io.Writer) int {
	config, missing, err := o.place().Load()
	if err != nil {
		return complain(stderr, err)
	}
	e := advice.Examined{Config: config, CF: cmp.Or(o.advice.cf, config.SendmailCF(), defaultCF), Now: time.Now(), BothDoors: advice.BothDoorsHere()}
	if missing != "" {
		e.Live = append(e.Live, found(configs.Warning, o.place().File(), missing))
	}
	if text, err := os.ReadFile("/etc/resolv.conf"); err == nil {
		e.Resolver = string(text)
	}
	for _, path := range []string{"/etc/sasl2/Sendmail.conf", "/etc/mail/sasl/Sendmail.conf.2", "/usr/local/lib/sasl2/Sendmail.conf", "/usr/lib/sasl2/Sendmail.conf"} {
		if text, err := os.ReadFile(path); err == nil {
			e.SASL = string(text)
			break
		}
	}
	for _, answer := range askDoors(config) {
		if !answer.Well() {
			f := found(configs.Severe, answer.Address, answer.String()+": mail is put off, or passes unfiltered")
			f.Cure = "systemctl start milterd   and if it does not stay up: journalctl -u milterd"
			e.Live = append(e.Live, f)
		}
	}
	e.Live = append(e.Live, unreadable(o)...)
	e.Live = append(e.Live, bypassed(config)...)
	if !o.advice.offline {
		e.Live = append(e.Live, listen(config, e.CF)...)
	}
	findings := advice.Doctor(e)
	if err := printFindings(stdout, findings, o.advice.json); err != nil {
		fmt.Fprintf(stderr, "milterd: write results: %v\n", err)
		return exitErrors
	}
	return gravity(findings)
}

// unreadable is what the user that milterd runs as cannot read or write, as -check finds
// it.
func unreadable(o *options) []configs.Finding {
	var text strings.Builder
	status, done := checkAsUser(&options{config: o.config}, io.Discard, &text)
	if !done || status == exitOK {
		return nil
	}
	var findings []configs.Finding
	for line := range strings.Lines(text.String()) {
		line = strings.TrimPrefix(strings.TrimSpace(line), "milterd: ")
		if line != "" && !strings.HasPrefix(line, "warning: ") && !strings.HasPrefix(line, "checked as the user ") {
			findings = append(findings, found(configs.Severe, "user "+service.User, line))
		}
	}
	return findings
}

var bypassedList = regexp.MustCompile(`(?m)^milterd_dns_list_bypassed\{for="([^"]*)",list="([^"]*)"\} 1$`)

// bypassed asks the status page, if there is one, for the DNS lists that do not work.
func bypassed(config *configs.Config) []configs.Finding {
	if config.Listen.HTTP == "" {
		return nil
	}
	page, err := status.Get(config.Listen.HTTP, "/metrics", "")
	if err != nil {
		f := found(configs.Warning, config.Listen.HTTP, "the status page does not answer: "+err.Error())
		f.Cure = "systemctl restart milterd   by which listen.http takes effect"
		return []configs.Finding{f}
	}
	var findings []configs.Finding
	for _, m := range bypassedList.FindAllSubmatch(page, -1) {
		findings = append(findings, found(configs.Warning, "checks.dnsbl.lists", fmt.Sprintf("%s does not work for %s, so it is left out there: it is dead, lists everything, or does not answer this resolver; the log has the reason, and a list that has no such addresses should say so (families)", m[2], m[1])))
	}
	return findings
}

// gravity is the exit status of the worst finding.
func gravity(findings []configs.Finding) int {
	code := exitOK
	for _, f := range findings {
		switch f.Severity {
		case configs.Severe:
			code = exitErrors
		case configs.Warning:
			code = max(code, exitWarnings)
		}
	}
	return code
}

func found(severity configs.Severity, where, text string) configs.Finding {
	return configs.Finding{Problem: configs.Problem{File: where, Text: text}, Severity: severity}
}

// printFindings prints findings, each with what cures it.
func printFindings(w io.Writer, findings []configs.Finding, asJSON bool) error {
	if asJSON {
		type line struct {
			Severity configs.Severity `json:"severity"`
			File     string           `json:"file"`
			Line     int              `json:"line,omitempty"`
			Text     string           `json:"text"`
			Cure     string           `json:"cure,omitempty"`
		}
		lines := make([]line, 0, len(findings))
		for _, f := range findings {
			lines = append(lines, line{f.Severity, f.File, f.Line, f.Text, f.Cure})
		}
		out := json.NewEncoder(w)
		out.SetEscapeHTML(false)
		out.SetIndent("", "  ")
		return out.Encode(lines)
	}
	var b strings.Builder
	counts := make(map[configs.Severity]int)
	for _, f := range findings {
		counts[f.Severity]++
		fmt.Fprintf(&b, "%s: %s\n", f.Severity, f)
		if f.Cure != "" {
			fmt.Fprintf(&b, "    change: %s\n", f.Cure)
		}
	}
	fmt.Fprintf(&b, "%d errors, %d warnings, %d notes\n", counts[configs.Severe], counts[configs.Warning], counts[configs.Note])
	_, err := io.WriteString(w, b.String())
	return err
}

// listen hears what the mail ports of this host tell, and asks for its name.
func listen(config *configs.Config, path string) []configs.Finding {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	cf, err := configs.ReadSendmailCF(path)
	if err != nil {
		return nil // the doctor says so
	}
	findings := askResolver(ctx, config, cf.Hostname)
	findings = append(findings, hostName(ctx, path, cf.Hostname)...)
	return append(findings, listenToAll(ctx, cf)...)
}

// listenToAll hears what the ports of a sendmail.cf tell.
func listenToAll(ctx context.Context, cf *sendmail.Config) []configs.Finding {
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
			return append(findings, found(configs.Warning, target, err.Error()))
		}
		if report.Error != "" && !strings.HasPrefix(report.Error, "the greeting is ") && report.Greeting == "" {
			f := found(configs.Warning, target, "sendmail does not answer at this port: "+report.Error+"; it is not running, or the load average is over RefuseLA (confREFUSE_LA)")
			f.Cure = "systemctl restart sendmail   which has not read this sendmail.cf, or is not running; see its log and systemctl status sendmail"
			silent = append(silent, f)
			continue
		}
		findings = append(findings, told(report, target, d)...)
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
	_, err := net.DefaultResolver.LookupHost(ctx, name)
	if full && err == nil {
		return nil
	}
	f := found(configs.Warning, path, fmt.Sprintf("the host name %s has no address: other servers refuse mail from users of it, such as reports of this host (%v)", name, err))
	f.Cure = name + ". IN A ADDRESS   in the DNS"
	if !full {
		f.Text = fmt.Sprintf("the host name %s is not a full one, with a domain: sendmail calls itself so, and may wait a minute for a better one at each start", name)
		f.Cure = "127.0.1.1 " + name + ".YOUR.DOMAIN " + short + "   in /etc/hosts, in place of other lines with this name"
	}
	return []configs.Finding{f}
}

// hear has one port tell what it tells everybody.
func hear(ctx context.Context, target string) (*probe.Report, error) {
	reports, err := probe.Look(ctx, probe.Options{Targets: []string{target}, Owned: true, Timeout: 10 * time.Second, Time: 20 * time.Second})
	if err != nil {
		return nil, err
	}
	return reports[0], nil // one target with its port
}

// told is what is wrong with what a port has told.
func told(r *probe.Report, target string, d sendmail.Daemon) []configs.Finding {
	var findings []configs.Finding
	if r.Error != "" {
		findings = append(findings, found(configs.Warning, target, "sendmail breaks off at this port: "+r.Error))
	} else if d.Demands() && len(r.Mechanisms.Clear)+len(r.Mechanisms.TLS) == 0 {
		f := found(configs.Severe, target, "AUTH is demanded (M=a), and none is offered: everybody reads 530 5.7.0 and nobody can send")
		f.Cure = "users and a certificate, or no M=a: see \"Port 25 takes mail, port 587 sends it\" in milterd-cookbook(7)"
		findings = append(findings, f)
	}
	for _, l := range r.Leaks {
		severity := configs.Note
		if l.Where == "AUTH" {
			severity = configs.Warning
		}
		text := l.Where + ": " + l.What
		if l.Text != "" {
			text += ": " + l.Text
		}
		findings = append(findings, found(severity, target, text))
	}
	return findings
}
