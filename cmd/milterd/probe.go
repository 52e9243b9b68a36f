package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"

	"milterd/integration/probe"
)

// probeOptions are those of -probe.
type probeOptions struct {
	probe.Options
	passwordFile, judge string
	json, explain       bool
}

func probeFlags(o *options, f *flag.FlagSet) {
	p := &o.probe
	textFlag(f, &p.User, "user", "the `NAME` of a user to log in as; the password is asked for at the terminal, or see -password-file")
	textFlag(f, &p.passwordFile, "password-file", "the `FILE` whose first line is the password, - for standard input")
	f.BoolVar(&p.AnyCertificate, "any-certificate", false, "log in also where the certificate is not for the server's name")
	textFlag(f, &p.Sender, "from", "the `ADDRESS` of a stranger as sender (default the null sender)")
	textFlag(f, &p.Victim, "to", "the foreign `ADDRESS` that must not be accepted")
	textFlag(f, &p.Domain, "domain", "a `DOMAIN` of the server (default the name it greets with); with -judge, the server's name")
	textFlag(f, &p.Send, "send", "a `MAILBOX` of yours that gets one message")
	textFlag(f, &p.judge, "judge", "the `FILE` of a message that has passed the server, in place of probing")
	f.BoolVar(&p.json, "json", false, "print the reports as JSON")
	f.BoolVar(&p.explain, "explain", false, "print all forms, those refused as well")
	f.BoolVar(&p.Owned, "i-own-this-server", false, "probe addresses that are neither local nor private")
}

// finishProbe takes the servers, which stand before flags, between and behind them.
func finishProbe(o *options, f *flag.FlagSet) error {
	p := &o.probe
	for f.NArg() > 0 {
		p.Targets = append(p.Targets, f.Arg(0))
		if err := f.Parse(f.Args()[1:]); err != nil {
			return err
		}
	}
	switch {
	case len(p.Targets) == 0 && p.judge == "":
		return errors.New("-probe: expected HOST or HOST:PORT")
	case p.User == "" && p.passwordFile != "":
		return errors.New("-password-file needs -user")
	case p.Sender != "" && !strings.Contains(p.Sender, "@"):
		return fmt.Errorf("-from %s: expected an address", p.Sender)
	}
	for _, text := range []string{p.Sender, p.Victim, p.Send, p.Domain} {
		if strings.ContainsAny(text, "<> \t\r\n") {
			return fmt.Errorf("-probe: %q, expected an address or a domain, without blanks and brackets", text)
		}
	}
	return nil
}

// The exit statuses of -probe.
const (
	exitRelays  = 1
	exitUnknown = 2
)

// runProbe asks servers from outside whether they relay.
func runProbe(o *options, stdout, stderr io.Writer) (code int, err error) {
	p := &o.probe
	switch {
	case p.judge != "":
		return runJudge(p, stdout)
	case p.passwordFile != "":
		p.Password, err = probe.ReadPassword(p.passwordFile)
	case p.User != "":
		p.Password, err = probe.AskPassword(os.Stdin, stderr, p.User)
	}
	if err != nil {
		return exitUnknown, err
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	reports, err := probe.Run(ctx, p.Options)
	if err == nil {
		err = probe.Write(stdout, reports, p.json, p.explain)
	}
	if err != nil {
		return exitUnknown, err
	}
	return probe.Status(reports), nil
}

// runJudge looks at the header of a message that has passed the server.
func runJudge(p *probeOptions, stdout io.Writer) (int, error) {
	message, err := os.Open(p.judge)
	if err != nil {
		return exitUnknown, fmt.Errorf("%s: %w", p.judge, err)
	}
	defer message.Close()
	leaks, err := probe.Judge(message, p.Domain)
	if err == nil && p.json {
		err = json.NewEncoder(stdout).Encode(leaks)
	}
	if err != nil {
		return exitUnknown, fmt.Errorf("%s: %w", p.judge, err)
	}
	if !p.json {
		for _, l := range leaks {
			fmt.Fprintf(stdout, "tells: %s %s: %s\n", l.Where, l.What, l.Text)
		}
		fmt.Fprintf(stdout, "the header tells %d things about the client and the servers it has passed\n", len(leaks))
	}
	if len(leaks) > 0 {
		return exitRelays, nil
	}
	return exitOK, nil
}
