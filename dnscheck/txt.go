package dnscheck

import (
	"fmt"
	"strings"
)

// chunk is the longest string of a TXT record (RFC 1035 section 3.3).
const chunk = 255

// joinTXT joins the strings of a TXT record, which the DNS library hands over
// escaped, to the octets they stand for (RFC 7208 section 3.3: no spaces).
func joinTXT(parts []string) string {
	var b strings.Builder
	for _, part := range parts {
		for i := 0; i < len(part); i++ {
			if part[i] != '\\' || i+1 == len(part) {
				b.WriteByte(part[i])
				continue
			}
			i++
			if i+2 < len(part) && isDigit(part[i]) && isDigit(part[i+1]) && isDigit(part[i+2]) {
				b.WriteByte((part[i]-'0')*100 + (part[i+1]-'0')*10 + part[i+2] - '0')
				i += 2
				continue
			}
			b.WriteByte(part[i])
		}
	}
	return b.String()
}

// quoteTXT writes text as the data of a TXT record in a zone file.
func quoteTXT(text string) string {
	var b strings.Builder
	b.WriteByte('"')
	for i := range len(text) {
		if i > 0 && i%chunk == 0 {
			b.WriteString(`" "`)
		}
		switch c := text[i]; {
		case c == '"' || c == '\\':
			b.WriteByte('\\')
			b.WriteByte(c)
		case c < ' ' || c > '~':
			fmt.Fprintf(&b, `\%03d`, c)
		default:
			b.WriteByte(c)
		}
	}
	b.WriteByte('"')
	return b.String()
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

// maxReason bounds the reason of a list, which goes into an SMTP reply.
const maxReason = 200

// Printable makes text from the network fit for a reply or a log line: printable
// ASCII only, runs of anything else become one space, bounded in length.
func Printable(text string) string {
	var b strings.Builder
	space := false
	for i := 0; i < len(text) && b.Len() < maxReason-1; i++ {
		if text[i] <= ' ' || text[i] > '~' {
			space = b.Len() > 0
			continue
		}
		if space {
			b.WriteByte(' ')
			space = false
		}
		b.WriteByte(text[i])
	}
	return b.String()
}
