// Package service is what milterd and its service manager, systemd, agree on: the sockets, when milterd
// is ready and alive, and the user that it runs as. Without a service manager milterd opens its sockets
// itself.
package service

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"

	"github.com/coreos/go-systemd/v22/activation"

	"milterd/configs"
	"milterd/milter/door"
)

// The names of systemd's sockets (FileDescriptorName=) for the map door and the
// status page. A socket of any other name is the filter door's.
const (
	mapSocket    = "map"
	statusSocket = "http"
)

// Sockets are the listening sockets of the doors and of the status page.
type Sockets struct {
	Filter, Map, Status []net.Listener
}

// Open opens the configured sockets. What the service manager has opened
// (systemd.socket(5)) is taken over, and then the configured addresses of that door
// do not count.
func Open(config *configs.Config, logger *slog.Logger) (*Sockets, error) {
	inherited, err := activation.ListenersWithNames()
	if err != nil {
		return nil, fmt.Errorf("take over sockets: %w", err)
	}
	s := new(Sockets)
	for name, listeners := range inherited {
		for _, ln := range listeners {
			if ln == nil {
				return nil, errors.New("take over sockets: one is not a listening stream socket")
			}
			switch name {
			case mapSocket:
				s.Map = append(s.Map, ln)
			case statusSocket:
				s.Status = append(s.Status, ln)
			default:
				s.Filter = append(s.Filter, ln)
			}
		}
	}
	listen := config.Listen
	if len(s.Filter) == 0 {
		if s.Filter, err = openAll(listen, listen.Milter); err != nil {
			return nil, errors.Join(fmt.Errorf("listen.milter: %w", err), s.Close())
		}
	}
	if len(s.Status) == 0 && listen.HTTP != "" {
		if s.Status, err = openAll(listen, []string{listen.HTTP}); err != nil {
			logger.Warn("no status page (listen.http) until milterd is restarted; mail does not depend on it", "error", err)
		}
	}
	if len(s.Map) > 0 {
		return s, nil
	}
	s.Map, err = openAll(listen, listen.Map)
	if err != nil && config.MapWanted() {
		return nil, errors.Join(fmt.Errorf("listen.map: %w", err), s.Close())
	}
	if err != nil {
		logger.Warn("the map door stays shut: a sendmail that includes milterd.m4 would put all mail off; listen.map says where it is, or that there is none (listen.map: [])", "error", err)
	}
	return s, nil
}

// openAll opens the sockets of one door, or none.
func openAll(config configs.Listen, addresses []string) ([]net.Listener, error) {
	var listeners []net.Listener
	for _, address := range addresses {
		ln, err := door.Listen(address, config.SocketMode, config.SocketGroup)
		if err != nil {
			for _, opened := range listeners {
				err = errors.Join(err, opened.Close())
			}
			return nil, err
		}
		listeners = append(listeners, ln)
	}
	return listeners, nil
}

// Close closes sockets that no server has taken.
func (s *Sockets) Close() error {
	var errs []error
	for _, ln := range slices.Concat(s.Filter, s.Map, s.Status) {
		errs = append(errs, ln.Close())
	}
	return errors.Join(errs...)
}
