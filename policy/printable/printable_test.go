package printable

import (
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

func TestText(t *testing.T) {
	for text, want := range map[string]string{
		"":                    "",
		"plain Zürich":        "plain Zürich",
		"a\r\nb\tc\x00":       "a??b?c?",
		"\x1b[31mred":         "?[31mred",
		"lone \x9b octet":     "lone ? octet",
		"right\u202eto\u2028": "right?to?",
		"no\u00a0break":       "no?break",
	} {
		if got := Text(text); got != want {
			t.Errorf("Text(%q) is %q, want %q", text, got, want)
		}
	}
}

func TestShort(t *testing.T) {
	for _, tt := range []struct {
		text string
		most int
		want string
	}{{"abc", 3, "abc"}, {"abcd", 3, "abc…"}, {"ab\n", 2, "ab…"}, {"aü", 2, "a…"}, {"\x80\x80", 1, "…"}} {
		if got := Short(tt.text, tt.most, "…"); got != tt.want {
			t.Errorf("Short(%q, %d) is %q, want %q", tt.text, tt.most, got, tt.want)
		}
	}
}

func TestQuote(t *testing.T) {
	for text, want := range map[string]string{
		"a\n":                   `"a\n"`,
		strings.Repeat("x", 80): `"` + strings.Repeat("x", 80) + `"`,
		strings.Repeat("x", 81): `"` + strings.Repeat("x", 80) + `..."`,
	} {
		if got := Quote(text); got != want {
			t.Errorf("Quote(%q) is %s, want %s", text, got, want)
		}
	}
}

func FuzzPrintable(f *testing.F) {
	f.Add("a\x1b\xffü\u2028")
	f.Fuzz(func(t *testing.T, s string) {
		text := Text(s)
		if !utf8.ValidString(text) || strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) }) || Text(text) != text {
			t.Errorf("Text(%q) is %q", s, text)
		}
		if ascii := ASCII(s); !IsASCII(ascii) || IsASCII(s) && ascii != s {
			t.Errorf("ASCII(%q) is %q", s, ascii)
		}
		if short := Short(s, 4, ""); len(s) > 4 && len(short) > 4 || !utf8.ValidString(short) {
			t.Errorf("Short(%q) is %q", s, short)
		}
	})
}
