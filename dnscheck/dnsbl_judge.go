package dnscheck

import (
	"net/netip"
	"slices"
)

// ListStatus is what one list says.
type ListStatus uint8

const (
	// ListNoAnswer: no answer in time, or none was waited for because the verdict
	// stood without it.
	ListNoAnswer ListStatus = iota
	// ListFailed: the servers of the list cannot tell.
	ListFailed
	// ListNotListed: not on the list.
	ListNotListed
	// ListListed: on the list, with a code that counts.
	ListListed
	// ListOtherCode: on the list, with codes that do not count.
	ListOtherCode
	// ListUnusable: the answer was an error of the list's, or it is bypassed until
	// it works again. It says nothing about the client and refuses no mail.
	ListUnusable
)

func (s ListStatus) String() string {
	return word(s, "no answer", "server failure", "not listed", "listed", "listed with a code that does not count", "unusable")
}

// judge says what an answer of the list means: with one of the list's codes it is a
// listing. detail is why it is unusable.
func (l *list) judge(result Result) (status ListStatus, detail string) {
	switch {
	case result.Status == NXDomain || result.Status == NoData:
		return ListNotListed, ""
	case result.Status == Temporary && result.Err == ErrServFail:
		return ListFailed, ""
	case result.Status == Temporary:
		return ListNoAnswer, ""
	}
	status = ListOtherCode
	for _, record := range result.Records {
		if detail := errorAnswer(record.Addr, l.List); detail != "" {
			return ListUnusable, detail
		}
		if slices.ContainsFunc(l.Codes, func(c Code) bool { return c.Holds(record.Addr) }) {
			status = ListListed
		}
	}
	return status, ""
}

// maxAnswers bounds the answers that an entry keeps to be shown.
const maxAnswers = 16

// take reads the answer to the question.
func (e *ListEntry) take(result Result) {
	e.pending = false
	addrs := result.Addrs()
	e.Answers = addrs[:min(len(addrs), maxAnswers)]
	e.Status, e.Detail = e.list.judge(result)
}

// defaultCodes are the answers that count if a list does not name any. They are few
// on purpose: an answer that the administrator does not know of refuses no mail.
func defaultCodes(l List) []string {
	switch {
	case l.Kind == DomainList:
		return []string{"127.0.0.2", "127.0.1.[2-99]"}
	case l.allows():
		return []string{"127.0.0.[2-3]", "127.0.[1-255].[1-3]"}
	}
	return []string{"127.0.0.[2-11]"}
}

// errorAnswer says what is wrong with an answer that is not about the address
// or name asked for; empty if it is.
func errorAnswer(answer netip.Addr, l List) string {
	if !answer.Is4() {
		return "not an IPv4 address"
	}
	b := answer.As4()
	switch {
	case b[0] != 127:
		return "outside 127.0.0.0/8: the zone has been given up or taken over"
	case answer == bypassAnswer:
		return "the list is bypassed"
	case b[1] == 255 && b[2] == 255:
		switch b[3] {
		case 252:
			return "the list does not know this zone name"
		case 254:
			return "the list does not answer public or open resolvers"
		case 255:
			return "too many queries"
		}
		return "the list reports an error"
	case b == [4]byte{127, 0, 0, 1}:
		return "the list refuses to answer"
	case b == [4]byte{127, 0, 0, 255}:
		return "the list refuses to answer: too many queries"
	case l.Kind == DomainList && b == [4]byte{127, 0, 1, 255}:
		return "the list was asked about an address"
	case l.allows() && b[1] == 0 && b[2] == 10:
		return "the list marks this answer as none"
	}
	return ""
}
