package main

import (
	"bufio"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strconv"
	"strings"
	"sync"
	"time"

	gomilter "github.com/d--j/go-milter"

	"milterd/configs"
	"milterd/milter"
	"milterd/milter/door"
	"milterd/milter/socketmap"
	"milterd/policy"
)

// healthTimeout is how long each step of the talk with a door may take, somewhat
// less than sendmail itself is ready to wait.
const healthTimeout = 5 * time.Second

// healthKey is asked of the map door. No table has it, as there is no such tag.
const healthKey = "milterd:health"

// runHealth asks the running milterd at each of its doors, as sendmail does, and
// prints a line for each. Its exit status is the answer, for a container's health
// check: a configuration that cannot be read is a failure like any other.
func runHealth(o options, stdout, stderr io.Writer) int {
	config, _, err := place{flag: o.config, fallback: defaultConfig}.load()
	if err != nil {
		complain(stderr, err)
		return exitFailure
	}
	// What the library has to say is in its error as well.
	milter.RouteLibraryWarnings(slog.New(slog.DiscardHandler))
	status := exitOK
	for _, d := range askDoors(config) {
		if _, err := fmt.Fprintf(stdout, "%s door %s: %s\n", d.name, d.address, d.result()); err != nil {
			fmt.Fprintf(stderr, "milterd: write results: %v\n", err)
			return exitFailure
		}
		if d.err != nil && !d.optional {
			status = exitFailure
		}
	}
	return status
}

// askedDoor is one address of a door, and what came of asking there.
type askedDoor struct {
	name, address string
	ask           func(network, address string) error
	// optional: milterd serves without this door if it cannot open it.
	optional bool
	err      error
}

func (d *askedDoor) result() string {
	switch {
	case d.err == nil:
		return "answers"
	case d.optional:
		return "shut, which does not count: listen.map has its default, and only a sendmail that includes milterd.m4 needs it: " + policy.Printable(d.err.Error())
	}
	return policy.Printable(d.err.Error())
}

// askDoors asks at all addresses at once.
func askDoors(config *configs.Config) []*askedDoor {
	var all []*askedDoor
	for _, address := range config.Listen.Milter {
		all = append(all, &askedDoor{name: filterDoor, address: address, ask: askFilter})
	}
	for _, address := range config.Listen.Map {
		all = append(all, &askedDoor{name: mapDoor, address: address, ask: askMap, optional: !config.MapWanted()})
	}
	var asking sync.WaitGroup
	for _, d := range all {
		asking.Go(func() {
			address, err := door.ParseAddress(d.address)
			if err == nil {
				err = d.ask(address.Dial())
			}
			d.err = err
		})
	}
	asking.Wait()
	return all
}

// askFilter negotiates as sendmail does at the beginning of a connection, and
// leaves.
func askFilter(network, address string) error {
	client := gomilter.NewClient(network, address, gomilter.WithDialer(&net.Dialer{Timeout: healthTimeout}),
		gomilter.WithReadTimeout(healthTimeout), gomilter.WithWriteTimeout(healthTimeout))
	session, err := client.Session(nil)
	if err != nil {
		return err
	}
	// The answer is there; how the goodbye goes is of no interest.
	_ = session.Close()
	return nil
}

// askMap asks for a key that there is not.
func askMap(network, address string) error {
	conn, err := net.DialTimeout(network, address, healthTimeout)
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(healthTimeout)); err != nil {
		return err
	}
	request := "access " + healthKey
	if _, err := fmt.Fprintf(conn, "%d:%s,", len(request), request); err != nil {
		return fmt.Errorf("ask the map access: %w", err)
	}
	status, text, err := readAnswer(conn)
	switch {
	case err != nil:
		return fmt.Errorf("read the answer of the map access: %w", err)
	case status != socketmap.OK && status != socketmap.NotFound:
		return fmt.Errorf("the map access answers %s %s", status, text)
	}
	return nil
}

// maxAnswer bounds an answer of the map door, with room to spare.
const maxAnswer = 16 << 10

// readAnswer reads one netstring and cuts the status off.
func readAnswer(from io.Reader) (status socketmap.Status, text string, err error) {
	in := bufio.NewReader(io.LimitReader(from, maxAnswer))
	length, err := in.ReadString(':')
	if err != nil {
		return "", "", err
	}
	n, err := strconv.ParseUint(strings.TrimSuffix(length, ":"), 10, 16)
	if err != nil {
		return "", "", fmt.Errorf("%q is not the length of a netstring", length)
	}
	body := make([]byte, n+1)
	if _, err := io.ReadFull(in, body); err != nil {
		return "", "", err
	}
	if body[n] != ',' {
		return "", "", fmt.Errorf("a netstring of %d octets without its comma", n)
	}
	word, text, _ := strings.Cut(string(body[:n]), " ")
	return socketmap.Status(word), text, nil
}
