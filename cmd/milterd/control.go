package main

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io"
	"net/netip"
	"strings"
	"text/tabwriter"
	"time"

	"milterd/policy"
	"milterd/policy/grant/control"
	"milterd/policy/limits"
)

// controlTimeout bounds one command to the running milterd; a list of a million
// grants takes a few seconds.
const controlTimeout = time.Minute

// grantOptions are the commands about relay grants; the zero value lists them.
type grantOptions struct {
	grant  string // an address
	revoke string // an address or a user
	user   string
}

// limitOptions are the commands about limits; the zero value lists them.
type limitOptions struct {
	block, release string // logins
	length         string // for how long, empty until it is released
}

func runGrants(o *options, stdout, _ io.Writer) (int, error) {
	c := &o.grants
	addr, err := netip.ParseAddr(strings.TrimPrefix(cmp.Or(c.grant, c.revoke), "IPv6:"))
	if err != nil && c.grant != "" {
		return exitUsage, fmt.Errorf("-grant %s: expected an IP address", c.grant)
	}
	return commandRunning(o, stdout, func(ctx context.Context, client *control.Client) (answer string, err error) {
		switch {
		case c.grant == "" && c.revoke == "":
			return "", client.WriteGrants(ctx, stdout)
		case c.grant != "":
			return client.Grant(ctx, addr, c.user)
		case addr.IsValid():
			return client.Revoke(ctx, addr)
		}
		// What is no address is a user's name.
		return client.RevokeUser(ctx, c.revoke)
	})
}

func runLimits(o *options, stdout, _ io.Writer) (int, error) {
	return commandRunning(o, stdout, func(ctx context.Context, client *control.Client) (answer string, err error) {
		switch c := &o.limits; {
		case c.block != "":
			return client.Block(ctx, c.block, c.length)
		case c.release != "":
			return client.Release(ctx, c.release)
		}
		return "", listLimits(ctx, client, stdout)
	})
}

// commandRunning has a running milterd carry out a command, by its control socket, and
// prints the answer, if there is one.
func commandRunning(o *options, stdout io.Writer, command func(context.Context, *control.Client) (string, error)) (int, error) {
	config, _, err := o.place().Load()
	if err != nil {
		return exitUsage, err
	}
	if config.Grants.Control == "" {
		return exitUsage, fmt.Errorf("%s: grants.control is empty, so the running milterd takes no commands; expected, for example, local:/run/milterd/control.sock",
			cmp.Or(config.Name(), "the built-in configuration"))
	}
	ctx, cancel := context.WithTimeout(context.Background(), controlTimeout)
	defer cancel()
	_, path, _ := strings.Cut(config.Grants.Control, ":")
	answer, err := command(ctx, control.NewClient(path))
	if err == nil && answer != "" {
		_, err = fmt.Fprintln(stdout, policy.Printable(answer))
	}
	if err != nil {
		return exitFailure, err
	}
	return exitOK, nil
}

func listLimits(ctx context.Context, client *control.Client, stdout io.Writer) error {
	all, err := client.Limits(ctx)
	if err != nil {
		return err
	}
	var table bytes.Buffer
	w := tabwriter.NewWriter(&table, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "STATE\tWHO\tLIMIT\tUSED\tREFUSED\tSINCE")
	for _, s := range all {
		if s.Note != "" {
			fmt.Fprintf(stdout, "%s\n", policy.Printable(s.Note))
			continue
		}
		if s.Near == nil {
			end := "until released"
			if left := time.Duration(s.Left) * time.Second; !limits.EndsByHand(left) {
				end = "for " + left.String()
			}
			fmt.Fprintf(w, "%s\tlogin %s\t%s\t-\t-\t-\n", limits.StateBlocked, policy.Printable(s.Blocked), end)
			continue
		}
		since := "-"
		if !s.Since.IsZero() {
			since = s.Since.Local().Format(time.DateTime)
		}
		fmt.Fprintf(w, "%s\t%s %s\t%s %s\t%d/%d\t%d\t%s\n", s.State(), policy.Printable(string(s.By)), policy.Printable(s.Key), policy.Printable(s.Limit), policy.Printable(s.Rate), s.Used, s.Of, s.Refused, since)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	_, err = table.WriteTo(stdout)
	return err
}
