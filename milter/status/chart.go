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

// chart is a Series as columns.
type chart struct {
	Title               string
	Most                uint64
	Columns             []column
	First, Middle, Last string
	Sum                 tally.Bar
	RefusedSum          uint64
}

type column struct {
	X, Width float64
	Parts    []part
	Title    string
}

type part struct {
	Class     string
	Y, Height float64
}

func newChart(title string, s tally.Series) chart {
	c := chart{Title: title, Sum: s.Sum, RefusedSum: s.Sum.RefusedSum()}
	for i := range s.Bars {
		b := &s.Bars[i]
		c.Most = max(c.Most, b.Accepted+b.Tempfailed+b.RefusedSum())
	}
	wide := float64(chartWidth) / float64(len(s.Bars))
	for i := range s.Bars {
		b := &s.Bars[i]
		col := column{X: float64(i)*wide + wide/10, Width: wide * 8 / 10, Title: barTitle(b)}
		y := float64(chartHeight)
		for _, p := range []struct {
			class string
			n     uint64
		}{{"ok", b.Accepted - min(b.Shadow, b.Accepted)}, {"shadow", min(b.Shadow, b.Accepted)}, {"temp", b.Tempfailed}, {"refused", b.RefusedSum()}} {
			if p.n == 0 {
				continue
			}
			height := float64(p.n) / float64(c.Most) * (chartHeight - 4)
			y -= height
			col.Parts = append(col.Parts, part{p.class, y, height})
		}
		if len(col.Parts) > 0 {
			c.Columns = append(c.Columns, col)
		}
	}
	c.First, c.Middle = s.Bars[0].Begin.Format("15:04"), s.Bars[len(s.Bars)/2].Begin.Format("15:04")
	c.Last = s.Bars[len(s.Bars)-1].Begin.Format("15:04")
	return c
}

// bar begins a cell with a bar; what follows is its rect.
const bar = `<td class="bar"><svg viewBox="0 0 100 8" preserveAspectRatio="none" aria-hidden="true">`

// write adds the columns, and who refused.
func (c chart) write(m *markup) {
	m.put("\n<figure>\n<figcaption>%s</figcaption>\n", c.Title)
	m.put(`<ul class="legend"><li class="ok">%s <span>accepted</span></li><li class="shadow">%s <span>of them shadow would refuse</span></li><li class="temp">%s <span>put off (4xx)</span></li><li class="refused">%s <span>refused</span></li></ul>`+"\n",
		grouped(c.Sum.Accepted), grouped(c.Sum.Shadow), grouped(c.Sum.Tempfailed), grouped(c.RefusedSum))
	m.put(`<svg viewBox="0 0 %s %s" role="img" aria-label="%s: %s accepted, %s put off, %s refused" preserveAspectRatio="none">`,
		chartWidth, chartHeight, c.Title, c.Sum.Accepted, c.Sum.Tempfailed, c.RefusedSum)
	for _, col := range c.Columns {
		m.put("<g><title>%s</title>", col.Title)
		for _, p := range col.Parts {
			m.put(`<rect class="%s" x="%s" y="%s" width="%s" height="%s"/>`, p.Class, col.X, p.Y, col.Width, p.Height)
		}
		m.put("</g>")
	}
	m.put("</svg>\n"+`<p class="axis"><span>%s</span><span>%s</span><span>%s</span></p>`+"\n", c.First, c.Middle, c.Last)
	if refused := refusals(c.Sum); len(refused) > 0 {
		m.put(`<table class="names">`)
		for _, r := range refused {
			m.put("<tr><td>%s</td>", r.Name)
			m.put(bar+`<rect class="refused" width="%s" height="8"/></svg></td><td class="n">%s</td></tr>`, share(r.Count, c.RefusedSum), grouped(r.Count))
		}
		m.put("</table>\n")
	}
	m.put("</figure>\n")
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
	for _, r := range refusals(*b) {
		text += fmt.Sprintf(", %d refused by %s", r.Count, r.Name)
	}
	return text
}
