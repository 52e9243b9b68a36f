package status

import (
	"strconv"
	"time"

	"milterd/milter/tally"
)

func moment(t time.Time) string { return t.Format("2006-01-02 15:04:05 -07:00") }

func (v *view) page(m *markup) {
	v.head(m)
	v.top(m)
	m.put("<main>\n<section class=\"pair\">\n")
	m.chart("Last hour", &v.Hour)
	m.put("\n")
	m.chart("Last day", &v.Day)
	m.put("\n</section>\n")
	v.shadow(m)
	v.stops(m)
	v.verdicts(m)
	m.put("\n<section id=\"top\">\n<h2>Most frequent in the last day</h2>\n<div class=\"grid\">\n")
	v.list(m, "Clients", v.Clients, true)
	v.list(m, "Users", v.Users, true)
	v.list(m, "Refused recipients", v.RefusedRecipients, true)
	m.put("</div>\n</section>")
	v.inForce(m)
	v.state(m)
	m.put("\n</main>\n<footer>%s · %s · counting since %s · ", v.Version, moment(v.Now), moment(v.Since))
	m.put(`<a href="/report.json">report.json</a> <a href="/metrics">metrics</a> <a href="/healthz">healthz</a></footer>` + "\n</body>\n</html>\n")
}

func (v *view) head(m *markup) {
	m.put(`<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">`)
	if v.Query == "" {
		m.put("\n<meta http-equiv=\"refresh\" content=\"60\">")
	}
	m.put("\n<title>milterd")
	if v.InForce != nil {
		m.put(" – %s", v.InForce.Hostname)
	}
	m.put("</title>\n<style>")
	m.WriteString(styleText)
	m.put("</style>\n</head>\n")
}

// top is what is seen first: is mail decided, and how.
func (v *view) top(m *markup) {
	m.put("<body>\n<header>\n<h1>milterd")
	if v.InForce != nil {
		m.put(" <span>%s</span>", v.InForce.Hostname)
	}
	m.put("</h1>\n<p>")
	if v.Problem != "" {
		m.put(`<b class="pill refused">%s</b>`, v.Problem)
	} else {
		m.put(`<b class="pill ok">mail is decided</b>`)
	}
	if f := v.InForce; f != nil {
		class := "plain"
		if f.Mode == "shadow" {
			class = "shadow"
		}
		m.put(` <b class="pill %s">mode %s</b>`, class, f.Mode)
		m.some(` <b class="pill refused">clients are hidden behind %s</b>`, f.Shared)
		if f.Failure != "" {
			m.put(` <b class="pill refused">an older policy is in force</b>`)
		}
	}
	m.put("</p>\n" + `<nav><a href="#shadow">Shadow</a><a href="#logins">Logins</a><a href="#verdicts">Verdicts</a><a href="#top">Top</a><a href="#force">In force</a><a href="#state">State</a>`)
	switch {
	case v.Forced:
		m.put("<span>private</span>")
	case v.Private:
		m.put(`<a href="?%s">Show names</a>`, v.query(v.Query, false))
	default:
		m.put(`<a href="?%s">Hide names</a>`, v.query(v.Query, true))
	}
	m.put("</nav>\n</header>\n")
}

func (v *view) shadow(m *markup) {
	m.put("\n<section id=\"shadow\">\n<h2>What shadow would have refused</h2>\n")
	accepted := grouped(v.Day.Sum.Accepted)
	if len(v.Shadow.Checks) > 0 {
		m.put("<p>%s of %s messages that were taken in the last day would have been refused, for one recipient at least, if the checks in shadow mode were enforced.</p>\n<div class=\"grid\">\n", grouped(v.Day.Sum.Shadow), accepted)
		v.list(m, "By check", v.Shadow.Checks, false)
		v.list(m, "By sender domain", v.Shadow.Domains, false)
		v.list(m, "By client network", v.Shadow.Networks, false)
		v.list(m, "By client name", v.Shadow.Names, false)
		m.put("</div>\n")
	} else {
		m.put("<p class=\"none\">Nothing in the last day: of %s messages that were taken, no check in shadow mode would have refused one.</p>\n", accepted)
	}
	m.put("</section>\n")
}

func (v *view) verdicts(m *markup) {
	m.put(`
<section id="verdicts">
<h2>Verdicts</h2>
<form method="get" action="/#verdicts" role="search">
<input type="search" name="q" value="%s" maxlength="256" placeholder="address, queue id, sender, recipient, check" aria-label="Search the verdicts">`, v.Query)
	if v.Private && !v.Forced {
		m.put(`<input type="hidden" name="private" value="1">`)
	}
	m.put("\n<button>Search</button>")
	if v.Query != "" {
		m.put(` <a href="?%s#verdicts">All</a>`, v.query("", v.Private))
	}
	m.put("\n</form>\n")
	if v.Query != "" {
		m.put("<p>%s of the last %s lines.</p>\n", len(v.Verdicts), v.Recent)
	}
	switch {
	case len(v.Verdicts) > 0:
		m.put("<div class=\"verdicts\">")
		for i := range v.Verdicts {
			writeVerdict(m, &v.Verdicts[i])
		}
		m.put("\n</div>\n")
	case v.Query != "":
		m.put("<p class=\"none\">Nothing of that kind.</p>\n")
	default:
		m.put("<p class=\"none\">No mail yet since %s.</p>\n", moment(v.Since))
	}
	m.put("</section>\n")
}

func writeVerdict(m *markup, d *tally.Verdict) {
	class := d.Action
	if len(d.Shadow) > 0 {
		class += " shaded"
	}
	m.put("\n<article class=\"%s\">\n", class)
	m.put(`<div class="what"><time>%s</time> <b>%s</b>`, d.Time.Format("15:04:05"), d.Action)
	m.some(" <span>%s</span>", d.Stage)
	m.some(" <span>%s</span>", d.Check)
	switch {
	case d.Door != "map":
	case d.Check == "" && d.Rule != "":
		m.put(" <span>by sendmail, with an entry of the table</span>")
	default:
		m.put(" <span>asked by sendmail</span>")
	}
	m.some(" <code>%s</code>", d.Queue)
	m.put("</div>\n<div class=\"who\">")
	m.some("<code>%s</code>", d.Client)
	m.some(" %s", d.Name)
	if d.PTR != d.Name {
		m.some(" (PTR %s)", d.PTR)
	}
	if d.Helo != d.Name {
		m.some(" <small>helo</small> %s", d.Helo)
	}
	m.some(" <small>user</small> %s", d.User)
	m.put("</div>\n<div class=\"mail\">")
	m.some("<small>from</small> %s", d.From)
	m.some(" <small>to</small> %s", d.To)
	m.put("</div>\n")
	if d.Reply+d.Reason+d.Rule+d.Relay+d.Edits != "" {
		m.put(`<div class="why">`)
		m.some("<q>%s</q> ", d.Reply)
		m.some("%s ", d.Reason)
		m.some("<code>%s</code>", d.Rule)
		m.some("<small>relays:</small> %s", d.Relay)
		m.some(" <small>edits:</small> %s", d.Edits)
		m.put("</div>\n")
	}
	for _, would := range d.Shadow {
		m.put("<div class=\"would\">shadow: %s</div>\n", would)
	}
	m.put("</article>")
}

// list is a table of names. With search each leads to its verdicts.
func (v *view) list(m *markup, title string, names []tally.Name, search bool) {
	m.put("\n<div><h3>%s</h3>\n", title)
	if len(names) == 0 {
		m.put("<p class=\"none\">none</p>\n</div>\n\n")
		return
	}
	m.put("<table class=\"names\">")
	for _, n := range names {
		m.put("\n<tr><td>")
		if search {
			v.link(m, n.Name)
		} else {
			m.put("%s", n.Name)
		}
		if x := n.Example; x != nil {
			m.put(`<small class="example">e.g. %s → %s`, x.From, x.To)
			m.some(", %s", x.Client)
			m.some(" %s", x.Name)
			if x.Queue != "" {
				m.put(" ")
				v.link(m, x.Queue)
			}
			m.put("</small>")
		}
		m.put("</td>\n"+bar+`<rect width="%s" height="8"/></svg></td>`+"\n", share(n.Count, names[0].Count))
		if n.Over > 0 {
			m.put(`<td class="n" title="%s too many at most">≤`, n.Over)
		} else {
			m.put(`<td class="n">`)
		}
		m.put("%s</td></tr>", grouped(n.Count))
	}
	m.put("\n</table>\n</div>\n\n")
}

func (v *view) link(m *markup, text string) {
	m.put(`<a href="?%s#verdicts">%s</a>`, v.query(text, v.Private), text)
}

func (v *view) inForce(m *markup) {
	f := v.InForce
	if f == nil {
		return
	}
	m.put("\n<section id=\"force\">\n<h2>In force</h2>")
	m.some("\n<p class=\"alarm\">Nearly all clients have the address %s, so something hides their own: reverse DNS, address lists and relaying by address are suspended for it (nat_guard).</p>", f.Shared)
	m.some("\n<p class=\"alarm\">The files as they are now cannot be used: %s</p>", f.Failure)
	config, features := f.Config, f.Features
	if config == "" {
		config = "built in"
	}
	if features != "" {
		features = ", " + features
	}
	m.put(`
<dl>
<dt>configuration</dt><dd><code>%s</code></dd>
<dt>since</dt><dd>%s</dd>
<dt>access table</dt><dd><code>%s</code>, %s entries%s</dd>
<dt>domains</dt><dd>%s local, %s relayed</dd>
</dl>`, config, moment(f.Since), f.Access, f.Entries, features, f.Local, f.Relay)
	if len(f.Warnings) > 0 {
		m.put("\n<h3>Hints</h3>\n<ul>")
		for _, w := range f.Warnings {
			m.put("<li>%s</li>", w)
		}
		m.put("</ul>")
	}
	if len(f.Settings) > 0 {
		m.put("\n<h3>What is set, and where</h3>\n<table>")
		for _, s := range f.Settings {
			m.put("<tr><td><code>%s</code></td><td><code>%s</code></td></tr>", s.Key, s.Place)
		}
		m.put("</table>")
	}
	m.put("\n</section>")
}

func (v *view) state(m *markup) {
	if len(v.State) == 0 {
		return
	}
	m.put("\n<section id=\"state\">\n<h2>State</h2>\n<div class=\"grid\">")
	for _, g := range v.State {
		m.put("\n<div><h3>%s</h3><table>", g.Title)
		for _, value := range g.Values {
			m.put(`<tr title="%s"><td>%s`, value.Help, value.Name)
			m.some(" <small>%s</small>", value.Labels)
			m.put(`</td><td class="n">%s</td></tr>`, strconv.FormatFloat(value.Value, 'f', -1, 64))
		}
		m.put("</table></div>")
	}
	m.put("\n</div>\n</section>")
}
