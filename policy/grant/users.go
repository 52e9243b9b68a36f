package grant

// userTable leads from a user's name to the user's grants, which are linked in
// their records by the time of their last login.
type userTable struct {
	numbers map[string]uint32
	entries []userEntry
	free    []uint32
}

// userEntry is one user with grants. Entry 0 is nobody, whose grants are not
// linked.
type userEntry struct {
	name           string
	oldest, newest uint32 // place+1 in the records, or 0
	count          int
}

func newUserTable() userTable {
	return userTable{numbers: make(map[string]uint32), entries: make([]userEntry, 1)}
}

// count is how many grants a user has.
func (t *userTable) count(name string) int {
	return t.entries[t.numbers[name]].count
}

// oldest is the user's grant with the oldest login: its place+1, or 0.
func (t *userTable) oldest(name string) uint32 {
	return t.entries[t.numbers[name]].oldest
}

// link gives a record to a user, as the newest.
func (t *userTable) link(records []record, place uint32, name string) {
	if name == "" {
		return
	}
	number, ok := t.numbers[name]
	if !ok {
		number = t.entry(name)
	}
	e, r := &t.entries[number], &records[place]
	r.user, r.older, r.newer = number, e.newest, 0
	if e.newest != 0 {
		records[e.newest-1].newer = place + 1
	} else {
		e.oldest = place + 1
	}
	e.newest = place + 1
	e.count++
}

// entry makes a user's entry.
func (t *userTable) entry(name string) uint32 {
	var number uint32
	if n := len(t.free); n > 0 {
		number = t.free[n-1]
		t.free = t.free[:n-1]
	} else {
		number = uint32(len(t.entries))
		t.entries = append(t.entries, userEntry{})
	}
	t.entries[number] = userEntry{name: name}
	t.numbers[name] = number
	return number
}

// unlink takes a record from its user, if it has one.
func (t *userTable) unlink(records []record, place uint32) {
	r := &records[place]
	if r.user == 0 {
		return
	}
	e := &t.entries[r.user]
	if r.older != 0 {
		records[r.older-1].newer = r.newer
	} else {
		e.oldest = r.newer
	}
	if r.newer != 0 {
		records[r.newer-1].older = r.older
	} else {
		e.newest = r.older
	}
	e.count--
	if e.count == 0 {
		delete(t.numbers, e.name)
		*e = userEntry{}
		t.free = append(t.free, r.user)
	}
	r.user, r.older, r.newer = 0, 0, 0
}
