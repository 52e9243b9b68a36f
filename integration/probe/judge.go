package probe

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net/mail"
	"regexp"
	"slices"
	"strings"
)

// maxJudged bounds the header of a message that is judged.
const maxJudged = 1 << 20

// tellingFields name their client wherever they stand.
var tellingFields = []string{"X-Originating-Ip", "X-Originating-Host", "X-Client-Ip", "X-Sender-Ip", "X-Source-Ip", "X-Authentication-Warning", "X-Mailer", "User-Agent"}

var (
	fromClause = regexp.MustCompile(`(?i)^\s*from\s+(.*?)\s+by\s`)
	byClause   = regexp.MustCompile(`(?i)\bby\s+(\S+)`)
)

// Judge reads a message that went through the server and says what its header tells about
// the client. Only the fields that the server (its name, as in by NAME) and those before it
// have written count: what later hosts add is theirs. An empty name judges all fields.
func Judge(message io.Reader, server string) ([]Leak, error) {
	m, err := mail.ReadMessage(bufio.NewReader(io.LimitReader(message, maxJudged)))
	if errors.Is(err, io.EOF) {
		return nil, errors.New("has no header, expected a message as it has arrived")
	}
	if err != nil {
		return nil, fmt.Errorf("read message: %s", shown(err.Error()))
	}
	received := m.Header["Received"]
	if len(received) == 0 {
		return nil, errors.New("has no Received field, expected a message as it has arrived")
	}
	if server != "" {
		first := slices.IndexFunc(received, func(value string) bool {
			by := byClause.FindStringSubmatch(value)
			return by != nil && strings.EqualFold(by[1], server)
		})
		if first < 0 {
			return nil, fmt.Errorf("no Received field is by %s: the message has not passed it, or it has another name", shown(server))
		}
		received = received[first:]
	}
	leaks := []Leak{} // none: [] in JSON, not null
	for _, value := range received {
		value = strings.Join(strings.Fields(value), " ")
		if from := fromClause.FindStringSubmatch(value); from != nil && from[1] != "SMTP" {
			leaks = append(leaks, Leak{Where: "Received", What: "names the client", Text: shown(from[1])})
		}
		if found := version(dateless(value)); found != "" {
			leaks = append(leaks, Leak{Where: "Received", What: "tells the version of the software", Text: found})
		}
	}
	for _, name := range tellingFields {
		for _, value := range m.Header[name] {
			leaks = append(leaks, Leak{Where: name, What: "tells about the client", Text: shown(value)})
		}
	}
	return leaks, nil
}

// dateless is a Received field without its date.
func dateless(value string) string {
	if i := strings.LastIndexByte(value, ';'); i >= 0 {
		return value[:i]
	}
	return value
}
