package maillog

import (
	"regexp"
	"strings"
)

// nobody is whom UW and Cyrus let anonymous clients be, UW's POP server without a
// word of how they logged in. No person has this account.
const nobody = "nobody"

// dovecotTail is what Dovecot writes behind the name, in the order and with the
// elements of the default login_log_format_elements; other elements may come from
// the client. The name itself cannot be told from these elsewhere in a line, so they
// are matched up to its end.
var dovecotTail = regexp.MustCompile(`^method=([A-Z0-9_-]+), rip=([0-9A-Fa-f:.]+)` +
	`(?:, (?:lip=[0-9A-Fa-f:.]+|mpid=[0-9]+|secured|TLS|TLSv[0-9.]+ with cipher [A-Za-z0-9_-]+ \([0-9]+/[0-9]+ bits\)|session=<[A-Za-z0-9+/=]*>))*$`)

// parseDovecot reads Dovecot's lines, of 2.3 (Login:) and 2.4 (Logged in:), in
// syslog and in a file of its own, where the process stands right behind the time.
// The submission and ManageSieve servers do not count: neither reads mail.
func parseDovecot(line string) (Login, bool) {
	text, ok := cutTimestamp(line)
	if !ok {
		return Login{}, false
	}
	if m, ok := cutOrigin(text, "dovecot"); ok {
		text = m.text
	}
	text, ok = cutAnyPrefix(text, "imap-login: ", "pop3-login: ")
	if !ok {
		return Login{}, false
	}
	text = strings.TrimPrefix(text, "Info: ")
	text, ok = cutAnyPrefix(text, "Login: user=<", "Logged in: user=<")
	if !ok {
		return Login{}, false
	}
	user, tail, ok := strings.Cut(text, ">, ")
	m := dovecotTail.FindStringSubmatch(tail)
	if !ok || m == nil || isAnonymous(m[1]) {
		return Login{}, false
	}
	return userLogin(user, m[2])
}

func cutAnyPrefix(text string, prefixes ...string) (rest string, ok bool) {
	for _, prefix := range prefixes {
		if rest, ok := strings.CutPrefix(text, prefix); ok {
			return rest, true
		}
	}
	return text, false
}

// qpopperOwn is what stands between the time and the message in Qpopper's own log
// file: an optional year, and its process or name.
var qpopperOwn = regexp.MustCompile(`^(?:[0-9]{4} )?\[(?:[0-9]{1,10}|popper)\] `)

// qpopperLogin has the name from the client and the host name from its reverse DNS,
// neither with room for the quote or parenthesis that ends it, and, where Qpopper was
// built so, the place in its source.
var qpopperLogin = regexp.MustCompile(`^\(v[A-Za-z0-9._-]+\) POP login by user "([^"]+)" at \([][A-Za-z0-9._:-]*\) ([0-9A-Fa-f:.]+)(?: \[[a-z0-9_]+\.c:[0-9]+\])?$`)

func parseQpopper(line string) (Login, bool) {
	text, ok := cutTimestamp(line)
	if !ok {
		return Login{}, false
	}
	if m, ok := cutOrigin(text, "popper", "in.popper", "qpopper", "in.qpopper"); ok {
		text = m.text
	} else if own := qpopperOwn.FindString(text); own != "" {
		text = text[len(own):]
	} else {
		return Login{}, false
	}
	m := qpopperLogin.FindStringSubmatch(text)
	if m == nil {
		return Login{}, false
	}
	return userLogin(m[1], m[2])
}

// uwLogin has the name from the client and the host name from its reverse DNS;
// neither may have white space. Accounts have none, and a name with " host=" in it
// could move the address. "Auth" without a mailbox, "Login failed" and the like have
// something else at these places.
var uwLogin = regexp.MustCompile(`^(?:Login|Auth|APOP|Authenticated) user=(\S+) host=(?:[A-Za-z0-9._-]+ )?\[([0-9A-Fa-f:.]+)\](?: nmsgs=[0-9]+/[0-9]+| mech=([A-Za-z0-9_-]+))?$`)

func parseUW(line string) (Login, bool) {
	msg, ok := syslogMessage(line, "ipop3d", "ipop3sd", "imapd", "imapsd")
	if !ok {
		return Login{}, false
	}
	m := uwLogin.FindStringSubmatch(msg.text)
	if m == nil || m[1] == nobody || isAnonymous(m[3]) {
		return Login{}, false
	}
	return userLogin(m[1], m[2])
}

// cyrusLogin has the address before the name, so only the host name, from the
// client's reverse DNS, could move it; it may have no white space. Nor may the name,
// which could then be another address's. A plain text login without a password
// (nopassword, for servers that trust their network) proves nothing.
var cyrusLogin = regexp.MustCompile(`^login: (?:[A-Za-z0-9._-]+ )?\[([0-9A-Fa-f:.]+)\] (\S+) ([A-Za-z0-9_-]+)(?:\+TLS)?(?: User logged in)?(?: SESSIONID=<[^<>\s]*>)? ?$`)

func parseCyrus(line string) (Login, bool) {
	msg, ok := syslogMessage(line, "pop3", "pop3s", "pop3d", "imap", "imaps", "imapd")
	if !ok {
		return Login{}, false
	}
	m := cyrusLogin.FindStringSubmatch(msg.text)
	if m == nil || m[3] == "nopassword" || m[2] == nobody || isAnonymous(m[3]) {
		return Login{}, false
	}
	return userLogin(m[2], m[1])
}

// courierLogin has the name from the client, and behind it only what Courier wrote.
// courierlogger takes INFO: off.
var courierLogin = regexp.MustCompile(`^(?:INFO: )?LOGIN, user=(.+?), ip=\[([0-9A-Fa-f:.]+)\](?:, port=\[[0-9]*\])?(?:, protocol=[A-Z0-9]+)?(?:, stls=1)?$`)

const (
	// courierCut is the length from which a message of courierlogger may be one half:
	// it cuts after 511 octets, of which it takes off up to eight (NOTICE: ).
	courierCut = 500
	// maxCut bounds how many loggers with half a message are told apart.
	maxCut = 1024
)

// newCourierParser reads Courier's lines. A login that fails logs the name that the
// client gave, however long it is, so without a memory the second half of such a line
// would be whatever a client without any password wants it to be.
func newCourierParser() Parser {
	cut := make(map[[2]string]struct{})
	return func(line string) (Login, bool) {
		msg, ok := syslogMessage(line, "pop3d", "pop3d-ssl", "imapd", "imapd-ssl",
			"pop3login", "imaplogin", "courierpop3login", "courierpop3d")
		if !ok {
			return Login{}, false
		}
		logger := [2]string{msg.host, msg.program}
		_, rest := cut[logger]
		if len(msg.text) < courierCut {
			delete(cut, logger)
		} else if len(cut) < maxCut {
			cut[logger] = struct{}{}
		}
		// With that many loggers of halves none is trusted.
		if rest || len(cut) >= maxCut {
			return Login{}, false
		}
		m := courierLogin.FindStringSubmatch(msg.text)
		if m == nil || strings.Contains(m[1], ", ip=[") {
			return Login{}, false
		}
		return userLogin(m[1], m[2])
	}
}
