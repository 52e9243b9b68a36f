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
	Title                string
	Width, Height        int
	Most                 uint64
	Columns              []column
	First, Middle, Last  string
	Accepted, Tempfailed uint64
	Sum                  tally.Bar
	RefusedSum           uint64
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
	c := chart{Title: title, Width: chartWidth, Height: chartHeight, Sum: s.Sum, RefusedSum: s.Sum.RefusedSum()}
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
