package header

import "strings"

// dateWord is what a word behind the semicolon of a Received field may be.
type dateWord uint8

const (
	dateTime   dateWord = 1 << iota // a time of day
	dateNumber                      // of a day or a year, or a whole date in numbers
	dateName                        // of a day or month
	dateZone                        // a time zone
	dateOdd                         // nothing that is certainly part of a date
)

// maxDateWords bounds the words of a date, with those among them that are none.
const maxDateWords = 24

// isDate reports whether tokens are a date, in whatever order and language: a day
// and a time, and words that are neither. One of both alone has to be all there is.
func isDate(tokens []token) bool {
	words, all := 0, dateWord(0)
	for _, t := range tokens {
		if t.kind == kindWord {
			words++
			all |= dateWordOf(t.text)
		}
	}
	timed, day := all&dateTime != 0, all&dateNumber != 0 && all&dateName != 0
	if all&dateOdd == 0 {
		return words <= maxDateWords && (timed || day)
	}
	return words <= maxDateWords && timed && all&(dateNumber|dateName) != 0
}

// dateWordOf says what a word may be; one with commas in it is several.
func dateWordOf(word string) dateWord {
	var all dateWord
	for part := range strings.SplitSeq(word, ",") {
		if part != "" {
			all |= datePartOf(part)
		}
	}
	return all
}

func datePartOf(word string) dateWord {
	switch {
	case isNumber(word, 4):
		return dateNumber
	case isDateName(word):
		return dateName
	case isTime(word):
		return dateTime
	case isZone(word), isParticle(word), isClockReading(word):
		return dateZone
	case isTimestamp(word):
		return dateTime | dateNumber
	case isDay(word):
		return dateNumber | dateName
	case isOrdinal(word):
		return dateNumber
	}
	return dateOdd
}

// dateTokens returns what stays of a date and its comments: all words if there is
// nothing to hide, else those that can be nothing but a part of a date.
func (w *writer) dateTokens() []token {
	stays := make([]token, 0, len(w.date))
	var keep []bool
	if w.client {
		keep = dateWords(w.date, w.traces)
	}
	for i, t := range w.date {
		switch {
		case t.kind == kindComment && !w.keepsDateComment(t), t.kind == kindWord && keep != nil && !keep[i]:
		default:
			stays = append(stays, t)
		}
	}
	return stays
}

// keepsDateComment says whether a comment behind the date stays: the name of a
// time zone, the envelope's sender.
func (w *writer) keepsDateComment(t token) bool {
	text := lower(inside(t.text))
	switch {
	case isZoneName(text):
		return !w.hides(text)
	case t.about == aboutTLS:
		return !w.with && w.sound(t)
	case t.about == aboutEnvelope:
		return !w.hides(text) && w.sound(t)
	case t.about == aboutUnknown || t.about == aboutBoth:
		return !w.version && !w.client && !(w.with && mentionsTLS(text))
	}
	return !w.client
}

// isZoneName reports whether text, in lower case, is the name of a time zone:
// "cest", "gmt+01:00", "met dst", "pacific standard time".
func isZoneName(text string) bool {
	name, long := strings.CutSuffix(text, " time")
	for _, season := range []string{" dst", "sommerzeit", "normalzeit"} {
		long = long || strings.HasSuffix(name, season)
	}
	for _, r := range name {
		if letter := r >= 'a' && r <= 'z' || r >= 0x80; !letter && (!long || r != ' ' && r != '.') {
			return isZone(strings.ToUpper(text))
		}
	}
	return name != "" && !isHostName(name) && (long && len(name) <= 40 || len(name) <= 5)
}

// dateWords says which tokens of a date stay if the client is not to be told. A
// name that is not known is taken for that of a day or month in some language if it
// looks like one and stands where one is missing: a short word before the time,
// that is none of the client's. Comments are not looked at.
func dateWords(date []token, client *traces) []bool {
	keep := make([]bool, len(date))
	names, last := 0, -1 // of the names that are known, and the place of the time
	for i, t := range date {
		if t.kind != kindWord {
			continue
		}
		what := dateWordOf(t.text)
		switch {
		case what&dateOdd != 0:
			continue
		case what == dateZone:
			keep[i] = isKnownZone(t.text) || !client.named(lower(t.text))
			continue
		case what&dateName != 0:
			names++
		}
		keep[i] = true
		if last < 0 && what&dateTime != 0 {
			last = i
		}
	}
	// The nearer to the time the likelier.
	for i := last - 1; i >= 0 && names < 2; i-- {
		if t := date[i]; t.kind == kindWord && !keep[i] && looksLikeDateName(t.text) && !client.named(lower(t.text)) {
			keep[i] = true
			names++
		}
	}
	return keep
}

// looksLikeDateName reports whether a word may be the name of a day or month, most
// likely a short form: up to five letters, such as "Mo,", "lun." or "févr.".
func looksLikeDateName(word string) bool {
	word = strings.TrimSuffix(strings.TrimSuffix(word, ","), ".")
	switch lower(word) {
	case "on", "in", "to", "host", "user", "ip":
		return false
	}
	letters := 0
	for _, r := range word {
		if r < 0x80 && (r|0x20 < 'a' || r|0x20 > 'z') {
			return false
		}
		letters++
	}
	return letters >= 2 && letters <= 5
}

// isTimestamp reports whether a word is a date and a time: 2026-11-22T10:00:00Z,
// 20261122T100000Z, 22/Nov/2026:10:00:00, or seconds or milliseconds of Unix time.
func isTimestamp(word string) bool {
	if day, time, ok := strings.Cut(word, "T"); ok && day != "" {
		if isDay(day) && isTime(time) {
			return true
		}
		time = strings.TrimSuffix(time, "Z")
		return len(day) == 8 && allDigits(day) && len(time) == 6 && allDigits(time)
	}
	if day, time, ok := strings.Cut(word, ":"); ok && strings.Contains(day, "/") && isDay(day) {
		return isTime(time)
	}
	seconds, fraction, _ := strings.Cut(word, ".")
	return (len(seconds) == 10 || len(seconds) == 13) && seconds[0] == '1' && allDigits(seconds) && (fraction == "" || isNumber(fraction, 9))
}

// isTime reports whether a word is a time such as 10:00, 10:00:00, 10:00:00.123,
// 10:00pm or 10:00:00+01:00.
func isTime(word string) bool {
	if i := strings.IndexAny(word, "+-Z"); i > 0 {
		if !isZone(word[i:]) {
			return false
		}
		word = word[:i]
	}
	if n := len(word) - len("am"); n > 0 && isHalfOfDay(word[n:]) {
		word = word[:n]
	}
	if strings.IndexByte(word, ':') < 0 {
		return false
	}
	word, fraction, _ := strings.Cut(word, ".")
	colons := 0
	for part := range strings.SplitSeq(word, ":") {
		if !isNumber(part, 2) {
			return false
		}
		colons++
	}
	return colons >= 2 && colons <= 3 && (fraction == "" || isNumber(fraction, 9))
}

func isHalfOfDay(word string) bool { return equalFold(word, "am") || equalFold(word, "pm") }

// isDay reports whether a word is a date in numbers, such as 2024-02-05, 5/2/2024,
// 5-Feb-2024 or 5.2.2024.
func isDay(word string) bool {
	parts := 0
	for part := range strings.FieldsFuncSeq(word, func(r rune) bool { return r == '-' || r == '/' }) {
		if !isNumber(part, 4) && !isDateName(part) {
			return isDottedDay(word)
		}
		parts++
	}
	return parts == 3
}

// isOrdinal reports whether a word is the number of a day such as 5. or 5th.
func isOrdinal(word string) bool {
	number := strings.TrimRight(word, ".abcdefghijklmnopqrstuvwxyz")
	switch word[len(number):] {
	case ".", "st", "nd", "rd", "th":
		return isNumber(number, 2)
	}
	return false
}

// isDottedDay reports whether a word is a date such as 5.2.2024, which no address
// and no part of one is.
func isDottedDay(word string) bool {
	day, rest, ok := strings.Cut(word, ".")
	if !ok {
		return false
	}
	month, year, ok := strings.Cut(rest, ".")
	return ok && isNumber(day, 2) && isNumber(month, 2) && len(year) == 4 && allDigits(year) && (year[:2] == "19" || year[:2] == "20")
}

func isNumber(word string, digits int) bool {
	return word != "" && len(word) <= digits && allDigits(word)
}

func allDigits(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return true
}

// isDateName reports whether a word is the name of a day or month, short or long.
func isDateName(word string) bool {
	const longest = len("segunda-feira")
	word = strings.TrimSuffix(word, ".")
	if len(word) < 3 || len(word) > longest {
		return false
	}
	var name [longest]byte
	for i := range copy(name[:], word) {
		if name[i] >= 'A' && name[i] <= 'Z' {
			name[i] |= 0x20
		}
	}
	return dateNames[string(name[:len(word)])]
}

// dateNames are those of English, and of other languages the ones that
// looksLikeDateName does not find.
var dateNames = set("mon tue wed thu fri sat sun jan feb mar apr may jun jul aug sep sept oct nov dec" +
	" monday tuesday wednesday thursday friday saturday sunday" +
	" january february march april june july august september october november december" +
	" montag dienstag mittwoch donnerstag freitag samstag sonntag januar februar märz juni juli oktober dezember" +
	" lundi mardi mercredi jeudi vendredi samedi dimanche janvier février avril juin juillet août septembre octobre novembre décembre" +
	" lunes martes miércoles jueves viernes sábado domingo enero febrero marzo abril mayo junio julio agosto septiembre octubre noviembre diciembre" +
	" lunedì martedì mercoledì giovedì venerdì sabato domenica gennaio febbraio aprile maggio giugno luglio settembre ottobre dicembre" +
	" segunda-feira terça-feira quarta-feira quinta-feira sexta-feira janeiro fevereiro março maio junho julho setembro outubro novembro dezembro" +
	" maandag dinsdag woensdag donderdag vrijdag zaterdag zondag januari februari maart augustus")

// isParticle reports whether a word stands between those of a date.
func isParticle(word string) bool {
	switch lower(word) {
	case "de", "del", "of", "the", "at", "um", "uhr", "le", "am", "pm", "a.m.", "p.m.", "-", "à":
		return true
	}
	return false
}

// isClockReading reports whether a word is the reading of a monotonic clock that
// Go's time package writes behind a date: m=+0.123.
func isClockReading(word string) bool {
	reading, ok := strings.CutPrefix(word, "m=")
	if !ok || reading == "" || reading[0] != '+' && reading[0] != '-' {
		return false
	}
	seconds, fraction, _ := strings.Cut(reading[1:], ".")
	return isNumber(seconds, 12) && (fraction == "" || isNumber(fraction, 9))
}

// isZone reports whether a word is a time zone: +0100, +01:00, Z, UTC, GMT+1, EST.
func isZone(word string) bool {
	name := strings.TrimRight(word, "0123456789:+-")
	offset := word[len(name):]
	for i := 0; i < len(name); i++ {
		if name[i] < 'A' || name[i] > 'Z' {
			return false
		}
	}
	switch {
	case offset == "":
		return name != "" && len(name) <= 5
	case offset[0] != '+' && offset[0] != '-' || name != "" && name != "GMT" && name != "UTC":
		return false
	}
	digits := strings.Replace(offset[1:], ":", "", 1)
	return isNumber(digits, 4)
}

// isKnownZone reports whether a word is a zone that a client may be called like
// without being meant.
func isKnownZone(word string) bool {
	switch word = strings.Trim(word, ","); word {
	case "Z", "UT", "UTC", "GMT", "CET", "CEST", "MET", "MEST", "MEZ", "MESZ", "WET", "WEST", "EET", "EEST", "MSK", "BST", "IST",
		"EST", "EDT", "CST", "CDT", "MST", "MDT", "PST", "PDT", "JST", "KST", "AEST", "AEDT":
		return true
	}
	return isParticle(word) || isClockReading(word) || strings.ContainsAny(word, "0123456789")
}
