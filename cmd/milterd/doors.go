package main

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"milterd/milter"
	"milterd/milter/door"
	"milterd/milter/service"
	"milterd/milter/socketmap"
	"milterd/milter/status"
)

// doors are the two servers that sendmail asks.
type doors struct {
	filter *milter.Server
	maps   *socketmap.Server
	access *socketmap.Access
	rcpt   *socketmap.Rcpt
	shut   atomic.Pointer[string] // the name of a door that is no longer served, nil while both are
}

func newDoors(r *reloader) *doors {
	limit := r.config.Listen.MaxConnections
	current := func() door.Snapshot { return *r.current.Load() }
	noted := func(line *door.Line) { r.tally.Add(time.Now(), line) }
	d := &doors{access: socketmap.NewAccess(current, r.logger), rcpt: socketmap.NewRcpt(current, r.logger)}
	d.access.Noted, d.rcpt.Noted = noted, noted
	config := milter.Config{Current: current, Logger: r.logger, Noted: noted, MaxConnections: limit}
	if r.recorder != nil {
		config.NewEvaluator, d.rcpt.NewEvaluator = r.recorder.NewSession, r.recorder.NewQuestion
	}
	d.filter = milter.NewServer(config)
	d.maps = socketmap.NewServer(socketmap.Config{
		// received is what the includes of older versions ask.
		Maps:           map[string]socketmap.Map{"milterd": d.rcpt.Lookup, "access": d.access.Lookup, "received": socketmap.Received(current)},
		Seen:           func(client netip.Addr) { current().NAT.SeenAtMap(client) },
		Logger:         r.logger,
		MaxConnections: limit,
	})
	return d
}

// serve serves all sockets with run, which starts a goroutine, and sends the error
// of a listener that fails.
func (d *doors) serve(s *service.Sockets, logger *slog.Logger, run func(func()), failures chan<- error) {
	for _, door := range []struct {
		name      string
		listeners []net.Listener
		serve     func(net.Listener) error
	}{{status.Filter, s.Filter, d.filter.Serve}, {status.Map, s.Map, d.maps.Serve}} {
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

func (d *doors) stopped(logger *slog.Logger) {
	filter, maps := d.filter.Counters(), &d.maps.Counters
	logger.Info("stopped", "connections", filter.Connections.Load(), "refused", filter.Refused.Load()+maps.Refused.Load(),
		"malformed", filter.Malformed.Load()+maps.Malformed.Load(), "panics", filter.Panics.Load()+maps.Panics.Load(),
		"map_connections", maps.Connections.Load(), "map_lookups", d.maps.Lookups.Load())
}
