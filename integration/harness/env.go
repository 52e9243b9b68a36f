package harness

import (
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"

	"milterd/integration/testkit/dnstest"
)

const (
	// ConfigDir is where Options.Config and Options.Files go.
	ConfigDir = "/etc/milterd"
	// ConfigFile is the configuration that milterd is started with.
	ConfigFile = ConfigDir + "/milterd.yaml"
	// Socket is where the stock set-up meets milterd.
	Socket = "/run/milterd/milter.sock"
	// TappedSocket is where milterd listens when Options.Tap is in between.
	TappedSocket = "/run/milterd/tapped.sock"
)

// Options describe the server to be. The zero value is the stock sendmail with
// milterd on its embedded configuration, in a world without DNS records.
type Options struct {
	// MC are lines for the end of sendmail.mc, after FilterLines and AuthLines.
	MC string
	// Include are lines in place of FEATURE(`access_db') and FilterLines, such as
	// an include of /etc/mail/m4/milterd.m4, which gives both.
	Include string
	// Access is sendmail's own access table, /etc/mail/access. With Include it is
	// usually milterd's that is asked.
	Access string
	// LocalHostNames and RelayDomains are sendmail's files of these names.
	LocalHostNames, RelayDomains string
	// Mailboxes are users of the host, who may get mail. postmaster and abuse
	// are always there.
	Mailboxes []string
	// TrustAuthMech are the mechanisms of TRUST_AUTH_MECH, if not all of AuthLines.
	TrustAuthMech string
	// Users are the SASL users: name to password.
	Users map[string]string
	// DNS are the records and faults that the resolver will find. What they do
	// not mention does not exist.
	DNS []string
	// Config is the text of milterd's configuration.
	Config string
	// Files are further files for ConfigDir, by name.
	Files map[string]string
	// Tap, if set, is started between sendmail and milterd: it has to listen
	// on Socket before it returns, and Config has to make milterd listen on
	// TappedSocket.
	Tap func() (stop func() error, err error)
}

// Env is a running server: sendmail, milterd and the DNS they see. One runs at
// a time, since they share the world's files and ports.
type Env struct {
	// DNS is the server that sendmail asks.
	DNS *dnstest.Server
	// Milterd is the daemon.
	Milterd *Milterd
	// Syslog has sendmail's log.
	Syslog *Log

	world    *World
	sendmail *process
	closers  []func() error // run in reverse order
}

// Start configures and starts a server, and waits until it is ready.
func (w *World) Start(o Options) (*Env, error) {
	if w.Missing != nil {
		return nil, w.Missing
	}
	e := &Env{world: w, Syslog: new(Log)}
	w.mu.Lock()
	busy := w.active != nil
	if !busy {
		w.active = e
	}
	w.mu.Unlock()
	if busy {
		return nil, errors.New("start server: one is running already")
	}
	if err := e.start(o); err != nil {
		return nil, errors.Join(fmt.Errorf("start server: %w", err), e.Close())
	}
	return e, nil
}

func (e *Env) start(o Options) error {
	if err := emptyQueue(); err != nil {
		return err
	}
	if err := e.startSyslog(); err != nil {
		return err
	}
	server, err := dnstest.Start(dnstest.Options{Addr: "127.0.0.1:53", Lines: append(worldDNS(), o.DNS...)})
	if err != nil {
		return err
	}
	e.DNS = server
	e.closers = append(e.closers, server.Close)
	if err := configureSendmail(o); err != nil {
		return err
	}
	if err := e.startFilter(o); err != nil {
		return err
	}
	e.sendmail, err = startSendmail(e.Syslog)
	if err != nil {
		return err
	}
	e.closers = append(e.closers, func() error { return e.sendmail.stop(syscall.SIGTERM) })
	return nil
}

// startFilter starts milterd, and the tap between it and sendmail.
func (e *Env) startFilter(o Options) error {
	for name, text := range o.Files {
		if err := e.WriteFile(name, text); err != nil {
			return err
		}
	}
	if err := e.WriteFile("milterd.yaml", o.Config); err != nil {
		return err
	}
	e.Milterd = &Milterd{binary: e.world.Binary, config: ConfigFile, socket: Socket, Log: new(Log)}
	if o.Tap != nil {
		e.Milterd.socket = TappedSocket
	}
	if err := e.Milterd.Start(); err != nil {
		return err
	}
	e.closers = append(e.closers, e.Milterd.Stop)
	if o.Tap == nil {
		return nil
	}
	stop, err := o.Tap()
	if err == nil {
		e.closers = append(e.closers, stop)
	}
	return err
}

// worldDNS are the names of the server itself.
func worldDNS() []string {
	return []string{
		Hostname + ". A " + ServerAddr4,
		Hostname + ". AAAA " + ServerAddr6,
		reverseName(ServerAddr4) + " PTR " + Hostname + ".",
		reverseName(ServerAddr6) + " PTR " + Hostname + ".",
	}
}

// startSyslog listens where sendmail sends its log.
func (e *Env) startSyslog() error {
	const path = "/dev/log"
	if err := os.Remove(path); err != nil && !os.IsNotExist(err) {
		return err
	}
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		return err
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		buffer := make([]byte, 64<<10)
		for {
			n, err := conn.Read(buffer)
			if err != nil {
				return
			}
			e.Syslog.add(string(buffer[:n]))
		}
	}()
	e.closers = append(e.closers, func() error {
		err := conn.Close()
		<-done
		return err
	})
	return nil
}

// WriteFile replaces a file in ConfigDir the way an editor does: a new file is
// renamed over the old one.
func (e *Env) WriteFile(name, text string) error {
	path := ConfigDir + "/" + name
	if err := replaceFile(path+".new", text, 0o644); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

// Queue reads the messages that sendmail has taken.
func (e *Env) Queue() ([]QueueFile, error) { return readQueue() }

// Traffic is sendmail's own record of the SMTP dialogues (sendmail -X).
func (e *Env) Traffic() (string, error) {
	text, err := os.ReadFile(trafficLog)
	return string(text), err
}

// Close stops everything in reverse order.
func (e *Env) Close() error {
	var errs []error
	for i := len(e.closers) - 1; i >= 0; i-- {
		errs = append(errs, e.closers[i]())
	}
	e.closers = nil
	if err := os.Remove(trafficLog); err != nil && !os.IsNotExist(err) {
		errs = append(errs, err)
	}
	e.world.mu.Lock()
	defer e.world.mu.Unlock()
	if e.world.active == e {
		e.world.active = nil
	}
	return errors.Join(errs...)
}
