package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"milterd/policy"
	"milterd/policy/grant/control"
	"milterd/policy/limits"
)

// limitOptions are the commands about limits; the zero value lists them.
type limitOptions struct {
	// block and release are logins; length is for how long, empty until it is released.
	block, release, length string
}

// runLimits tells the running milterd to block, to release or to list.
func runLimits(o *options, stdout, stderr io.Writer) int {
	return commandRunning(o, stderr, func(ctx context.Context, client *control.Client) error {
		if o.limits.block == "" && o.limits.release == "" {
			return listLimits(ctx, client, stdout)
		}
		var answer string
		var err error
		if o.limits.block != "" {
			answer, err = client.Block(ctx, o.limits.block, o.limits.length)
		} else {
			answer, err = client.Release(ctx, o.limits.release)
		}
		if err != nil {
			return err
		}
		_, err = fmt.Fprintln(stdout, policy.Printable(answer))
		return err
	})
}

// listLimits prints who is blocked, over a limit or near one.
func listLimits(ctx context.Context, client *control.Client, stdout io.Writer) error {
	all, err := client.Limits(ctx)
	if err != nil {
		return err
	}
	var table bytes.Buffer
	w := tabwriter.NewWriter(&table, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "STATE\tWHO\tLIMIT\tUSED\tREFUSED\tSINCE")
	for _, s := range all {
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
		fmt.Fprintf(w, "%s\t%s %s\t%s %s\t%d/%d\t%d\t%s\n", s.State(), s.By, policy.Printable(s.Key), s.Limit, s.Rate, s.Used, s.Of, s.Refused, since)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	_, err = table.WriteTo(stdout)
	return err
}
