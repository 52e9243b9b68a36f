package dnscheck

import (
	"net/netip"
	"slices"
	"strconv"
)

// ListEntry is what became of one question to one list.
type ListEntry struct {
	// List is the name of the list.
	List string
	// Name is what was asked about, empty for the client's address.
	Name string
	// Weight and Exempt are the list's: what a listing counts for.
	Weight int
	Exempt bool
	Status ListStatus
	// Answers are the addresses the list answered with, the first few of many.
	Answers []netip.Addr
	// Detail says why the status is ListUnusable.
	Detail string
	// Reason is the list's own text about the listing, printable, if List.TXT asks
	// for it and it came in time.
	Reason string

	list     *list
	family   family
	question string
	pending  bool
}

// ListVerdict is what all lists together say.
type ListVerdict uint8

const (
	// ListsTemporary: a list whose OnTemporary is TempFail has no answer, and
	// with it the verdict could be another one.
	ListsTemporary ListVerdict = iota
	// NotListed: the score is below the threshold.
	NotListed
	// Listed: the score has reached the threshold.
	Listed
	// Exempted: a list with Exempt has the client or name.
	Exempted
)

func (v ListVerdict) String() string {
	return word(v, "no answer", "not listed", "listed", "exempted")
}

// ListReport is the result of a check.
type ListReport struct {
	// Names are what domain lists were asked about.
	Names   []string
	Verdict ListVerdict
	// Score is the sum of the weights of the lists with a listing.
	Score int
	// Entries are the questions, in the order of the lists.
	Entries []ListEntry

	threshold int
}

// tally is the score so far, and how far the lists for which open says so could
// still move it.
type tally struct {
	score, up, down       int
	exempted, couldExempt bool
}

// tally sums up. The entries of one list follow each other, and it counts once.
func (r *ListReport) tally(open func(ListEntry) bool) tally {
	var t tally
	for i := 0; i < len(r.Entries); {
		l := r.Entries[i].list
		listed, isOpen := false, false
		for ; i < len(r.Entries) && r.Entries[i].list == l; i++ {
			listed = listed || r.Entries[i].Status == ListListed
			isOpen = isOpen || open(r.Entries[i])
		}
		switch {
		case listed && l.Exempt:
			t.exempted = true
			t.score += l.Weight
		case listed:
			t.score += l.Weight
		case isOpen:
			t.couldExempt = t.couldExempt || l.Exempt
			t.up += max(l.Weight, 0)
			t.down += min(l.Weight, 0)
		}
	}
	return t
}

// decided says that no list still waited for could change the verdict.
func (r *ListReport) decided() bool {
	t := r.tally(func(e ListEntry) bool { return e.pending })
	return t.exempted || t.score+t.up < r.threshold || t.score+t.down >= r.threshold && !t.couldExempt
}

// conclude reaches the verdict. A list without an answer does not count, unless the
// administrator would rather wait for it and it would make a difference.
func (r *ListReport) conclude() {
	t := r.tally(ListEntry.awaited)
	r.Score = t.score
	enough := t.score >= r.threshold
	switch {
	case t.exempted:
		r.Verdict = Exempted
	case enough && (t.score+t.down < r.threshold || t.couldExempt), !enough && t.score+t.up >= r.threshold:
		r.Verdict = ListsTemporary
	case enough:
		r.Verdict = Listed
	default:
		r.Verdict = NotListed
	}
}

// Unanswered are the names of the lists that keep the verdict open, in the order
// of the lists: their OnTemporary is TempFail, they have no answer, and it would
// make a difference. There are none unless Verdict is ListsTemporary.
func (r ListReport) Unanswered() []string {
	var names []string
	for _, e := range r.open() {
		names = append(names, e.List)
	}
	return slices.Compact(names)
}

// open are the entries that keep the verdict open.
func (r *ListReport) open() []ListEntry {
	if r.Verdict != ListsTemporary {
		return nil
	}
	listed := make(map[*list]bool)
	for _, e := range r.Entries {
		listed[e.list] = listed[e.list] || e.Status == ListListed
	}
	var open []ListEntry
	for _, e := range r.Entries {
		matters := e.Weight > 0
		if r.Score >= r.threshold {
			matters = e.list.allows()
		}
		if e.awaited() && matters && !listed[e.list] {
			open = append(open, e)
		}
	}
	return open
}

// awaited says that there is no answer, and that the administrator would rather
// wait for it.
func (e ListEntry) awaited() bool {
	noAnswer := e.Status == ListNoAnswer || e.Status == ListFailed
	return noAnswer && e.list.OnTemporary == TempFail
}

// Decisive is the entry to name in a refusal: of the listings the one with the
// greatest weight, the first of several.
func (r ListReport) Decisive() (ListEntry, bool) {
	best := -1
	for i, e := range r.Entries {
		if e.Status == ListListed && e.Weight > 0 && (best < 0 || e.Weight > r.Entries[best].Weight) {
			best = i
		}
	}
	if best < 0 {
		return ListEntry{}, false
	}
	return r.Entries[best], true
}

// String says what was found, for a log line or a trace.
func (e ListEntry) String() string {
	text := e.List
	if e.Name != "" {
		text += " " + e.Name
	}
	text += ": " + e.Status.String()
	if e.Detail != "" {
		text += ": " + e.Detail
	}
	if len(e.Answers) > 0 {
		text += " (" + joinAddrs(e.Answers, ", ") + ")"
	}
	switch {
	case e.Status != ListListed:
	case e.Exempt:
		text += ", exempt"
	default:
		text += ", weight " + strconv.Itoa(e.Weight)
	}
	if e.Reason != "" {
		text += ": " + strconv.Quote(e.Reason)
	}
	return text
}
