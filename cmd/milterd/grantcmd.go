package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strings"
	"time"

	"milterd/milter/door"
	"milterd/policy"
	"milterd/policy/grant/control"
)

// controlTimeout bounds one command to the running milterd; a list of a million
// grants takes a few seconds.
const controlTimeout = time.Minute

// grantOptions are the commands about relay grants; the zero value lists them.
type grantOptions struct {
	// grant is the address to grant, revoke what to revoke: an address or a user.
	grant, revoke string
	user          string
}

// runGrants tells the running milterd to grant, to revoke or to list.
func runGrants(o *options, stdout, stderr io.Writer) int {
	return commandRunning(o, stderr, func(ctx context.Context, client *control.Client) error {
		return doGrants(ctx, client, o.grants, stdout)
	})
}

// commandRunning has a running milterd carry out a command, by its control socket.
func commandRunning(o *options, stderr io.Writer, command func(context.Context, *control.Client) error) int {
	config, _, err := o.place().Load()
	if err != nil {
		return complain(stderr, err)
	}
	if config.Grants.Control == "" {
		name := config.Name()
		if name == "" {
			name = "the built-in configuration"
		}
		return complain(stderr, fmt.Errorf("%s: grants.control is empty, so the running milterd takes no commands; expected, for example, local:/run/milterd/control.sock", name))
	}
	ctx, cancel := context.WithTimeout(context.Background(), controlTimeout)
	defer cancel()
	socket, err := door.ParseAddress(config.Grants.Control)
	if err != nil {
		return complain(stderr, fmt.Errorf("grants.control: %w", err))
	}
	_, path := socket.Dial()
	if err := command(ctx, control.NewClient(path)); err != nil {
		fmt.Fprintf(stderr, "milterd: %s\n", policy.Printable(err.Error()))
		if errors.As(err, new(usageError)) {
			return exitUsage
		}
		return exitFailure
	}
	return exitOK
}

// usageError is a command line that cannot be carried out.
type usageError struct{ error }

func doGrants(ctx context.Context, client *control.Client, o grantOptions, stdout io.Writer) error {
	addr, user, err := o.subject()
	if err != nil {
		return usageError{err}
	}
	var answer string
	switch {
	case o.grant == "" && o.revoke == "":
		return client.WriteGrants(ctx, stdout)
	case o.grant != "":
		answer, err = client.Grant(ctx, addr, user)
	case addr.IsValid():
		answer, err = client.Revoke(ctx, addr)
	default:
		answer, err = client.RevokeUser(ctx, user)
	}
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(stdout, policy.Printable(answer))
	return err
}

// subject is whom a command is about. What is no address is a user's name to -revoke.
func (o grantOptions) subject() (addr netip.Addr, user string, err error) {
	text := cmp.Or(o.grant, o.revoke)
	if text == "" {
		return netip.Addr{}, "", nil
	}
	addr, err = netip.ParseAddr(strings.TrimPrefix(text, "IPv6:"))
	switch {
	case err == nil:
		return addr, o.user, nil
	case o.grant != "":
		return netip.Addr{}, "", fmt.Errorf("-grant %s: expected an IP address", o.grant)
	}
	return netip.Addr{}, text, nil
}
