package header

import (
	"slices"
	"strings"
)

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
			if all&dateTime == 0 || all&(dateNumber|dateName) == 0 {
				all |= dateWordOf(t.text)
			}
		}
	}
	timed, number, name := all&dateTime != 0, all&dateNumber != 0, all&dateName != 0
	alone := all&dateOdd == 0 && (timed || number && name)
	return words <= maxDateWords && (alone || timed && (number || name))
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
	digits, rest := cutDigits(word, 4)
	switch {
	case digits != "" && strings.Trim(rest, ".stndrh") == "": // 2024, 5. or 5th
		return dateNumber
	case digits != "" && isTime(word):
		return dateTime
	case isDateName(word):
		return dateName
	case isZone(word), isA(word, dateParticle), isClock(word):
		return dateZone
	case isTimestamp(word):
		return dateTime | dateNumber
	case isDay(word):
		return dateNumber | dateName
	}
	return dateOdd
}

// dateTokens returns what stays of a date and its comments: all words if there is
// nothing to hide, else those that can be nothing but a part of a date.
func (w *writer) dateTokens() []token {
	keep := make([]bool, len(w.date))
	if w.client {
		dateWords(keep, w.date, w.traces)
	}
	stays := w.stays[:0]
	for i, t := range w.date {
		if t.kind == kindComment && w.keepsDateComment(t) || t.kind == kindWord && (keep[i] || !w.client) {
			stays = append(stays, t)
		}
	}
	w.stays = stays
	return stays
}

// keepsDateComment says whether a comment behind the date stays: the name of a
// time zone, the envelope's sender.
func (w *writer) keepsDateComment(t token) bool {
	switch {
	case isZoneName(t.lower):
		return !w.hides(t.lower)
	case t.about == aboutTLS:
		return !w.with && w.sound(t)
	case t.about == aboutSender:
		return w.keepsSender(t) && w.sound(t)
	case t.about == aboutRecipient:
		return !w.hides(t.lower) && w.sound(t)
	case t.about == aboutUnknown || t.about == aboutBoth:
		return !w.version && !w.client && !(w.with && mentionsTLS(t.lower))
	}
	return !w.client
}

// isZoneName reports whether text, in lower case, is the name of a time zone:
// "cest", "gmt+01:00", "met dst", "pacific standard time".
func isZoneName(text string) bool {
	for _, end := range zoneEnds {
		if name, ok := strings.CutSuffix(text, end); ok && isOf(name, 1, 40, isZoneLetter) {
			return !isHostName(strings.TrimSuffix(text, " time"))
		}
	}
	return isOf(text, 1, 5, isLetter) || isZone(strings.ToUpper(text))
}

// zoneEnds end the long name of a time zone.
var zoneEnds = [...]string{" time", " dst", "zeit"}

// isLetter reports whether a character is one of a word of any language.
func isLetter(r rune) bool { return r >= 0x80 || r|0x20 >= 'a' && r|0x20 <= 'z' }

func isZoneLetter(r rune) bool { return isLetter(r) || r == ' ' || r == '.' }

// isOf reports whether text has from least to most characters, all of a kind.
func isOf(text string, least, most int, kind func(rune) bool) bool {
	n := 0
	for _, r := range text {
		if n++; n > most || !kind(r) {
			return false
		}
	}
	return n >= least
}

// dateWords says which tokens of a date are to be kept if the client is not to be told.
// A name that is not known is taken for that of a day or month in some language if it
// looks like one and stands where one is missing: a short word before the time,
// that is none of the client's. Comments are not looked at.
func dateWords(keep []bool, date []token, client *traces) {
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
			keep[i] = strings.ContainsAny(t.text, "0123456789") || isA(t.lower, formWord|dateParticle) || !client.named(t.lower)
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
		if t := date[i]; t.kind == kindWord && !keep[i] && looksLikeDateName(t.text) && !client.named(t.lower) {
			keep[i] = true
			names++
		}
	}
}

// looksLikeDateName reports whether a word may be the name of a day or month, most
// likely a short form: up to five letters, such as "Mo,", "lun." or "févr.".
func looksLikeDateName(word string) bool {
	name := strings.TrimSuffix(strings.TrimSuffix(word, ","), ".")
	return isOf(name, 2, 5, isLetter) && !isA(name, noDayName)
}

// isClock reports whether a word is the reading of a monotonic clock that Go's time
// package writes behind a date: m=+0.123.
func isClock(word string) bool {
	sign, isReading := strings.CutPrefix(word, "m=")
	if !isReading || sign == "" || sign[0] != '+' && sign[0] != '-' {
		return false
	}
	seconds, rest := cutDigits(sign[1:], 12)
	return seconds != "" && cutFraction(rest) == ""
}

// isInstant reports whether a word is a number of seconds or milliseconds of Unix time,
// or has the form of 20261122T100000Z.
func isInstant(word string) bool {
	digits, rest := cutDigits(word, 14)
	switch len(digits) {
	case 10, 13:
		return digits[0] == '1' && cutFraction(rest) == ""
	case 8:
		clock, isTime := strings.CutPrefix(rest, "T")
		clock, zone := cutDigits(clock, 6)
		return isTime && clock != "" && (zone == "" || zone == "Z")
	}
	return false
}

// cutFraction is a text without the fraction of a second that it begins with.
func cutFraction(text string) string {
	if fraction, ok := strings.CutPrefix(text, "."); ok {
		_, text = cutDigits(fraction, 9)
	}
	return text
}

// isTime reports whether a word is a time of day: 10:00, 10:00:00.123, 10:00pm or
// 10:00:00+01:00.
func isTime(word string) bool {
	hours, rest := cutDigits(word, 2)
	minutes, rest := cutDigits(strings.TrimPrefix(rest, ":"), 2)
	if hours == "" || minutes == "" || word[len(hours)] != ':' {
		return false
	}
	if more, ok := strings.CutPrefix(rest, ":"); ok {
		var seconds string
		if seconds, rest = cutDigits(more, 2); seconds == "" {
			return false
		}
	}
	if rest = cutFraction(rest); len(rest) >= 2 && (strings.EqualFold(rest[:2], "am") || strings.EqualFold(rest[:2], "pm")) {
		rest = rest[2:]
	}
	return rest == "" || isOffset(rest) || rest[0] == 'Z' && isOf(rest, 1, 5, isCapital)
}

// isZone reports whether a word is a time zone: +0100, +01:00, Z, UTC, GMT+1, EST.
func isZone(word string) bool {
	if isOf(word, 1, 5, isCapital) {
		return true
	}
	if strings.HasPrefix(word, "GMT") || strings.HasPrefix(word, "UTC") {
		word = word[len("UTC"):]
	}
	return isOffset(word)
}

func isCapital(r rune) bool { return r >= 'A' && r <= 'Z' }

// isOffset reports whether a text is the distance of a time zone from UTC: +1,
// +0100 or +01:00.
func isOffset(text string) bool {
	if text == "" || text[0] != '+' && text[0] != '-' {
		return false
	}
	hours, rest := cutDigits(text[1:], 2)
	_, rest = cutDigits(strings.TrimPrefix(rest, ":"), 2)
	return hours != "" && rest == ""
}

// cutDigits splits a text behind the digits it begins with, but no more than most.
func cutDigits(text string, most int) (digits, rest string) {
	n := 0
	for n < len(text) && n < most && text[n] >= '0' && text[n] <= '9' {
		n++
	}
	return text[:n], text[n:]
}

// isDay reports whether a word is a date such as 2024-02-05, 5/2/2024, 5-Feb-2024 or
// 5.2.2024, which no address and no part of one is.
func isDay(word string) bool {
	parts := strings.FieldsFunc(word, func(r rune) bool { return r == '-' || r == '/' })
	if dotted := strings.Split(word, "."); len(dotted) == 3 && len(dotted[2]) == 4 && isNumber(dotted[0], 2) {
		parts = dotted
	}
	return len(parts) == 3 && !slices.ContainsFunc(parts, func(part string) bool { return !isNumber(part, 4) && !isDateName(part) })
}

// isTimestamp reports whether a word is a date and a time: 2026-11-22T10:00:00Z,
// 22/Nov/2026:10:00:00, or as isInstant knows it.
func isTimestamp(word string) bool {
	if i := strings.IndexAny(word, "T:"); i >= 0 && isDay(word[:i]) {
		return isTime(word[i+1:])
	}
	return isInstant(word)
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
func isDateName(word string) bool { return isA(strings.TrimSuffix(word, "."), dayName) }
