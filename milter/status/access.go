package status

import (
	"crypto/sha256"
	"crypto/subtle"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// Access says for whom the page for people is there.
type Access struct {
	// Hosts are names that browsers may ask under, besides addresses and localhost.
	Hosts []string
	// Token is asked of TCP clients; empty: only those of this machine are served.
	Token string
	// Private: whom mail is from and for is hidden in any case.
	Private bool
}

// refuse answers a request that may not see the page, and reports whether it did.
func (a Access) refuse(w http.ResponseWriter, request *http.Request) bool {
	local, _ := request.Context().Value(http.LocalAddrContextKey).(net.Addr)
	tcp, _ := local.(*net.TCPAddr)
	switch {
	case tcp == nil:
		// The permissions of a local: socket say who may connect, and no browser can.
		return false
	case !a.named(request.Host):
		http.Error(w, "this name is none of the page's: status.hosts lists them", http.StatusMisdirectedRequest)
	case a.Token == "" && tcp.IP.IsLoopback():
		return false
	case a.Token == "":
		http.Error(w, "the page is there for clients on this machine, as status.token is not set", http.StatusForbidden)
	case a.knows(request):
		return false
	default:
		w.Header().Set("WWW-Authenticate", `Basic realm="milterd", charset="UTF-8"`)
		http.Error(w, "expected the token of status.token as the password", http.StatusUnauthorized)
	}
	return true
}

// named reports whether a Host field is one of ours. A page of another site can have its
// own name lead here (DNS rebinding), but the browser then sends that name.
func (a Access) named(host string) bool {
	name := host
	if h, _, err := net.SplitHostPort(host); err == nil {
		name = h
	}
	if _, err := netip.ParseAddr(strings.Trim(name, "[]")); err == nil {
		return true
	}
	name = strings.ToLower(strings.TrimSuffix(name, "."))
	return name == "localhost" || strings.HasSuffix(name, ".localhost") ||
		slices.ContainsFunc(a.Hosts, func(h string) bool { return h != "" && strings.EqualFold(h, name) })
}

// knows reports whether a request has the token. The comparison takes equally long
// whatever the request has.
func (a Access) knows(request *http.Request) bool {
	_, token, ok := request.BasicAuth()
	if !ok {
		token, _ = strings.CutPrefix(request.Header.Get("Authorization"), "Bearer ")
	}
	given, want := sha256.Sum256([]byte(token)), sha256.Sum256([]byte(a.Token))
	return subtle.ConstantTimeCompare(given[:], want[:]) == 1
}
