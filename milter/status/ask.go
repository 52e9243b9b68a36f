package status

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	gomilter "github.com/d--j/go-milter"

	"milterd/milter"
	"milterd/milter/door"
	"milterd/milter/socketmap"
	"milterd/policy"
)

// askTimeout is how long each step of the talk with a door may take, somewhat
// less than sendmail itself is ready to wait.
const askTimeout = 5 * time.Second

// askedKey is asked of the map door. No table has it, as there is no such tag.
const askedKey = "milterd:health"

// Door is one address of a door that sendmail asks at.
type Door struct {
	// Name is Filter or Map.
	Name, Address string
	// Optional: milterd serves without this door if it cannot open it.
	Optional bool
}

// The names of the doors.
const (
	Filter = "filter"
	Map    = "map"
)

// DoorState is what came of asking at a door.
type DoorState struct {
	Door
	// Err is nil if the door answers.
	Err error
}

// Well says whether mail is served as far as this door is concerned.
func (s DoorState) Well() bool { return s.Err == nil || s.Optional }

// String is a line about the door.
func (s DoorState) String() string {
	text := s.Name + " door " + s.Address + ": "
	switch {
	case s.Err == nil:
		return text + "answers"
	case s.Optional:
		text += "shut, which does not count: listen.map has its default, and only a sendmail that includes milterd.m4 needs it: "
	}
	text += policy.Printable(s.Err.Error())
	if errors.Is(s.Err, os.ErrDeadlineExceeded) {
		// Also if the service manager holds the sockets of a milterd that is down.
		text += ": milterd is not running or hangs: systemctl status milterd"
	}
	return text
}

// Ask asks at all doors at once, as sendmail does.
func Ask(doors []Door) []DoorState {
	// What the library has to say is in its error as well.
	milter.RouteLibraryWarnings(slog.New(slog.DiscardHandler))
	states := make([]DoorState, len(doors))
	var asking sync.WaitGroup
	for i, d := range doors {
		asking.Go(func() { states[i] = DoorState{d, d.ask()} })
	}
	asking.Wait()
	return states
}

func (d Door) ask() error {
	address, err := door.ParseAddress(d.Address)
	if err != nil {
		return err
	}
	network, at := address.Dial()
	return AskAt(d.Name, network, at)
}

// AskAt asks at one address of the door Filter or Map, as net.Dial takes it.
func AskAt(name, network, address string) error {
	if name == Map {
		return askMap(network, address)
	}
	return askFilter(network, address)
}

// askFilter negotiates as sendmail does at the beginning of a connection, and
// leaves.
func askFilter(network, address string) error {
	client := gomilter.NewClient(network, address, gomilter.WithDialer(&net.Dialer{Timeout: askTimeout}),
		gomilter.WithReadTimeout(askTimeout), gomilter.WithWriteTimeout(askTimeout))
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
	conn, err := net.DialTimeout(network, address, askTimeout)
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(askTimeout)); err != nil {
		return err
	}
	request := "access " + askedKey
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
