package door

import (
	"context"
	"log/slog"
	"net/netip"
	"strings"

	"milterd/policy"
	"milterd/policy/printable"
)

// Line is a line of the log at level info: one about each message that was taken, at its
// end, and one about each refusal, when it happens. Both doors write it. Its keys are an
// interface for programs that read logs; milterd-log(5) explains them. A field without a
// value is left out.
type Line struct {
	// Action is the message of the line.
	Action policy.Action
	// Door is empty for the filter door.
	Door string
	// Stage is the command that was refused; empty for a message that was taken.
	Stage policy.Stage
	// Queue is the MTA's id for the message.
	Queue string
	// Client is what is known of the client. A name or a PTR that is an address in
	// brackets is not written, as it is Client.Addr.
	Client policy.Connection
	Helo   string
	Auth   policy.Auth
	// From is the sender, <> for the null sender; empty if it is not known.
	From string
	// To is the recipient, or the recipients of a message if they are few.
	To string
	// Recipients and Refused are how many recipients of a message were taken, and how
	// many were not. They are left out if To says it, or if there is none.
	Recipients, Refused int
	// Relay says why the client may relay.
	Relay string
	// Check, Rule, Reply and Reason are those of the verdict.
	Check, Rule, Reply, Reason string
	// Edits are the fields that were changed, Shadow what checks in shadow mode would
	// have done.
	Edits  string
	Shadow []string
}

// Log writes the line. The keys that a client has no say in come first.
func (l *Line) Log(ctx context.Context, logger *slog.Logger) {
	if !logger.Enabled(ctx, slog.LevelInfo) {
		return
	}
	var buf [24]slog.Attr
	attrs := buf[:0]
	add := func(key, value string) {
		if value != "" {
			attrs = append(attrs, slog.String(key, printable.Text(value)))
		}
	}
	count := func(key string, n int) {
		if n > 0 {
			attrs = append(attrs, slog.Int(key, n))
		}
	}
	add("door", l.Door)
	add("stage", string(l.Stage))
	add("queue", l.Queue)
	add("client", ClientText(l.Client.Addr))
	add("name", unbracketed(l.Client.Name))
	if l.Client.Resolve != policy.ResolveOK {
		add("resolve", string(l.Client.Resolve))
		add("ptr", unbracketed(l.Client.PTR))
	}
	add("daemon", l.Client.DaemonName)
	count("daemon_port", int(l.Client.DaemonPort))
	add("check", l.Check)
	add("helo", l.Helo)
	add("auth", authText(l.Auth))
	add("from", l.From)
	add("to", l.To)
	count("recipients", l.Recipients)
	count("refused", l.Refused)
	add("relay", l.Relay)
	add("reply", l.Reply)
	add("rule", l.Rule)
	add("reason", l.Reason)
	add("edits", l.Edits)
	add("shadow", strings.Join(l.Shadow, "; "))
	logger.LogAttrs(ctx, slog.LevelInfo, string(l.Action), attrs...)
}

// ClientText is an address as the log has it (RFC 5952); empty without one.
func ClientText(a netip.Addr) string {
	if !a.IsValid() {
		return ""
	}
	return a.Unmap().String()
}

func unbracketed(name string) string {
	if strings.HasPrefix(name, "[") {
		return ""
	}
	return name
}

// authText is MECHANISM:USER, as the flag -auth of -check has it.
func authText(a policy.Auth) string {
	if a.Authen == "" {
		return a.Type
	}
	return a.Type + ":" + a.Authen
}

// SenderText is a sender as the log has it.
func SenderText(from string) string {
	if from == "" {
		return "<>"
	}
	return from
}
