// Package limits holds limits against a real sendmail with SMTP AUTH, two milterds and a
// real Redis: bursts that stop at the limit, and what happens when a store or a milterd is
// killed. It is tests only.
package limits
