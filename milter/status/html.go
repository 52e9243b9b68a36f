package status

import (
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"

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

// markup is HTML as it is put together. html/template would do the same, but it finds
// methods by their names, so that the linker has to keep every method of every type: ten
// megabytes.
type markup struct{ strings.Builder }

// literal is HTML that stands in the source: no value of type string becomes one by
// itself. Values go where it has %s: between tags, or in an attribute with double
// quotes; in a URL, only after its "?".
type literal string

// escape makes a value plain text at both of these places, also for a browser that
// guesses another character set (+) or drops zeros.
var escape = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", `"`, "&#34;", "'", "&#39;", "+", "&#43;", "\x00", "\uFFFD")

// put adds a literal with its values.
func (m *markup) put(text literal, values ...any) {
	for i, v := range values {
		values[i] = escape.Replace(fmt.Sprint(v))
	}
	fmt.Fprintf(m, string(text), values...)
}

// some adds a literal with one value if there is one.
func (m *markup) some(text literal, value string) {
	if value != "" {
		m.put(text, value)
	}
}
