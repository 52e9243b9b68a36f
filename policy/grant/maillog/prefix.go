package maillog

import (
	"encoding/binary"
	"encoding/hex"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// The times at the beginning of a line, as syslog daemons, journalctl, multilog and
// svlogd write them, and servers with a file of their own.
const (
	clockTime = `[0-9]{2}:[0-9]{2}:[0-9]{2}(?:[.,][0-9]{1,9})?`
	// syslogTime is RFC 3164's, without a year; Qpopper of old has a weekday before it.
	syslogTime = `(?:[A-Z][a-z]{2} )?[A-Z][a-z]{2} [ 0-9][0-9] ` + clockTime
	// isoTime has a zone or not; journalctl -o short-full has a weekday and a zone's name.
	isoTime = `(?:[A-Z][a-z]{2} )?[0-9]{4}-[0-9]{2}-[0-9]{2}[T _]` + clockTime + `(?:Z|[+-][0-9]{2}:?[0-9]{2}| [A-Z]{3,5})?`
	// tai64n is that of multilog (https://cr.yp.to/daemontools/tai64n.html).
	tai64n   = `@[0-9a-f]{24}`
	unixTime = `[0-9]{10}\.[0-9]{1,9}`
)

// timestamp is the time at the beginning of a line. <PRI>1 before it is RFC 5424's header.
var timestamp = regexp.MustCompile(`^(<[0-9]{1,3}>1 )?(` + syslogTime + `|` + isoTime + `|` + tai64n + `|` + unixTime + `)  ?`)

// priority is a message's facility and level, as FreeBSD, Solaris, AIX and busybox write
// them.
const priority = `(?:kern|user|mail|daemon|auth|security|syslog|lpr|news|uucp|cron|authpriv|ftp|console|local[0-7])[.:](?:emerg|alert|crit|err|error|warn|warning|notice|info|debug)`

// origin is where a message of RFC 3164 comes from: host, program with an optional
// directory (cyrus/imaps, /usr/sbin/in.qpopper), process. What ends in a colon is no
// host but the tag of a message without one, and what follows that is its text. FreeBSD
// has <mail.info> before it, busybox and AIX have the priority in it, Solaris has [ID
// 123456 mail.info] behind it.
var origin = regexp.MustCompile(`^(?:<(?:` + priority + `|[0-9]{1,2}\.[0-9])> )?` +
	`([A-Za-z0-9._:/@-]{0,254}[A-Za-z0-9._-]) (?:` + priority + ` )?` +
	`([A-Za-z0-9._/-]{0,64}/)?([A-Za-z0-9._-]{1,64})(?:\[[0-9]{1,10}\])?(?: <[A-Z][a-z]+>)?: ` +
	`(?:\[ID [0-9]{1,10} ` + priority + `\] )?`)

// origin5424 is RFC 5424's: host, program, process, kind of message, structured data.
var origin5424 = regexp.MustCompile(`^([!-~]{1,255}) ([A-Za-z0-9._/-]{0,64}/)?([A-Za-z0-9._-]{1,48}) [!-~]{1,128} [!-~]{1,32} ` +
	`(?:-|(?:\[[!-~]{1,32}(?: [!-~]{1,32}="(?:[^"\\\]]|\\.)*")*\])+) (?:\x{FEFF})?`)

// message is a line taken apart.
type message struct {
	// host and program are empty if the line has none, in a server's own file.
	host, program, text string
}

// parseLine reads a line: of syslog if it is from one of the programs, or of a server's
// own file, which has no origin.
func parseLine(line string, programs ...string) (message, bool) {
	head := timestamp.FindStringSubmatch(line)
	if head == nil {
		return message{}, false
	}
	rest, from := line[len(head[0]):], origin
	if head[1] != "" {
		from = origin5424
	}
	switch m := from.FindStringSubmatch(rest); {
	case m != nil && slices.Contains(programs, m[3]):
		return message{host: m[1], program: m[3], text: rest[len(m[0]):]}, true
	case head[1] != "":
		return message{}, false
	}
	return message{text: rest}, true
}

// syslogMessage reads a line of one of the programs that has an origin, or one of
// multilog's, whose files hold one program's lines.
func syslogMessage(line string, programs ...string) (message, bool) {
	m, ok := parseLine(line, programs...)
	return m, ok && (m.program != "" || line[0] == '@')
}

// timeOf is the time at the beginning of a line, if there is one. What it leaves open, the
// year or the zone, is such that the time is as near to now as can be; a time without a
// zone is local.
func timeOf(line string, now time.Time) (time.Time, bool) {
	head := timestamp.FindStringSubmatch(line)
	if head == nil {
		return time.Time{}, false
	}
	text := strings.Replace(head[2], ",", ".", 1)
	switch {
	case text[0] == '@':
		return taiTime(text[1:])
	case weekday.MatchString(text):
		text = text[4:]
	}
	switch {
	case text[0] >= 'A':
		return syslogTimeOf(text, line[len(head[1])+len(head[2]):], now)
	case text[4] == '-':
		return isoTimeOf(text, now)
	}
	seconds, err := strconv.ParseFloat(text, 64)
	return time.UnixMicro(int64(seconds * 1e6)), err == nil
}

// taiTime reads a TAI64N label as daemontools writes it, which counts no leap seconds.
func taiTime(digits string) (time.Time, bool) {
	const epoch = 1<<62 + 10
	label, err := hex.DecodeString(digits)
	if err != nil {
		return time.Time{}, false
	}
	seconds := binary.BigEndian.Uint64(label) - epoch
	return time.Unix(int64(seconds), int64(binary.BigEndian.Uint32(label[8:]))), seconds < 1<<40
}

func isoTimeOf(text string, now time.Time) (time.Time, bool) {
	const layout = "2006-01-02T15:04:05"
	text = text[:10] + "T" + text[11:]
	for _, zone := range []string{"Z07:00", "Z0700"} {
		if t, err := time.Parse(layout+zone, text); err == nil {
			return t, true
		}
	}
	wall, zone, _ := strings.Cut(text, " ")
	t, err := time.Parse(layout, wall)
	if zone == "UTC" || zone == "GMT" {
		return t, err == nil
	}
	return nearest(t, now), err == nil
}

// weekday stands before a month or a year.
var weekday = regexp.MustCompile(`^[A-Z][a-z]{2} (?:[A-Z]|[0-9]{4}-)`)

// ownYear is the year that Qpopper writes behind the time in a file of its own.
var ownYear = regexp.MustCompile(`^ (?:19|20)[0-9]{2} \[`)

func syslogTimeOf(text, rest string, now time.Time) (time.Time, bool) {
	years := []int{now.Year() - 1, now.Year(), now.Year() + 1}
	if ownYear.MatchString(rest) {
		year, _ := strconv.Atoi(rest[1:5])
		years = []int{year}
	}
	var best time.Time
	for _, year := range years {
		// The year first: 29 February is not in every year.
		wall, err := time.Parse("2006 Jan _2 15:04:05", strconv.Itoa(year)+" "+text)
		if err != nil {
			continue
		}
		if t := nearest(wall, now); best.IsZero() || now.Sub(t).Abs() < now.Sub(best).Abs() {
			best = t
		}
	}
	return best, !best.IsZero()
}

// nearest is a local time as a clock on the wall shows it. One hour a year has every time twice: then the one is meant
// that is nearer to now.
func nearest(wall, now time.Time) time.Time {
	best := time.Date(wall.Year(), wall.Month(), wall.Day(), wall.Hour(), wall.Minute(), wall.Second(), wall.Nanosecond(), now.Location())
	for _, shift := range []time.Duration{-time.Hour, time.Hour} {
		t := best.Add(shift)
		if t.Hour() == best.Hour() && t.Minute() == best.Minute() && now.Sub(t).Abs() < now.Sub(best).Abs() {
			best = t
		}
	}
	return best
}
