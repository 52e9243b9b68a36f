package dovecot

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"milterd/policy/grant"
)

// answer lets Dovecot go on, without a delay and without a message for the user.
const answer = `{"status":0,"msg":""}`

func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !s.authorized(r) {
		s.count.forbidden.Add(1)
		if s.suspicious.CompareAndSwap(false, true) {
			s.logger.Warn("request to the Dovecot policy server without the secret; is auth_policy_server_api_header the same in both?",
				"peer", r.RemoteAddr)
		}
		// The connection ends here, and soon, even if the rest of the request does not
		// come. If it is not one of Serve's the deadline cannot be set.
		w.Header().Set("Connection", "close")
		_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(s.timeouts.forbidden))
		http.Error(w, "forbidden", http.StatusForbidden)
		return
	}
	if conn, ok := r.Context().Value(connKey{}).(net.Conn); ok {
		s.unauthenticated.remove(conn)
	}
	s.suspicious.Store(false)
	switch {
	case r.URL.Path != "/":
		s.malformed(w, http.StatusNotFound, "no such path, expected /")
		return
	case r.Method != http.MethodPost:
		w.Header().Set("Allow", http.MethodPost)
		s.malformed(w, http.StatusMethodNotAllowed, "expected POST")
		return
	}
	switch command(r.URL.RawQuery) {
	case "allow":
		s.count.allows.Add(1)
	case "report":
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
		if tooLarge := (*http.MaxBytesError)(nil); errors.As(err, &tooLarge) {
			s.malformed(w, http.StatusRequestEntityTooLarge, "body too large")
			return
		}
		var report report
		if err == nil {
			err = json.Unmarshal(body, &report, jsontext.AllowInvalidUTF8(true))
		}
		if err != nil {
			s.malformed(w, http.StatusBadRequest, "body is not a report")
			return
		}
		s.count.reports.Add(1)
		// What was reported counts, even if Dovecot does not wait for the answer. The
		// Granter has a limit of its own for how long it takes.
		s.report(context.WithoutCancel(r.Context()), report)
	default:
		s.malformed(w, http.StatusBadRequest, "expected ?command=allow or ?command=report")
		return
	}
	w.Header().Set("Content-Type", "application/json")
	// Dovecot has the report, and does not need the answer.
	_, _ = io.WriteString(w, answer)
}

func (s *Server) malformed(w http.ResponseWriter, code int, text string) {
	s.count.malformed.Add(1)
	http.Error(w, text, code)
}

func (s *Server) authorized(r *http.Request) bool {
	values := r.Header["Authorization"]
	if len(values) != 1 {
		return false
	}
	digest := sha256.Sum256([]byte(values[0]))
	return subtle.ConstantTimeCompare(digest[:], s.digest[:]) == 1
}

// command is the command of a query, empty if there is not exactly one.
func command(query string) string {
	values, err := url.ParseQuery(query)
	if err != nil || len(values["command"]) != 1 {
		return ""
	}
	return values["command"][0]
}

// report is what Dovecot says about a login, as far as it matters here. The names of
// members count with their case: an administrator may have made others in
// auth_policy_request_attributes, which stand behind these. (encoding/json takes Success
// for success.)
type report struct {
	// Login is the name that the user gave.
	Login string `json:"login"`
	// Protocol is what the login was for.
	Protocol string `json:"protocol"`
	// Remote is the client's address, empty if there is none.
	Remote string `json:"remote"`
	// Success: the password was right, or what took its place. PolicyReject: the
	// login was refused nevertheless.
	Success      bool `json:"success"`
	PolicyReject bool `json:"policy_reject"`
	// Proxy, ProxyMaybe and NoLogin are "no" if the passdb has no such field, and nil if
	// auth_policy_request_attributes lacks them. Dovecot reports a success before a
	// backend has seen the password, and before it refuses a login because of nologin.
	Proxy      *string `json:"proxy"`
	ProxyMaybe *string `json:"proxy_maybe"`
	NoLogin    *string `json:"nologin"`
}

// unfinished says why a success is not yet a login, empty if it is one. What is neither
// "no" nor absent counts as yes: Dovecot 2.3 expands a field to an empty string, whatever
// its value.
func (r report) unfinished() string {
	for _, field := range []struct {
		value  *string
		reason string
	}{
		{r.Proxy, "Dovecot is a proxy, whose backend has not checked the password yet"},
		{r.ProxyMaybe, "Dovecot may be a proxy, whose backend has not checked the password yet"},
		{r.NoLogin, "the account has nologin"},
	} {
		switch {
		case field.value == nil:
			return unsaid
		case *field.value != "no":
			return field.reason
		}
	}
	return ""
}

// unsaid is the reason not to make a grant of a report that lacks attributes.
const unsaid = "the report does not say whether the login is complete"

// attributes is what has Dovecot 2.3 report what is needed: its default, and the fields that
// tell a login from a password that was right. Without the default "no", a field that is
// there looks like one that is not.
const attributes = "auth_policy_request_attributes = login=%{requested_username} pwhash=%{hashed_password} remote=%{rip} " +
	"device_id=%{client_id} protocol=%s session_id=%{session} " +
	"proxy=%{passdb:proxy:no} proxy_maybe=%{passdb:proxy_maybe:no} nologin=%{passdb:nologin:no}"

// report asks for a grant if the report is of a login that deserves one.
func (s *Server) report(ctx context.Context, r report) {
	if !r.Success || r.PolicyReject {
		s.count.unsuccessful.Add(1)
		return
	}
	addr, err := netip.ParseAddr(r.Remote)
	readsMail := r.Protocol == "imap" || r.Protocol == "pop3"
	if !readsMail || err != nil || addr.Zone() != "" || r.Login == "" || strings.EqualFold(r.Login, "anonymous") {
		s.count.ignored.Add(1)
		return
	}
	if reason := r.unfinished(); reason != "" {
		s.count.ignored.Add(1)
		s.logger.Debug("no relay grant made of a Dovecot report", "client", addr.Unmap(), "reason", reason)
		if reason == unsaid {
			s.warnOfAttributes()
		}
		return
	}
	s.count.logins.Add(1)
	// Why there is no grant is for the Granter to log; the user will log in again.
	if _, err := s.granter.Login(ctx, grant.Login{Addr: addr.Unmap(), User: r.Login, Source: Source}); err != nil {
		s.count.failed.Add(1)
	}
}

// warnOfAttributes says what dovecot.conf lacks, once an hour at most.
func (s *Server) warnOfAttributes() {
	now, last := time.Now().Unix(), s.warned.Load()
	if now-last < int64(time.Hour/time.Second) || !s.warned.CompareAndSwap(last, now) {
		return
	}
	s.logger.Warn("no relay grants are made of Dovecot's reports: they do not say whether a login is complete; this line is missing in dovecot.conf",
		"line", attributes)
}
