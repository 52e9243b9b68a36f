package maillog

import (
	"regexp"
	"strings"
)

// nobody is the user that anonymous clients are to UW and Cyrus; UW's POP server does not
// say how they logged in. No person has this account.
const nobody = "nobody"

// dovecotTail is what Dovecot writes behind the name, in the order and with the
// elements of the default login_log_format_elements; other elements may come from
// the client. The name itself cannot be told from these elsewhere in a line, so they
// are matched up to its end.
var dovecotTail = regexp.MustCompile(`^method=([A-Z0-9_-]+), rip=([0-9A-Fa-f:.]+)` +
	`(?:, (?:lip=[0-9A-Fa-f:.]+|mpid=[0-9]+|secured|trusted|TLS|TLSv[0-9.]+ with cipher [A-Za-z0-9_-]+ \([0-9]+/[0-9]+ bits\)|session=<[A-Za-z0-9+/=]*>))*$`)

// dovecotProxied is a login that Dovecot handed on to another server, from 1.1
// (proxy(shin): started proxying to host:143/other (master admin)) over 2.3
// (proxy(shin,192.0.2.1:143): Started proxying to <192.0.2.1> (0.049 secs)) on. A failed
// login logs the client's name behind "proxy(" too: see parseDovecot.
var dovecotProxied = regexp.MustCompile(`^proxy\(([^\s(),:<>]+)(?:,[^\s()<>]+)?\): [Ss]tarted proxying to <?[^\s<>]+>?(?: \(<[^\s<>]+>\))?` +
	`(?: from [^\s()<>]+)?(?: as user [^\s()<>]+)?(?: \(master [^\s()<>]+\))?(?: \([^()<>]+\))?: user=<`)

// maxProxied bounds what stands before the name of a proxied login, so that with the name
// twice in it no line can be cut where the client wants it.
const maxProxied = 200

// parseDovecot reads Dovecot's lines, of 2.3 (Login:) and 2.4 (Logged in:), in
// syslog and in a file of its own, where the process stands right behind the time; in
// that of 1.x the program and the level stand before it.
// The submission and ManageSieve servers do not count: neither reads mail.
func parseDovecot(line string) (Login, bool) {
	m, ok := parseLine(strings.TrimPrefix(line, "dovecot: "), "dovecot")
	if !ok {
		return Login{}, false
	}
	text, ok := cutAnyPrefix(strings.TrimPrefix(m.text, "Info: "), "imap-login: ", "pop3-login: ")
	if !ok {
		return Login{}, false
	}
	text = strings.TrimPrefix(text, "Info: ")
	proxied := ""
	if p := dovecotProxied.FindStringSubmatch(text); p != nil && len(p[0]) <= maxProxied {
		proxied, text = p[1], text[len(p[0]):]
	} else if text, ok = cutAnyPrefix(text, "Login: user=<", "Logged in: user=<"); !ok {
		return Login{}, false
	}
	user, tail, ok := strings.Cut(text, ">, ")
	t := dovecotTail.FindStringSubmatch(tail)
	// What a client made of "proxy(NAME)" does not end like the name in user=<NAME>.
	if !ok || t == nil || isAnonymous(t[1]) || proxied != "" && proxied != user {
		return Login{}, false
	}
	return userLogin(user, t[2])
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
var qpopperOwn = regexp.MustCompile(`^(?:[0-9]{4} )?\[(?:[0-9]{1,10}|popper)\]  ?`)

// qpopperLogin has the name from the client and the host name from its reverse DNS,
// neither with room for the quote or parenthesis that ends it, and, where Qpopper was
// built so, the place in its source.
var qpopperLogin = regexp.MustCompile(`^\(v[A-Za-z0-9._-]+\) POP login by user "([^"]+)" at \([][A-Za-z0-9._:-]*\) ([0-9A-Fa-f:.]+)(?: \[[a-z0-9_]+\.c:[0-9]+\])?$`)

// qpopperStats is what Qpopper logs with -s when it leaves the state of a session that
// has logged in (RFC 1939 section 6): the user, four numbers, and where the client is.
var qpopperStats = regexp.MustCompile(`^Stats: +(\S+) [0-9]{1,19} [0-9]{1,19} [0-9]{1,19} [0-9]{1,19} (?:[][A-Za-z0-9._:-]{1,255} )?([0-9A-Fa-f:.]+)(?: \[[a-z0-9_]+\.c:[0-9]+\])?$`)

func parseQpopper(line string) (Login, bool) {
	m, ok := parseLine(line, "popper", "in.popper", "qpopper", "in.qpopper", "qpopperd", "spopper")
	if !ok {
		return Login{}, false
	}
	if m.program == "" && line[0] != '@' {
		own := qpopperOwn.FindString(m.text)
		if own == "" {
			return Login{}, false
		}
		m.text = m.text[len(own):]
	}
	login := qpopperLogin.FindStringSubmatch(m.text)
	if login == nil {
		login = qpopperStats.FindStringSubmatch(m.text)
	}
	if login == nil {
		return Login{}, false
	}
	return userLogin(login[1], login[2])
}

// uwLogin has the name from the client and the host name from its reverse DNS;
// neither may have white space. Accounts have none, and a name with " host=" in it
// could move the address. "Auth" without a mailbox, "Login failed" and the like have
// something else at these places.
var uwLogin = regexp.MustCompile(`^(?:Login|Auth|APOP|Authenticated) user=(\S+) host=(?:[A-Za-z0-9._-]+ )?\[([0-9A-Fa-f:.]+)\](?: nmsgs=[0-9]+/[0-9]+| mech=([A-Za-z0-9_-]+))?$`)

func parseUW(line string) (Login, bool) {
	msg, ok := syslogMessage(line, "ipop2d", "ipop3d", "ipop3sd", "imapd", "imapsd")
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
var cyrusLogin = regexp.MustCompile(`^login: (?:[A-Za-z0-9._-]+ ?)?\[([0-9A-Fa-f:.]+)\] (\S+) ([A-Za-z0-9_-]+)(?:\+TLS)?(?: User logged in)?(?: SESSIONID=<[^<>\s]*>)? ?$`)

func parseCyrus(line string) (Login, bool) {
	msg, ok := syslogMessage(line, "pop3", "pop3s", "pop3d", "imap", "imaps", "imapd", "proxyd", "pop3proxyd")
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

// courierPrograms are the names of Courier's servers and of what they log by, in all
// its releases and packages.
var courierPrograms = []string{
	"pop3d", "pop3d-ssl", "pop3login", "imapd", "imapd-ssl", "imaplogin",
	"courierpop3d", "courierpop3d-ssl", "courierpop3login", "courierimapd", "courierimapd-ssl", "courierimaplogin",
	"courier-pop3d", "courier-pop3d-ssl", "courier-imapd", "courier-imapd-ssl",
}

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
		msg, ok := syslogMessage(line, courierPrograms...)
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
