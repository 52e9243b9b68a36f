package probe

import "context"

// Look has a short conversation with each target: what it tells, whether passwords go in
// clear text, which TLS it speaks. No recipient is named.
func Look(ctx context.Context, o Options) ([]*Report, error) {
	return each(ctx, o, (*examination).overlook)
}

// overlook is what a stranger learns without wanting anything.
func (e *examination) overlook() error {
	c, err := e.dial()
	if err != nil {
		return err
	}
	defer c.close()
	e.report.Greeting = c.greeting.String()
	if err := c.hello(); err != nil {
		return err
	}
	e.look(c)
	return nil
}
