package harness

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// ReadScene reads the set-up that a group of dialogues shares from a
// directory:
//
//	milterd.yaml        milterd's configuration
//	access              milterd's access table
//	senders             addresses of logins (checks.sender_login.file)
//	sendmail.mc         lines for the end of the stock sendmail.mc
//	include.mc          lines for both doors, see Options.Include
//	sendmail-access     sendmail's own access table
//	local-host-names    class w
//	relay-domains       class R
//	mailboxes           users of the host, a name a line
//	users               SASL users, a name and a password a line
//	dns                 DNS records and faults that all of them need
//
// Only milterd.yaml has to be there. In mailboxes, users and dns, lines that
// begin with # or ; are comments.
func ReadScene(dir string) (Options, error) {
	texts := make(map[string]string)
	for _, name := range []string{
		"milterd.yaml", "access", "senders", "sendmail.mc", "include.mc", "sendmail-access", "local-host-names", "relay-domains", "mailboxes", "users", "dns",
	} {
		text, err := os.ReadFile(filepath.Join(dir, name))
		if errors.Is(err, os.ErrNotExist) && name != "milterd.yaml" {
			continue
		}
		if err != nil {
			return Options{}, fmt.Errorf("read scene: %w", err)
		}
		texts[name] = string(text)
	}
	o := Options{
		Config:         texts["milterd.yaml"],
		Files:          map[string]string{"access": texts["access"]},
		MC:             texts["sendmail.mc"],
		Include:        texts["include.mc"],
		Access:         texts["sendmail-access"],
		LocalHostNames: texts["local-host-names"],
		RelayDomains:   texts["relay-domains"],
		DNS:            contentLines(texts["dns"]),
		Mailboxes:      contentLines(texts["mailboxes"]),
		Users:          make(map[string]string),
	}
	if text, ok := texts["senders"]; ok {
		o.Files["senders"] = text
	}
	for i, line := range contentLines(texts["users"]) {
		fields := strings.Fields(line)
		if len(fields) != 2 {
			return Options{}, fmt.Errorf("%s: user %d is %q, expected a name and a password", filepath.Join(dir, "users"), i+1, line)
		}
		o.Users[fields[0]] = fields[1]
	}
	return o, nil
}

// contentLines are the lines of a text that are not empty and no comments.
func contentLines(text string) []string {
	var lines []string
	for _, line := range strings.Split(text, "\n") {
		line = strings.TrimSpace(line)
		if line != "" && !strings.HasPrefix(line, "#") && !strings.HasPrefix(line, ";") {
			lines = append(lines, line)
		}
	}
	return lines
}

// AddDNS adds the records that dialogues need. A record that several of them
// name is there once.
func (o *Options) AddDNS(dialogues ...*Dialogue) {
	have := make(map[string]bool)
	for _, line := range o.DNS {
		have[line] = true
	}
	for _, d := range dialogues {
		for _, line := range d.DNS {
			if !have[line] {
				have[line] = true
				o.DNS = append(o.DNS, line)
			}
		}
	}
}
