package door

import (
	"context"
	"log/slog"
	"net/netip"
	"strings"
	"sync"
	"time"

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
	Shadow []policy.Shadow
}

// Log writes the line. The keys that a client has no say in come first.
func (l *Line) Log(ctx context.Context, logger *slog.Logger) {
	if !logger.Enabled(ctx, slog.LevelInfo) {
		return
	}
	a := spareAttrs.Get().(*lineAttrs)
	a.n = 0
	l.fill(a)
	// Straight to the handler: a Logger would look for the caller, which no line shows.
	r := slog.NewRecord(time.Now(), slog.LevelInfo, string(l.Action), 0)
	r.AddAttrs(a.all[:a.n]...)
	_ = logger.Handler().Handle(ctx, r) // as a Logger does: there is nowhere to say so
	spareAttrs.Put(a)
}

// lineAttrs are the attributes of a line. They are kept for further lines: as a local
// variable they would make a session's stack grow.
type lineAttrs struct {
	all [24]slog.Attr
	n   int
}

var spareAttrs = sync.Pool{New: func() any { return new(lineAttrs) }}

func (a *lineAttrs) add(key, value string) {
	if value != "" {
		a.all[a.n] = slog.String(key, printable.Text(value))
		a.n++
	}
}

func (a *lineAttrs) count(key string, n int) {
	if n > 0 {
		a.all[a.n] = slog.Int(key, n)
		a.n++
	}
}

func (l *Line) fill(a *lineAttrs) {
	a.add("door", l.Door)
	a.add("stage", string(l.Stage))
	a.add("queue", l.Queue)
	a.add("client", ClientText(l.Client.Addr))
	a.add("name", HostText(l.Client.Name))
	if l.Client.Resolve != policy.ResolveOK {
		a.add("resolve", string(l.Client.Resolve))
		a.add("ptr", HostText(l.Client.PTR))
	}
	a.add("daemon", l.Client.DaemonName)
	a.count("daemon_port", int(l.Client.DaemonPort))
	a.add("check", l.Check)
	a.add("helo", l.Helo)
	a.add("auth", authText(l.Auth))
	a.add("from", l.From)
	a.add("to", l.To)
	a.count("recipients", l.Recipients)
	a.count("refused", l.Refused)
	a.add("relay", l.Relay)
	a.add("reply", l.Reply)
	a.add("rule", l.Rule)
	a.add("reason", l.Reason)
	a.add("edits", l.Edits)
	if len(l.Shadow) > 0 {
		a.add("shadow", shadowText(l.Shadow))
	}
}

func shadowText(all []policy.Shadow) string {
	texts := make([]string, len(all))
	for i, s := range all {
		texts[i] = s.String()
	}
	return strings.Join(texts, "; ")
}

// LogTrace writes a verdict and how it came about, at level debug. door is that of a Line.
func LogTrace(ctx context.Context, logger *slog.Logger, door, queue string, client *policy.Connection, v *policy.Verdict) {
	if !logger.Enabled(ctx, slog.LevelDebug) {
		return
	}
	if door != "" {
		logger = logger.With("door", door)
	}
	logger = logger.With("queue", queue, "client", ClientText(client.Addr), "daemon_port", client.DaemonPort, "stage", string(v.Stage))
	logger.Debug(v.String(), "action", string(v.Action))
	for _, step := range v.Trace {
		logger.Debug("trace: "+step.String(), "arg", printable.Text(v.Arg))
	}
}

// ClientText is an address as the log has it (RFC 5952); empty without one.
func ClientText(a netip.Addr) string {
	if !a.IsValid() {
		return ""
	}
	return a.Unmap().String()
}

// HostText is a name or a PTR as the log has it; empty if it is an address in brackets.
func HostText(name string) string {
	if strings.HasPrefix(name, "[") {
		return ""
	}
	return name
}

// authText is MECHANISM:LOGIN, as the flag -auth of -check has it.
func authText(a policy.Auth) string {
	if a.Authen == "" {
		return a.Type
	}
	return a.Type + ":" + a.Login()
}

// SenderText is a sender as the log has it.
func SenderText(from string) string {
	if from == "" {
		return "<>"
	}
	return from
}
