package probe

import (
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"net/smtp"
	"slices"
	"strings"

	"github.com/emersion/go-sasl"
)

// mechanisms are the AUTH mechanisms that a server offers.
func mechanisms(c *conversation) []string {
	args, ok := c.extension("AUTH")
	if !ok {
		return []string{}
	}
	return strings.Fields(strings.ToUpper(shown(args)))
}

// newClient makes the client's half of a mechanism, nil for one that the probe does not
// speak.
func newClient(mechanism, user, password string) sasl.Client {
	switch mechanism {
	case sasl.Plain:
		return sasl.NewPlainClient("", user, password)
	case sasl.Login:
		return sasl.NewLoginClient(user, password)
	case "CRAM-MD5":
		return cramMD5{smtp.CRAMMD5Auth(user, password)}
	}
	return nil
}

// cramMD5 is the standard library's CRAM-MD5 (RFC 2195), which go-sasl has not.
type cramMD5 struct{ auth smtp.Auth }

var _ sasl.Client = cramMD5{}

// Start begins without an initial response: the server speaks first.
func (c cramMD5) Start() (string, []byte, error) {
	mechanism, initial, err := c.auth.Start(nil)
	return mechanism, initial, err
}

// Next answers the challenge.
func (c cramMD5) Next(challenge []byte) ([]byte, error) { return c.auth.Next(challenge, true) }

// maxChallenges bounds an exchange with a server that never comes to an end.
const maxChallenges = 8

// login authenticates (RFC 4954) and returns the last reply.
func (c *conversation) login(client sasl.Client) (Reply, error) {
	mechanism, response, err := client.Start()
	if err != nil {
		return Reply{}, err
	}
	line := "AUTH " + mechanism
	if response != nil {
		line += " " + base64.StdEncoding.EncodeToString(response)
	}
	for range maxChallenges {
		reply, err := c.command(line)
		if err != nil || reply.Code != 334 {
			return reply, err
		}
		challenge, err := base64.StdEncoding.DecodeString(reply.Text)
		if err != nil {
			return reply, fmt.Errorf("the challenge is no base64: %w", err)
		}
		if response, err = client.Next(challenge); err != nil {
			return reply, err
		}
		line = base64.StdEncoding.EncodeToString(response)
	}
	return Reply{}, errors.New("the server asks for ever more")
}

// secured is a connection that has come as far towards TLS as the server lets it.
func (e *examination) secured() (*conversation, error) {
	c, err := e.dial()
	if err != nil {
		return nil, err
	}
	if err = c.hello(); err == nil && c.tls == nil {
		if _, ok := c.extension("STARTTLS"); ok {
			err = c.startTLS()
		}
	}
	if err != nil {
		c.close()
		return nil, err
	}
	return c, nil
}

// wrongPassword tries to relay after an AUTH that fails.
func (e *examination) wrongPassword() error {
	c, err := e.secured()
	if err != nil {
		return err
	}
	defer func() { c.close() }()
	for _, mechanism := range mechanisms(c) {
		client := newClient(mechanism, "relay-probe", "wrong")
		if client == nil {
			continue
		}
		reply, err := c.login(client)
		if err != nil {
			return err
		}
		if outcomeOf(reply) == Accepted {
			e.report.leak("AUTH "+mechanism, "a user that there is not, with a wrong password, is let in", reply.String())
		}
		return e.matrix(&c, "after a wrong AUTH", forms[:1])
	}
	return nil
}

// rightPassword logs the administrator's user in by each mechanism that is offered, and
// names the foreign recipient.
func (e *examination) rightPassword() {
	offered := slices.Clone(e.report.Mechanisms.TLS)
	if len(offered) == 0 {
		offered = e.report.Mechanisms.Clear
	}
	if len(offered) == 0 {
		e.report.Logins = append(e.report.Logins, Login{Mechanism: "AUTH", Reply: "is not offered on this port"})
		return
	}
	for _, mechanism := range offered {
		if client := newClient(mechanism, e.o.User, e.o.Password); client != nil {
			e.report.Logins = append(e.report.Logins, e.relayAs(mechanism, client))
		}
	}
}

func (e *examination) relayAs(mechanism string, client sasl.Client) Login {
	l := Login{Mechanism: mechanism}
	if err := e.tryAs(client, &l); err != nil {
		l.Reply = shown(err.Error())
	}
	return l
}

// tryAs fills in what becomes of a login.
func (e *examination) tryAs(client sasl.Client, l *Login) error {
	if err := e.wait(); err != nil {
		return err
	}
	c, err := e.secured()
	if err != nil {
		return err
	}
	defer c.close()
	if why := e.exposed(c); why != "" {
		return errors.New("is not tried: " + why)
	}
	reply, err := c.login(client)
	if err != nil {
		return err
	}
	l.Reply = reply.String()
	if l.LoggedIn = reply.Code == 235; !l.LoggedIn {
		return nil
	}
	f := form{name: "plain", mail: "FROM:<" + e.sender() + ">", rcpt: plainRcpt}
	attempt := e.try(c, "after AUTH "+l.Mechanism, f.filled(e.o, e.own, e.addr))
	l.Relays, l.Reply = attempt.Outcome == Accepted, attempt.Reply
	return nil
}

// exposed says why the password must not be used: a host in between could have it, or
// with CRAM-MD5 try passwords until one fits. Such a host can have left STARTTLS out
// of the reply to EHLO, or have a certificate of its own.
func (e *examination) exposed(c *conversation) string {
	switch {
	case e.addr.IsLoopback():
		return ""
	case c.tls == nil:
		return "the password would be sent in clear text"
	case e.o.AnyCertificate:
		return ""
	}
	options := x509.VerifyOptions{DNSName: e.host, Roots: e.o.Roots, Intermediates: x509.NewCertPool()}
	for _, between := range c.tls.PeerCertificates[1:] {
		options.Intermediates.AddCert(between)
	}
	if _, err := c.tls.PeerCertificates[0].Verify(options); err != nil {
		return "the certificate does not show that this is " + e.host + " (" + err.Error() + "); with -any-certificate it is taken"
	}
	return ""
}

// sender is the envelope's sender of a user who has logged in.
func (e *examination) sender() string {
	if strings.Contains(e.o.User, "@") {
		return e.o.User
	}
	return e.o.User + "@" + e.own
}
