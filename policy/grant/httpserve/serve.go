// Package httpserve runs the HTTP servers of this machine's own programs: Dovecot's
// policy server and the control socket.
package httpserve

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"golang.org/x/net/netutil"
)

// shutdownTimeout is how long requests under way have at the end.
const shutdownTimeout = 5 * time.Second

// Serve answers on a listener until ctx ends, then lets requests under way finish, and
// closes it. It returns nil if that was why it ended. Connections beyond max wait.
func Serve(ctx context.Context, server *http.Server, ln net.Listener, max int) error {
	done := make(chan error, 1)
	go func() { done <- server.Serve(netutil.LimitListener(ln, max)) }()
	select {
	case err := <-done:
		return fmt.Errorf("serve HTTP on %s: %w", ln.Addr(), err)
	case <-ctx.Done():
	}
	shutdown, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTimeout)
	defer cancel()
	err := server.Shutdown(shutdown)
	if err != nil {
		err = errors.Join(fmt.Errorf("serve HTTP on %s: requests under way at the end: %w", ln.Addr(), err), server.Close())
	}
	<-done
	return err
}
