package status

import (
	"bytes"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"encoding/json"
	"html/template"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"milterd/milter/tally"
	"milterd/policy/printable"
)

var (
	//go:embed page.html
	pageText string
	//go:embed page.css
	styleText string

	pageTemplate = template.Must(template.New("page").Funcs(template.FuncMap{
		"chart":    newChart,
		"count":    grouped,
		"number":   func(v float64) string { return strconv.FormatFloat(v, 'f', -1, 64) },
		"refusals": refusals,
		"share":    share,
		"top":      top,
		"clock":    func(t time.Time) string { return t.Format("15:04:05") },
		"moment":   func(t time.Time) string { return t.Format("2006-01-02 15:04:05 -07:00") },
	}).Parse(pageText))

	// contentPolicy allows the page its own style sheet, its form, and nothing else.
	contentPolicy = "default-src 'none'; style-src 'sha256-" + hash(styleText) + "'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)

func hash(text string) string {
	sum := sha256.Sum256([]byte(text))
	return base64.StdEncoding.EncodeToString(sum[:])
}

// maxQuery bounds what is searched for.
const maxQuery = 256

// view is what the page is made of.
type view struct {
	*Report
	Style template.CSS
	// Query is what is searched for among the verdicts.
	Query string
	// Forced: the page is private whatever the client asks for.
	Forced bool
	// Recent is how many verdicts are searched.
	Recent int
}

// Switch is a query that leads to the same page, but with the other setting of Private.
func (v *view) Switch() string {
	query := make(url.Values)
	if v.Query != "" {
		query.Set("q", v.Query)
	}
	if !v.Private {
		query.Set("private", "1")
	}
	return "?" + query.Encode()
}

// Look is a query that searches for a text.
func (v *view) Look(text string) string {
	query := url.Values{"q": {text}}
	if v.Private {
		query.Set("private", "1")
	}
	return "?" + query.Encode() + "#verdicts"
}

// report answers with the report as JSON, or as a page.
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
	v := &view{Report: r, Style: template.CSS(styleText), Query: printable.Short(query.Get("q"), maxQuery, ""), Forced: access.Private, Recent: len(r.Verdicts)}
	r.Find(v.Query)
	header := w.Header()
	header.Set("Content-Security-Policy", contentPolicy)
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set("Referrer-Policy", "no-referrer")
	header.Set("Cross-Origin-Resource-Policy", "same-origin")
	var text bytes.Buffer
	if request.URL.Path == reportPath {
		header.Set("Content-Type", "application/json")
		if err := json.NewEncoder(&text).Encode(r); err != nil {
			http.Error(w, "the report cannot be made", http.StatusInternalServerError)
			return
		}
	} else {
		header.Set("Content-Type", "text/html; charset=utf-8")
		if err := pageTemplate.Execute(&text, v); err != nil {
			http.Error(w, "the page cannot be made", http.StatusInternalServerError)
			return
		}
	}
	// It fails if the client has gone.
	_, _ = w.Write(text.Bytes())
}

// list is a table of names.
type list struct {
	View  *view
	Title string
	Names []tally.Name
	// Search: the names are found among the verdicts.
	Search bool
	Most   uint64
}

func top(v *view, title string, names []tally.Name, search bool) list {
	l := list{View: v, Title: title, Names: names, Search: search}
	if len(names) > 0 {
		l.Most = names[0].Count
	}
	return l
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
