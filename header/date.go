package header

import (
	"regexp"
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

// datePartOf looks for the forms of RFC 5322 first, since nearly all dates have them.
func datePartOf(word string) dateWord {
	switch {
	case isNumber(word, 4):
		return dateNumber
	case len(word) == len("10:00:00") && word[2] == ':' && word[5] == ':' && isNumber(word[:2]+word[3:5]+word[6:], 6):
		return dateTime
	case len(word) == len("+0100") && (word[0] == '+' || word[0] == '-') && isNumber(word[1:], 4):
		return dateZone
	case isDayName(word):
		return dateName
	case ordinalForm.MatchString(word):
		return dateNumber
	case timeForm.MatchString(word):
		return dateTime
	case zoneForm.MatchString(word), clockForm.MatchString(word), isA(word, dateParticle):
		return dateZone
	case isDay(word):
		return dateNumber | dateName
	}
	if i := strings.IndexAny(word, "T:"); i >= 0 && isDay(word[:i]) && timeForm.MatchString(word[i+1:]) || instantForm.MatchString(word) {
		return dateTime | dateNumber // 2026-11-22T10:00:00Z, 22/Nov/2026:10:00:00
	}
	return dateOdd
}

var (
	// ordinalForm is the number of a day or a year: 5. or 5th.
	ordinalForm = regexp.MustCompile(`^[0-9]{1,4}[.stndrh]*$`)
	// timeForm is a time of day: 10:00, 10:00:00.123, 10:00pm or 10:00:00+01:00.
	timeForm = regexp.MustCompile(`^[0-9]{1,2}:[0-9]{1,2}(:[0-9]{1,2})?(\.[0-9]{0,9})?([aApP][mM])?([+-][0-9]{1,2}:?[0-9]{0,2}|Z[A-Z]{0,4})?$`)
	// zoneForm is a time zone: +1, +01:00, Z, EST, GMT+1.
	zoneForm = regexp.MustCompile(`^([A-Z]{1,5}|(GMT|UTC)?[+-][0-9]{1,2}:?[0-9]{0,2})$`)
	// clockForm is the reading of a monotonic clock that Go's time package writes
	// behind a date: m=+0.123.
	clockForm = regexp.MustCompile(`^m=[+-][0-9]{1,12}(\.[0-9]{0,9})?$`)
	// instantForm is seconds or milliseconds of Unix time, or 20261122T100000Z.
	instantForm = regexp.MustCompile(`^(1[0-9]{9}([0-9]{3})?(\.[0-9]{0,9})?|[0-9]{8}T[0-9]{1,6}Z?)$`)
)

// isDay reports whether a word is a date such as 2024-02-05, 5/2/2024, 5-Feb-2024 or
// 5.2.2024, which no address and no part of one is.
func isDay(word string) bool {
	parts := strings.FieldsFunc(word, func(r rune) bool { return r == '-' || r == '/' })
	if dotted := strings.Split(word, "."); len(dotted) == 3 && len(dotted[2]) == 4 && isNumber(dotted[0], 2) {
		parts = dotted
	}
	return len(parts) == 3 && !slices.ContainsFunc(parts, func(part string) bool { return !isNumber(part, 4) && !isDayName(part) })
}

// isDayName reports whether a word is the name of a day or month, short or long.
func isDayName(word string) bool { return isA(strings.TrimSuffix(word, "."), dayName) }

func isNumber(word string, digits int) bool {
	return word != "" && len(word) <= digits && allDigits(word)
}

func allDigits(s string) bool {
	for i := range len(s) {
		if !is(s[i], digit) {
			return false
		}
	}
	return true
}

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

// maxLooseDate is the most tokens that a date without a semicolon has: those of
// "Mon, 5 Feb 2024 10:00:00 +0100" and comments.
const maxLooseDate = 9

// looseForms are what the words of such a date are: the forms of RFC 5322, and
// 2024-02-05 10:00:00 +0100.
var looseForms = [...][]dateWord{
	{dateName, dateNumber, dateName, dateNumber, dateTime, dateZone},
	{dateNumber, dateName, dateNumber, dateTime, dateZone},
	{dateNumber | dateName, dateTime, dateZone},
}

// looseDate splits tokens before a date at their end that no semicolon stands before.
func looseDate(tokens []token) (head, date []token) {
	begin := max(0, len(tokens)-maxLooseDate)
	kinds := make([]dateWord, len(tokens)-begin)
	for i, t := range tokens[begin:] {
		if t.kind != kindComment {
			kinds[i] = dateWordOf(t.text)
		}
	}
	for i := range kinds {
		if slices.ContainsFunc(looseForms[:], func(form []dateWord) bool { return hasForm(kinds[i:], form) }) {
			return tokens[: begin+i : begin+i], tokens[begin+i:]
		}
	}
	return tokens, nil
}

// hasForm reports whether words are those of a form. Comments and more words of a date
// may stand behind them.
func hasForm(kinds, form []dateWord) bool {
	for i, kind := range kinds {
		if kind&dateOdd != 0 || i < len(form) && kind&form[i] != form[i] {
			return false
		}
	}
	return len(kinds) >= len(form)
}

// dateTokens returns what stays of a date and its comments: all words if there is
// nothing to hide, else those that can be nothing but a part of a date.
func (w *writer) dateTokens() []token {
	keep := w.dateWords()
	stays := w.scrubber.date[:0]
	for i, t := range w.received.date {
		if t.kind == kindComment && w.keepsDateComment(t) || t.kind == kindWord && (keep[i] || !w.client) {
			stays = append(stays, t)
		}
	}
	w.scrubber.date = stays
	return stays
}

// dateWords says which tokens of a date are words that stay if the client is not to be
// told. A name that is not known is taken for that of a day or month in some language
// if it looks like one and stands where one is missing: a short word before the time,
// that is none of the client's.
func (w *writer) dateWords() []bool {
	keep := append(w.keep[:0], make([]bool, len(w.received.date))...)
	w.keep = keep
	names, last := 0, -1 // of the names that are known, and the place of the time
	for i, t := range w.received.date {
		if t.kind != kindWord {
			continue
		}
		what := dateWordOf(t.text)
		switch {
		case what&dateOdd != 0:
			continue
		case what == dateZone:
			keep[i] = index(t.text, digit) >= 0 || isA(t.lower, formWord|dateParticle) || !w.hides(t.lower)
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
		if t := w.received.date[i]; t.kind == kindWord && !keep[i] && looksLikeDayName(t.text) && !w.hides(t.lower) {
			keep[i] = true
			names++
		}
	}
	return keep
}

// looksLikeDayName reports whether a word may be the name of a day or month, most
// likely a short form: up to five letters, such as "Mo,", "lun." or "févr.".
func looksLikeDayName(word string) bool {
	name := strings.TrimSuffix(strings.TrimSuffix(word, ","), ".")
	return isOf(name, 2, 5, isLetter) && !isA(name, noDayName)
}

// keepsDateComment says whether a comment behind the date stays. There it may be the
// name of a time zone as well, and is not about the software of the host in by.
func (w *writer) keepsDateComment(t token) bool {
	switch {
	case isZoneName(t.lower):
		return !w.hides(t.lower)
	case t.about == aboutUnknown || t.about == aboutBoth:
		return !w.version && !w.client && !(w.with && mentionsTLS(t.lower))
	}
	return w.keeps(t) && w.sound(t)
}

// isZoneName reports whether text, in lower case, is the name of a time zone:
// "cest", "gmt+01:00", "met dst", "pacific standard time".
func isZoneName(text string) bool {
	for _, end := range [...]string{" time", " dst", "zeit"} {
		if name, ok := strings.CutSuffix(text, end); ok && isOf(name, 1, 40, isZoneLetter) {
			return !isHostName(strings.TrimSuffix(text, " time"))
		}
	}
	return isOf(text, 1, 5, isLetter) || zoneForm.MatchString(strings.ToUpper(text))
}

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
