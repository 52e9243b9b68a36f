package socketmap

import (
	"errors"
	"net/netip"
	"strconv"
	"strings"

	"milterd/milter/door"
	"milterd/policy"
	"milterd/policy/access"
)

// separator is what $| becomes in a key. No client can send it: sendmail refuses 8-bit
// characters in addresses and HELO names, and writes \377 before one in a macro.
const separator = "\x9b"

// The fields of a question, in their order; the package comment says what they are.
const (
	fieldVersion = iota
	fieldQueueID
	fieldAddr
	fieldResolve
	fieldDaemonPort
	fieldDaemonName
	fieldAuthType
	fieldAuthen
	fieldTLSVersion
	fieldVerify
	fieldMailer
	fieldHost
	fieldName
	fieldPTR
	fieldIssuer
	fieldSubject
	fieldHelo
	fieldSender
	fieldRecipient
	fieldEnd
	fieldCount
)

// questionVersion and questionEnd are the first and the last field.
const (
	questionVersion = "1"
	questionEnd     = "END"
)

// maxQuestion is how long a question may be. sendmail cuts keys at 1023 octets, so that
// a longer one has no end.
const maxQuestion = 1023

type question struct {
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
	f := strings.Split(key, separator)
	switch {
	case f[fieldVersion] != questionVersion:
		return q, errors.New("the question is not one that this version knows")
	case f[len(f)-1] != questionEnd:
		return q, errors.New("the question was cut off")
	case len(f) != fieldCount:
		return q, errors.New("the question has " + strconv.Itoa(len(f)) + " fields, expected " + strconv.Itoa(fieldCount))
	case strings.ContainsFunc(key, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }):
		return q, errors.New("the question holds a control character")
	}
	if q.client, err = clientOfQuestion(f); err != nil {
		return question{}, err
	}
	q.queueID, q.helo = f[fieldQueueID], f[fieldHelo]
	if version := f[fieldTLSVersion]; version != "" {
		q.tls = policy.TLS{Version: version, Verify: f[fieldVerify], CertIssuer: f[fieldIssuer], CertSubject: f[fieldSubject]}
	}
	q.auth = policy.Auth{Type: f[fieldAuthType], Authen: f[fieldAuthen]}
	q.mail = policy.Mail{From: bare(f[fieldSender])}
	q.recipient = policy.Recipient{To: bare(f[fieldRecipient]), Mailer: f[fieldMailer], Host: f[fieldHost]}
	return q, nil
}

// whoseQuestion is the message and the client that a question is about, as far as it says.
// They stand at its beginning, and no client can choose them.
func whoseQuestion(key string) (queueID string, client netip.Addr) {
	f := strings.SplitN(key, separator, fieldAddr+2)
	if len(f) < fieldAddr+2 {
		return "", netip.Addr{}
	}
	client, _ = access.ParseAddr(f[fieldAddr])
	return shown(f[fieldQueueID]), client
}

// clientOfQuestion reads what is known of the connection. A local submission has the
// address 0; it may relay, so nothing else is taken for one.
func clientOfQuestion(f []string) (c policy.Connection, err error) {
	if f[fieldAddr] != "0" {
		var ok bool
		if c.Addr, ok = access.ParseAddr(f[fieldAddr]); !ok {
			return c, errors.New("the question does not say who the client is")
		}
	}
	if c.Resolve = policy.Resolve(f[fieldResolve]); c.Resolve != "" && !c.Resolve.Known() {
		return c, errors.New("the question says of the client's name what is not known")
	}
	if port := f[fieldDaemonPort]; port != "" {
		n, err := strconv.ParseUint(port, 10, 16)
		if err != nil {
			return c, errors.New("the question names a port that is no number")
		}
		c.DaemonPort = uint16(n)
	}
	c.DaemonName, c.Name, c.PTR = f[fieldDaemonName], f[fieldName], f[fieldPTR]
	return c, nil
}

// bare is an address without the angle brackets around it.
func bare(address string) string {
	if inner, ok := strings.CutPrefix(address, "<"); ok {
		if inner, ok = strings.CutSuffix(inner, ">"); ok {
			return inner
		}
	}
	return address
}
