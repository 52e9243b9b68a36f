package harness

import (
	"crypto/hmac"
	"crypto/md5"
	"encoding/base64"
	"encoding/hex"
	"fmt"

	"github.com/emersion/go-sasl"
)

// Auth logs in with PLAIN, LOGIN or CRAM-MD5 and returns the last reply.
func (c *Conn) Auth(mechanism, user, password string) (Reply, error) {
	user += "@" + Hostname // the realm that the users are in
	var client sasl.Client
	switch mechanism {
	case sasl.Plain:
		client = sasl.NewPlainClient("", user, password)
	case sasl.Login:
		client = sasl.NewLoginClient(user, password)
	case "CRAM-MD5":
		client = &cramMD5{user, password}
	default:
		return Reply{}, fmt.Errorf("auth: mechanism %q, expected PLAIN, LOGIN or CRAM-MD5", mechanism)
	}
	mechanism, initial, err := client.Start()
	if err != nil {
		return Reply{}, fmt.Errorf("auth %s: %w", mechanism, err)
	}
	line := "AUTH " + mechanism
	if initial != nil {
		line += " " + base64.StdEncoding.EncodeToString(initial)
	}
	for {
		reply, err := c.Command(line)
		if err != nil || reply.Code != 334 {
			return reply, err
		}
		challenge, err := base64.StdEncoding.DecodeString(reply.Lines[0])
		if err != nil {
			return reply, fmt.Errorf("auth %s: challenge %q: %w", mechanism, reply.Lines[0], err)
		}
		response, err := client.Next(challenge)
		if err != nil {
			return reply, fmt.Errorf("auth %s: challenge %q: %w", mechanism, challenge, err)
		}
		line = base64.StdEncoding.EncodeToString(response)
	}
}

// cramMD5 is the CRAM-MD5 mechanism (RFC 2195), which go-sasl has no client
// for.
type cramMD5 struct{ user, password string }

func (a *cramMD5) Start() (string, []byte, error) { return "CRAM-MD5", nil, nil }

func (a *cramMD5) Next(challenge []byte) ([]byte, error) {
	mac := hmac.New(md5.New, []byte(a.password))
	mac.Write(challenge)
	return []byte(a.user + " " + hex.EncodeToString(mac.Sum(nil))), nil
}
