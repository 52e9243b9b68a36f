package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"sync/atomic"
	"time"

	"github.com/coreos/go-systemd/v22/activation"
	"github.com/prometheus/client_golang/prometheus"

	"milterd/configs"
	"milterd/milter"
	"milterd/milter/door"
	"milterd/milter/socketmap"
	"milterd/milter/status"
	"milterd/policy/replay/record"
)

// The names of systemd's sockets (FileDescriptorName=) for the map door and the
// status page. A socket of any other name is the filter door's.
const (
	mapSocket    = "map"
	statusSocket = "http"
)

// sockets are the listening sockets of the doors and of the status page.
type sockets struct {
	filter, maps, status []net.Listener
}

// openSockets opens the configured sockets. What the service manager has opened
// (systemd.socket(5)) is taken over, and then the configured addresses of that door
// do not count.
func openSockets(config *configs.Config, logger *slog.Logger) (*sockets, error) {
	inherited, err := activation.ListenersWithNames()
	if err != nil {
		return nil, fmt.Errorf("take over sockets: %w", err)
	}
	s := new(sockets)
	for name, listeners := range inherited {
		for _, ln := range listeners {
			if ln == nil {
				return nil, errors.New("take over sockets: one is not a listening stream socket")
			}
			switch name {
			case mapSocket:
				s.maps = append(s.maps, ln)
			case statusSocket:
				s.status = append(s.status, ln)
			default:
				s.filter = append(s.filter, ln)
			}
		}
	}
	listen := config.Listen
	if len(s.filter) == 0 {
		if s.filter, err = open(listen, listen.Milter); err != nil {
			return nil, errors.Join(fmt.Errorf("listen.milter: %w", err), s.close())
		}
	}
	if len(s.status) == 0 && listen.HTTP != "" {
		if s.status, err = open(listen, []string{listen.HTTP}); err != nil {
			logger.Warn("no status page (listen.http) until milterd is restarted; mail does not depend on it", "error", err)
		}
	}
	if len(s.maps) > 0 {
		return s, nil
	}
	s.maps, err = open(listen, listen.Map)
	if err != nil && config.MapWanted() {
		return nil, errors.Join(fmt.Errorf("listen.map: %w", err), s.close())
	}
	if err != nil {
		logger.Warn("the map door stays shut: a sendmail that includes milterd.m4 would put all mail off; listen.map says where it is, or that there is none (listen.map: [])", "error", err)
	}
	return s, nil
}

// open opens the sockets of one door, or none.
func open(config configs.Listen, addresses []string) ([]net.Listener, error) {
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

// close closes sockets that no server has taken.
func (s *sockets) close() error {
	var errs []error
	for _, ln := range slices.Concat(s.filter, s.maps, s.status) {
		errs = append(errs, ln.Close())
	}
	return errors.Join(errs...)
}

// doors are the two servers that sendmail asks.
type doors struct {
	filter *milter.Server
	maps   *socketmap.Server
	access *socketmap.Access
	rcpt   *socketmap.Rcpt
	// shut is the name of a door that is no longer served, nil while both are.
	shut atomic.Pointer[string]
}

func newDoors(r *reloader, recorder *record.Recorder) *doors {
	limit := r.config.Listen.MaxConnections
	current := func() door.Snapshot { return *r.current.Load() }
	noted := func(line *door.Line) { r.tally.Add(time.Now(), line) }
	d := &doors{access: socketmap.NewAccess(current, r.logger), rcpt: socketmap.NewRcpt(current, r.logger)}
	d.access.Noted, d.rcpt.Noted = noted, noted
	config := milter.Config{
		Current:        current,
		Logger:         r.logger,
		Noted:          noted,
		MaxConnections: limit,
	}
	if recorder != nil {
		config.NewEvaluator, d.rcpt.NewEvaluator = recorder.NewSession, recorder.NewQuestion
	}
	d.filter = milter.NewServer(config)
	d.maps = socketmap.NewServer(socketmap.Config{
		// received is what the includes of older versions ask.
		Maps:           map[string]socketmap.Map{"milterd": d.rcpt, "access": d.access, "received": socketmap.NewReceived(current)},
		Seen:           func(client netip.Addr) { current().NAT.SeenAtMap(client) },
		Logger:         r.logger,
		MaxConnections: limit,
	})
	return d
}

// serve serves all sockets with run, which starts a goroutine, and sends the error
// of a listener that fails.
func (d *doors) serve(s *sockets, logger *slog.Logger, run func(func()), failures chan<- error) {
	for _, door := range []struct {
		name      string
		listeners []net.Listener
		serve     func(net.Listener) error
	}{{status.Filter, s.filter, d.filter.Serve}, {status.Map, s.maps, d.maps.Serve}} {
		for _, ln := range door.listeners {
			logger.Info("listening", "door", door.name, "address", ln.Addr().Network()+":"+ln.Addr().String())
			run(func() {
				err := door.serve(ln)
				d.shut.Store(&door.name)
				if err != nil {
					failures <- err
				}
			})
		}
	}
}

// problem is why mail is not decided, in one line; empty while it is.
func (d *doors) problem() string {
	if name := d.shut.Load(); name != nil {
		return "the " + *name + " door is shut"
	}
	return ""
}

// register has a registry read what the doors count.
func (d *doors) register(r prometheus.Registerer) {
	d.filter.Register(r)
	d.maps.Register(r)
	d.access.Register(r)
	d.rcpt.Register(r)
}

// shutdown closes the filter door when its messages are done, and only then the map
// door: sendmail asks about a message in progress at both.
func (d *doors) shutdown(ctx context.Context) error {
	err := d.filter.Shutdown(ctx)
	// The map door needs little time, and gets it in any case.
	rest, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	return errors.Join(err, d.maps.Shutdown(rest))
}

// stopped logs what the doors have done.
func (d *doors) stopped(logger *slog.Logger) {
	filter, maps := d.filter.Stats(), d.maps.Stats()
	lookups := uint64(0)
	for _, n := range maps.Lookups {
		lookups += n
	}
	logger.Info("stopped", "connections", filter.Connections, "refused", filter.Refused+maps.Refused,
		"malformed", filter.Malformed+maps.Malformed, "panics", filter.Panics+maps.Panics,
		"map_connections", maps.Connections, "map_lookups", lookups)
}
