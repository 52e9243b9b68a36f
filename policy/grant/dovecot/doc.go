// Package dovecot is an authentication policy server for Dovecot that makes relay
// grants of successful logins.
//
// Dovecot asks a policy server over HTTP, with a JSON object in a POST: before a login
// with ?command=allow whether it may go on, and after it with ?command=report to say
// how it ended. See "Authentication policy support" in Dovecot's manual. No login is
// refused here: every answer is {"status":0,"msg":""}, which lets Dovecot decide as it
// would without. A report of a success asks for a grant for the address it came from.
//
// The report of Dovecot 2.3, with the auth_policy_request_attributes below:
//
//	{"device_id":"","login":"shin","nologin":"no","protocol":"imap","proxy":"no",
//	 "proxy_maybe":"no","pwhash":"04ff","remote":"203.0.113.8",
//	 "session_id":"6eIlteBgStB/AAAB","success":true,"policy_reject":false,"tls":true}
//
// Of these, device_id, pwhash, session_id and tls are neither read nor logged. Only the
// protocols imap and pop3 count. Dovecot also authenticates for others: a client of SMTP,
// which may be this machine's own sendmail through Dovecot's SASL, or of Postfix on another,
// needs no grant to relay, since it has authenticated if it does; one of ManageSieve or
// doveadm has not read mail.
//
// # What a success is
//
// The passdb took the password, or needed none. If Dovecot is a proxy, its backend is yet
// to check the password (passdb fields proxy=y nopassword=y); if the account has nologin,
// the login is refused after the report. So proxy, proxy_maybe and nologin must be in each
// report and "no". Their default "no" has to stand in the variable: Dovecot 2.3 expands
// %{passdb:proxy} to an empty string whether the field is there or not, and
// %{passdb:proxy:no} to an empty string if it is there. The filter default of Dovecot 2.4
// replaces an empty string too, so its reports cannot tell them apart.
//
// A report cannot tell whether the userdb knows the user, which is looked up later.
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
//	auth_policy_request_attributes = login=%{requested_username} pwhash=%{hashed_password}
//	  remote=%{rip} device_id=%{client_id} protocol=%s session_id=%{session}
//	  proxy=%{passdb:proxy:no} proxy_maybe=%{passdb:proxy_maybe:no} nologin=%{passdb:nologin:no}
//
// The two of check save the requests that are answered the same way each time.
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
