package control

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io"
	"slices"
	"text/tabwriter"
	"time"

	"milterd/policy/grant"
	"milterd/policy/printable"
)

// WriteGrants writes a table of the grants, those that end first at the top.
func (c *Client) WriteGrants(ctx context.Context, to io.Writer) error {
	var all []grant.Grant
	if err := c.List(ctx, func(g grant.Grant) { all = append(all, g) }); err != nil {
		return err
	}
	slices.SortFunc(all, func(a, b grant.Grant) int {
		return cmp.Or(a.Expires.Compare(b.Expires), a.Addr.Compare(b.Addr))
	})
	var table bytes.Buffer
	w := tabwriter.NewWriter(&table, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "ADDRESS\tUSER\tSOURCE\tSINCE\tEXPIRES")
	for _, g := range all {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", g.Addr, cmp.Or(printable.Text(g.User), "-"), printable.Text(g.Source),
			g.Since.Local().Format(time.DateTime), g.Expires.Local().Format(time.DateTime))
	}
	if err := w.Flush(); err != nil {
		return err
	}
	_, err := table.WriteTo(to)
	return err
}
