package control

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"time"

	"milterd/policy/limits"
)

// Limits count what is sent. *limits.Keeper is the one that milterd uses.
type Limits interface {
	Near() []limits.Near
	Blocks(context.Context) (map[string]time.Duration, error)
	Block(context.Context, string, time.Duration) error
	Release(context.Context, string) (bool, error)
	// Seen reports whether anything is known of a login.
	Seen(string) bool
	// Kept reports whether blocks outlive milterd.
	Kept() bool
}

// LimitState is a line of the list of limits: a count that is near or over its limit, or a
// login that is blocked.
type LimitState struct {
	*limits.Near
	// Blocked is the blocked login, Left for how much longer, in seconds.
	Blocked string `json:"blocked,omitempty"`
	Left    int64  `json:"left,omitempty"`
	// Note is in a line of its own, and tells what the list lacks.
	Note string `json:"note,omitempty"`
}

// listLimits answers GET /limits.
func (s *Server) listLimits(w http.ResponseWriter, r *http.Request) {
	blocks, err := s.config.Limits.Blocks(r.Context())
	if err != nil {
		s.logger.Warn("blocked logins", "error", err)
	}
	w.Header().Set("Content-Type", "application/jsonl")
	lines := json.NewEncoder(w)
	if err != nil && lines.Encode(LimitState{Note: err.Error()}) != nil {
		return
	}
	for _, login := range slices.Sorted(maps.Keys(blocks)) {
		if lines.Encode(LimitState{Blocked: login, Left: int64(blocks[login].Seconds())}) != nil {
			return
		}
	}
	for _, near := range s.config.Limits.Near() {
		if lines.Encode(LimitState{Near: &near}) != nil {
			return
		}
	}
}

// block answers PUT /limits/blocked?login=LOGIN&for=TIME.
func (s *Server) block(w http.ResponseWriter, r *http.Request) {
	login, length := r.URL.Query().Get("login"), limits.Forever
	until := "until it is released"
	if text := r.URL.Query().Get("for"); text != "" {
		var err error
		if length, err = time.ParseDuration(text); err != nil || length < time.Second || length > limits.Forever {
			http.Error(w, fmt.Sprintf("%.64q is not a time such as 24h", text), http.StatusBadRequest)
			return
		}
		until = "for " + length.String()
	}
	if !s.config.Limits.Kept() {
		until += ", or milterd ends (limits.file is not set)"
	}
	err := s.config.Limits.Block(change(r), login, length)
	s.log(r, "block", netip.Addr{}, login, until, err)
	if err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	if !s.config.Limits.Seen(login) {
		until += "; no mail of this login is remembered on this host: is it written as in the log?"
	}
	fmt.Fprintf(w, "blocked %q %s\n", login, until)
}

// release answers DELETE /limits/blocked?login=LOGIN.
func (s *Server) release(w http.ResponseWriter, r *http.Request) {
	login := r.URL.Query().Get("login")
	was, err := s.config.Limits.Release(change(r), login)
	s.log(r, "release", netip.Addr{}, login, fmt.Sprintf("stopped: %t", was), err)
	switch {
	case err != nil:
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
	case !was:
		fmt.Fprintf(w, "%q was not stopped; its counts begin anew\n", login)
	default:
		fmt.Fprintf(w, "released %q\n", login)
	}
}

// Block puts the mail of a login off; length is empty until it is released.
func (c *Client) Block(ctx context.Context, login, length string) (string, error) {
	return c.line(ctx, http.MethodPut, "/limits/blocked?"+url.Values{"login": {login}, "for": {length}}.Encode())
}

// Release ends the block of a login, and begins its counts anew.
func (c *Client) Release(ctx context.Context, login string) (string, error) {
	return c.line(ctx, http.MethodDelete, "/limits/blocked?"+url.Values{"login": {login}}.Encode())
}

// Limits lists who is blocked, and who is near or over a limit.
func (c *Client) Limits(ctx context.Context) (all []LimitState, err error) {
	err = c.lines(ctx, "/limits", "limits", func(line []byte) error {
		var state LimitState
		if err := json.Unmarshal(line, &state); err != nil {
			return fmt.Errorf("%.64q is none: %w", line, err)
		}
		all = append(all, state)
		return nil
	})
	return all, err
}
