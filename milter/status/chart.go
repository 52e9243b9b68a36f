package status

import (
	"fmt"

	"milterd/milter/tally"
)

// The size of a chart, in its own units.
const (
	chartWidth  = 720
	chartHeight = 150
)

// bar begins a cell with a bar; what follows is its rect.
const bar = `<td class="bar"><svg viewBox="0 0 100 8" preserveAspectRatio="none" aria-hidden="true">`

// chart adds a Series as columns, and who refused.
func (m *markup) chart(title string, s *tally.Series) {
	sum, refusedSum := &s.Sum, s.Sum.RefusedSum()
	m.put("\n<figure>\n<figcaption>%s</figcaption>\n", title)
	m.put(`<ul class="legend"><li class="ok">%s <span>accepted</span></li><li class="shadow">%s <span>of them shadow would refuse</span></li><li class="temp">%s <span>put off (4xx)</span></li><li class="refused">%s <span>refused</span></li></ul>`+"\n",
		grouped(sum.Accepted), grouped(sum.Shadow), grouped(sum.Tempfailed), grouped(refusedSum))
	m.put(`<svg viewBox="0 0 %s %s" role="img" aria-label="%s: %s accepted, %s put off, %s refused" preserveAspectRatio="none">`,
		chartWidth, chartHeight, title, sum.Accepted, sum.Tempfailed, refusedSum)
	most := uint64(0)
	for i := range s.Bars {
		most = max(most, s.Bars[i].All())
	}
	wide := float64(chartWidth) / float64(len(s.Bars))
	for i := range s.Bars {
		if b := &s.Bars[i]; b.All() > 0 {
			m.column(b, float64(i)*wide+wide/10, wide*8/10, most)
		}
	}
	time := func(i int) string { return s.Bars[i].Begin.Format("15:04") }
	m.put("</svg>\n"+`<p class="axis"><span>%s</span><span>%s</span><span>%s</span></p>`+"\n", time(0), time(len(s.Bars)/2), time(len(s.Bars)-1))
	if refused := refusals(sum); len(refused) > 0 {
		m.put(`<table class="names">`)
		for _, r := range refused {
			m.put("<tr><td>%s</td>", r.Name)
			m.put(bar+`<rect class="refused" width="%s" height="8"/></svg></td><td class="n">%s</td></tr>`, share(r.Count, refusedSum), grouped(r.Count))
		}
		m.put("</table>\n")
	}
	m.put("</figure>\n")
}

// column adds a column, of which the highest has so many messages.
func (m *markup) column(b *tally.Bar, x, width float64, most uint64) {
	m.put("<g><title>%s</title>", barTitle(b))
	y, shadow := float64(chartHeight), min(b.Shadow, b.Accepted)
	for _, part := range []struct {
		class string
		n     uint64
	}{{"ok", b.Accepted - shadow}, {"shadow", shadow}, {"temp", b.Tempfailed}, {"refused", b.RefusedSum()}} {
		if part.n > 0 {
			height := float64(part.n) / float64(most) * (chartHeight - 4)
			y -= height
			m.put(`<rect class="%s" x="%s" y="%s" width="%s" height="%s"/>`, part.class, x, y, width, height)
		}
	}
	m.put("</g>")
}

// barTitle is what a browser shows for a column.
func barTitle(b *tally.Bar) string {
	text := fmt.Sprintf("%s: %d accepted", b.Begin.Format("15:04"), b.Accepted)
	if b.Shadow > 0 {
		text += fmt.Sprintf(" (%d of them shadow would refuse)", b.Shadow)
	}
	if b.Tempfailed > 0 {
		text += fmt.Sprintf(", %d put off", b.Tempfailed)
	}
	for _, r := range refusals(b) {
		text += fmt.Sprintf(", %d refused by %s", r.Count, r.Name)
	}
	return text
}
