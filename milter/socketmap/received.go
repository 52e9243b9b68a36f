package socketmap

import (
	"context"
	"strconv"
	"strings"

	"milterd/milter/door"
	"milterd/policy"
	"milterd/policy/access"
)

// Received is a map that says whether the Received: field that this sendmail adds is to show the
// client: OK SCRUB if it is not, else NOTFOUND. A filter cannot see to that, as
// it never gets to see this field.
//
// The key is what sendmail knows at that moment, separated by slashes, as
// milterd.m4 puts it together:
//
//	ADDR/PORT/DAEMON/AUTH/RESOLVE/MAILER/NAME/RCPT
//
// that is ${client_addr}, ${daemon_port}, ${daemon_name}, ${auth_type},
// ${client_resolve}, ${rcpt_mailer}, ${client_name} and the recipient, which may
// hold anything and so comes last. A macro without a value is empty, and fields may
// be left off at the end. Without a recipient the answer is about what is known
// already. Names of daemons count with their case, so the K line needs -f.
//
// The sender is not part of it, so a right to relay that rests on the sender
// (relay_mail_from), or on a client certificate, is not seen here: list the client's
// network, or have its port scrub all mail.
//
// A field that is not what it should be counts as unknown, and decides nothing; a
// hostile recipient must not stop the mail of a client. Without an address there is
// no client to hide, and the answer is NOTFOUND: mail of unknown origin keeps what it
// says of it. current is asked at each look-up.
func Received(current func() door.Snapshot) Map {
	return func(ctx context.Context, key string) Answer {
		now := current()
		if now.Policy == nil {
			return notLoaded
		}
		f, ok := parseReceived(key)
		if !ok {
			return Answer{Status: NotFound}
		}
		now.Lookups, now.Limits = nil, nil
		switch now.Policy.Visibility(f.client, f.auth, f.recipient, now.Answers(ctx, f.client, nil)) {
		case policy.ClientHidden:
			return Answer{OK, "SCRUB"}
		case policy.ClientShown:
			return Answer{Status: NotFound}
		}
		return grantUnknown
	}
}

// facts are what sendmail says about a client and a recipient; what it does not say is
// empty.
type facts struct {
	client policy.Connection
	auth   policy.Auth
	// recipient is nil before there is any.
	recipient *policy.Recipient
}

// parseReceived reads a key of the received map; ok is false if it does not say who the
// client is.
func parseReceived(key string) (f facts, ok bool) {
	var fields [8]string
	copy(fields[:], strings.SplitN(key, "/", len(fields)))
	if fields[0] != "0" { // a local submission
		if f.client.Addr, ok = access.ParseAddr(fields[0]); !ok {
			return facts{}, false
		}
	}
	if port, err := strconv.ParseUint(fields[1], 10, 16); err == nil {
		f.client.DaemonPort = uint16(port)
	}
	f.client.DaemonName, f.auth.Type = fields[2], fields[3]
	if resolve := policy.Resolve(strings.ToUpper(fields[4])); resolve.Known() {
		f.client.Resolve = resolve
	}
	f.client.Name = fields[6]
	if to := strings.TrimSuffix(strings.TrimPrefix(fields[7], "<"), ">"); to != "" {
		f.recipient = &policy.Recipient{To: to, Mailer: fields[5]}
	}
	return f, true
}
