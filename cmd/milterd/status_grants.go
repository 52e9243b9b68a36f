package main

import (
	"strconv"

	"milterd/policy/grant"
	"milterd/policy/grant/dovecot"
	"milterd/policy/grant/drac"
	"milterd/policy/grant/maillog"
)

// Metrics of the relay grants.
var (
	grantsActive     = gauge("grants", "Relay grants in force; missing with grants.redis, which is not asked.")
	grantLogins      = counter("grant_logins_total", "Logins that sources reported, by what came of them; refused: there was no room, invalid: no login, stale: an old one.", "result")
	grantEnds        = counter("grant_ends_total", "Ends of relay grants, by reason; displaced: by a newer one of the same user.", "reason")
	grantLookups     = counter("grant_lookups_total", "Questions whether a client holds a grant.")
	grantUsed        = counter("grant_used_lookups_total", "Questions whether a client holds a grant that found one.")
	grantTemporary   = counter("grant_temporary_lookups_total", "Questions whether a client holds a grant that the store could not answer.")
	grantStoreErrors = counter("grant_store_errors_total", "Operations of the store of grants that failed.")

	grantFilePending = gauge("grant_file_pending", "Changes that wait to be written to grants.file.")
	grantFileWrites  = counter("grant_file_writes_total", "Snapshots of all grants, written to grants.file.", "result")
	grantFileFailing = gauge("grant_file_failing", "Whether the last snapshot could not be written to grants.file.")
)

func (s samples) grants(g *grantSources) {
	s.keeper(g.keeper.Stats())
	if store, ok := g.store.(*grant.File); ok {
		s.grantFile(store.Stats())
	}
	if g.dovecot != nil {
		s.dovecot(g.dovecot.Stats())
	}
	if g.drac != nil {
		s.drac(g.drac.Stats())
	}
	for i, follower := range g.logs {
		// Neither its path nor its expression is anybody else's business.
		s.loginLog(strconv.Itoa(i+1), follower.Stats())
	}
}

func (s samples) keeper(stats grant.Stats) {
	if stats.Active >= 0 {
		s.add(grantsActive, float64(stats.Active))
	}
	s.count(grantLogins, stats.Granted, "granted")
	s.count(grantLogins, stats.Renewed, "renewed")
	s.count(grantLogins, stats.Excluded, "excluded")
	s.count(grantLogins, stats.Refused, "refused")
	s.count(grantLogins, stats.Invalid, "invalid")
	s.count(grantLogins, stats.Stale, "stale")
	s.count(grantEnds, stats.Expired, "expired")
	s.count(grantEnds, stats.Revoked, "revoked")
	s.count(grantEnds, stats.Displaced, "displaced")
	s.count(grantLookups, stats.Lookups)
	s.count(grantUsed, stats.Used)
	s.count(grantTemporary, stats.Temporary)
	s.count(grantStoreErrors, stats.StoreErrors)
}

func (s samples) grantFile(stats grant.FileStats) {
	s.add(grantFilePending, float64(stats.Pending))
	s.count(grantFileWrites, stats.Writes, "success")
	s.count(grantFileWrites, stats.Failures, "failure")
	s.flag(grantFileFailing, stats.Failing)
}

// Metrics of the sources of grants.
var (
	dovecotRequests = counter("dovecot_requests_total", "Requests to the Dovecot auth policy server, by kind; forbidden: without the secret.", "kind")
	dovecotReports  = counter("dovecot_reports_total", "Logins that Dovecot reported; unsuccessful: they failed, ignored: not of POP or IMAP, or without an address or a name.", "kind")
	dovecotFailures = counter("dovecot_failed_grants_total", "Logins that Dovecot reported and the store could not take.")
	dracCalls       = counter("drac_calls_total", "Datagrams to the DRAC server, by result; denied: from a host that may not grant.", "result")

	loginLogLines     = counter("login_log_lines_total", "Lines read from a log of logins.", "log")
	loginLogLong      = counter("login_log_long_lines_total", "Lines passed over because no login is that long.", "log")
	loginLogLogins    = counter("login_log_logins_total", "Logins found in a log.", "log")
	loginLogFailures  = counter("login_log_failed_grants_total", "Logins found in a log that the store could not take.", "log")
	loginLogRotations = counter("login_log_rotations_total", "Ends of a log's file, by kind.", "log", "kind")
	loginLogRecovered = counter("login_log_recovered_bytes_total", "Octets of a truncated log that were found in its copy.", "log")
	loginLogOpen      = gauge("login_log_open", "Whether there is a file to read.", "log")
)

func (s samples) dovecot(stats dovecot.Stats) {
	s.count(dovecotRequests, stats.Allows, "allow")
	s.count(dovecotRequests, stats.Reports, "report")
	s.count(dovecotRequests, stats.Forbidden, "forbidden")
	s.count(dovecotRequests, stats.Malformed, "malformed")
	s.count(dovecotReports, stats.Logins, "login")
	s.count(dovecotReports, stats.Unsuccessful, "unsuccessful")
	s.count(dovecotReports, stats.Ignored, "ignored")
	s.count(dovecotFailures, stats.Failed)
}

func (s samples) drac(stats drac.Stats) {
	s.count(dracCalls, stats.Granted, "granted")
	s.count(dracCalls, stats.Refused, "refused")
	s.count(dracCalls, stats.Failed, "failed")
	s.count(dracCalls, stats.Denied, "denied")
	s.count(dracCalls, stats.Malformed, "malformed")
}

// loginLog sends what became of a log; log is its place in grants.logs.
func (s samples) loginLog(log string, stats maillog.Stats) {
	s.count(loginLogLines, stats.Lines, log)
	s.count(loginLogLong, stats.Long, log)
	s.count(loginLogLogins, stats.Logins, log)
	s.count(loginLogFailures, stats.Failed, log)
	s.count(loginLogRotations, stats.Rotated, log, "rotated")
	s.count(loginLogRotations, stats.Truncated, log, "truncated")
	s.count(loginLogRecovered, stats.Recovered, log)
	s.flag(loginLogOpen, stats.Open, log)
}
