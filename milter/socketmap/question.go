package socketmap

import (
	"cmp"
	"errors"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"milterd/milter/door"
	"milterd/policy"
	"milterd/policy/access"
)

// separator is what $| becomes in a key. No client can send it: sendmail refuses 8-bit
// characters in addresses and HELO names, and writes \377 before one in a macro.
const separator = "\x9b"

// The first and the last field. A sendmail.cf that was made with an older milterd.m4 asks
// in a version before.
const (
	questionVersion  = "3"
	questionVersion2 = "2" // without the domain that sendmail judges
	questionVersion1 = "1" // that, and it knows no TRUSTED
	questionEnd      = "END"
)

// maxQuestion is how long a question may be. sendmail cuts keys at 1023 octets, so that
// a longer one has no end.
const maxQuestion = 1023

type question struct {
	version   string
	queueID   string
	client    policy.Connection
	helo      string
	tls       policy.TLS
	auth      policy.Auth
	mail      policy.Mail
	recipient policy.Recipient
}

// line is what the log says of a question, but for its answer.
func (q *question) line() door.Line {
	return door.Line{
		Door: "map", Stage: policy.StageRcpt, Queue: q.queueID, Client: q.client, Helo: q.helo, Auth: q.auth,
		From: door.SenderText(q.mail.From), To: q.recipient.To,
	}
}

// parseQuestion reads a key of the map milterd. It takes nothing that could be read in
// two ways: what a client has a hand in must not be able to stand for another field.
func parseQuestion(key string) (q question, err error) {
	if len(key) > maxQuestion {
		return q, errors.New("the question is too long")
	}
	// The package comment says what the fields are.
	var addr, resolve, port, sender, recipient, end string
	var tls policy.TLS
	fields := [...]*string{
		&q.version, &q.queueID, &addr, &resolve, &port, &q.client.DaemonName, &q.auth.Type, &q.auth.Authen,
		&tls.Version, &tls.Verify, &q.recipient.Mailer, &q.recipient.Host, &q.client.Name, &q.client.PTR,
		&tls.CertIssuer, &tls.CertSubject, &q.helo, &sender, &recipient, &q.recipient.Domain, &end,
	}
	f := strings.Split(key, separator)
	switch f[0] {
	case questionVersion:
	case questionVersion1, questionVersion2:
		f = slices.Insert(f, len(f)-1, "")
	default:
		return question{}, errors.New("the question is not one that this version knows")
	}
	switch {
	case f[len(f)-1] != questionEnd:
		return question{}, errors.New("the question was cut off")
	case len(f) != len(fields):
		return question{}, errors.New("the question has " + strconv.Itoa(len(f)) + " fields, expected " + strconv.Itoa(len(fields)))
	case strings.ContainsFunc(key, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }):
		return question{}, errors.New("the question holds a control character")
	}
	for i, to := range fields {
		*to = f[i]
	}
	if err := knowClient(&q.client, addr, resolve, port); err != nil {
		return question{}, err
	}
	if tls.Version != "" {
		q.tls = tls
	}
	q.mail.From, q.recipient.To = bare(sender), bare(recipient)
	if r := &q.recipient; q.version == questionVersion && r.Domain == "" {
		r.Domain = cmp.Or(r.To[strings.LastIndexByte(r.To, '@')+1:], ".")
		if strings.HasPrefix(access.Fold(r.Domain), "localhost") {
			r.To += "." // as it was: without a dot sendmail has its own name in its place
		}
	}
	return q, nil
}

// whoseQuestion is the message and the client that a question is about, as far as it says.
// They stand at its beginning, and no client can choose them.
func whoseQuestion(key string) (queueID string, client netip.Addr) {
	f := strings.SplitN(key, separator, 4) // behind the version
	if len(f) < 4 {
		return "", netip.Addr{}
	}
	client, _ = access.ParseAddr(f[2])
	return shown(f[1]), client
}

// knowClient reads what is known of the connection. A local submission has the address 0; it
// may relay, so nothing else is taken for one.
func knowClient(c *policy.Connection, addr, resolve, port string) error {
	if addr != "0" {
		var ok bool
		if c.Addr, ok = access.ParseAddr(addr); !ok {
			return errors.New("the question does not say who the client is")
		}
	}
	if c.Resolve = policy.Resolve(resolve); resolve != "" && !c.Resolve.Known() {
		return errors.New("the question says of the client's name what is not known")
	}
	if port != "" {
		n, err := strconv.ParseUint(port, 10, 16)
		if err != nil {
			return errors.New("the question names a port that is no number")
		}
		c.DaemonPort = uint16(n)
	}
	return nil
}

func bare(address string) string {
	if inner, ok := strings.CutPrefix(address, "<"); ok {
		if inner, ok = strings.CutSuffix(inner, ">"); ok {
			return inner
		}
	}
	return address
}
