// Package dovecot is an authentication policy server for Dovecot that makes relay
// grants of successful logins.
//
// Dovecot asks a policy server over HTTP, with a JSON object in a POST: before a login
// with ?command=allow whether it may go on, and after it with ?command=report to say
// how it ended. See "Authentication policy support" in Dovecot's manual. No login is
// refused here: every answer is {"status":0,"msg":""}, which lets Dovecot decide as it
// would without. A report of a success asks for a grant for the address it came from.
//
// The report of Dovecot 2.3 and 2.4, with the default auth_policy_request_attributes:
//
//	{"device_id":"","login":"shin","protocol":"imap","pwhash":"04ff","remote":"203.0.113.8",
//	 "session_id":"6eIlteBgStB/AAAB","success":true,"policy_reject":false,"tls":true}
//
// Of these, login, protocol, remote, success and policy_reject are read, and the rest is
// neither kept nor logged. Only the protocols imap and pop3 count. Dovecot also
// authenticates for others: a client of SMTP, which may be this machine's own sendmail
// through Dovecot's SASL, or of Postfix on another, needs no grant to relay, since it has
// authenticated if it does; one of ManageSieve or doveadm has not read mail.
//
// # Who may report
//
// A program that can report can make the server relay for any address, so it listens on the
// loopback interface or a unix socket only, and even there each request needs the
// secret that Dovecot sends with auth_policy_server_api_header:
//
//	auth_policy_server_url = http://127.0.0.1:4001/
//	auth_policy_server_api_header = Authorization: Bearer SECRET
//	auth_policy_hash_nonce = SOMETHING RANDOM
//	auth_policy_check_before_auth = no
//	auth_policy_check_after_auth = no
//
// The last two save the requests that are answered the same way each time.
// auth_policy_report_after_auth must stay at its default, yes. Without a nonce Dovecot
// does not start. If milterd does not answer, Dovecot lets users in nevertheless
// (auth_policy_reject_on_fail is no by default), and they get no grant.
//
// A unix socket is no exception: it has the mode and group of the sockets for sendmail,
// and sendmail's group is that of programs which every user can run.
//
// A request without the secret ends its connection, and where many are open those that
// have not shown it give way to new ones, so that other users of the machine cannot keep
// Dovecot out.
package dovecot
