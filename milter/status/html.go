package status

import (
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strconv"

	"milterd/policy/printable"
)

//go:embed page.css
var styleText string

// contentPolicy allows the page its own style sheet, its form, and nothing else.
var contentPolicy = "default-src 'none'; style-src 'sha256-" + hash(styleText) + "'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"

func hash(text string) string {
	sum := sha256.Sum256([]byte(text))
	return base64.StdEncoding.EncodeToString(sum[:])
}

// maxQuery bounds what is searched for.
const maxQuery = 256

// view is what the page is made of.
type view struct {
	*Report
	// Query is what is searched for among the verdicts.
	Query string
	// Forced: the page is private whatever the client asks for.
	Forced bool
	// Recent is how many verdicts are searched.
	Recent int
}

// query leads to the verdicts that have a text, empty for all.
func (v *view) query(text string, private bool) string {
	query := make(url.Values)
	if text != "" {
		query.Set("q", text)
	}
	if private {
		query.Set("private", "1")
	}
	return query.Encode()
}

func (p Page) report(w http.ResponseWriter, request *http.Request) {
	access := p.Access()
	if access.refuse(w, request) {
		return
	}
	query := request.URL.Query()
	r := p.Report()
	r.Private = access.Private || query.Get("private") == "1"
	if r.Private {
		r.Hide()
	}
	v := &view{Report: r, Query: printable.Short(query.Get("q"), maxQuery, ""), Forced: access.Private, Recent: len(r.Verdicts)}
	r.Find(v.Query)
	header := w.Header()
	header.Set("Content-Security-Policy", contentPolicy)
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set("Referrer-Policy", "no-referrer")
	header.Set("Cross-Origin-Resource-Policy", "same-origin")
	if request.URL.Path == reportPath {
		header.Set("Content-Type", "application/json")
		text, err := json.Marshal(r)
		if err != nil {
			http.Error(w, "the report cannot be made", http.StatusInternalServerError)
			return
		}
		// It fails if the client has gone.
		_, _ = w.Write(append(text, '\n'))
		return
	}
	header.Set("Content-Type", "text/html; charset=utf-8")
	m := new(markup)
	v.page(m)
	// It fails if the client has gone.
	_, _ = io.WriteString(w, m.String())
}

// share is the part of a hundred that n is of most.
func share(n, most uint64) uint64 {
	if most == 0 {
		return 0
	}
	return max(n*100/most, 1)
}

// grouped is a number with narrow spaces between groups of three digits.
func grouped(n uint64) string {
	text := strconv.FormatUint(n, 10)
	for at := len(text) - 3; at > 0 && n >= 10_000; at -= 3 {
		text = text[:at] + "\u202f" + text[at:]
	}
	return text
}
