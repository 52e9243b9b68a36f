dnl milterd.m4: connects a stock sendmail with milterd, through both of its doors.
dnl
dnl In sendmail.mc, in place of FEATURE(`access_db') and before the FEATUREs that
dnl use the access table (greet_pause, ratecontrol, conncontrol, delay_checks) and
dnl the MAILER lines:
dnl
dnl	include(`/etc/mail/m4/milterd.m4')dnl
dnl
dnl milterd is asked once for each recipient, and its answer is what counts: who may
dnl relay, who and what is refused. The access table that sendmail's own rules ask key
dnl by key is needed only for what happens before that, or beside it: entries GreetPause:,
dnl ClientRate:, ClientConn:, Srv_Features:, TLS_Clt:, TLS_Rcpt:, TLS_Srv:, Try_TLS: and
dnl AuthInfo:, and the exceptions that FEATUREs such as dnsbl find there. A file that
dnl cannot know what is in the table keeps it, and it is milterd's own, so there is one
dnl truth. If you have none of these, define MILTERD_NO_ACCESS: it saves some thirty
dnl questions in each session. The table stays all the same if a FEATURE has to have it:
dnl greet_pause, ratecontrol, conncontrol, delay_checks with friend or hater, and
dnl relay_mail_from. FEATURE(`access_db') elsewhere would be a second table; leave it out.
dnl `milterd -mc -cf FILE' tells what in a sendmail.cf needs the table.
dnl
dnl Defined before that line, these change what it does:
dnl
dnl	MILTERD_NO_FILTER	leaves the filter out
dnl	MILTERD_NO_ACCESS	leaves FEATURE(`access_db') out, unless a FEATURE needs it:
dnl				sendmail asks milterd about each recipient, and not for
dnl				each key of the table
dnl	MILTERD_NO_RECEIVED	leaves this host's own Received: field as it is
dnl	MILTERD_NO_RULESETS	leaves Local_check_rcpt to your own LOCAL_RULESETS,
dnl				which then has to call $>milterd_rcpt $1 and to
dnl				return the $# that it may give
dnl	MILTERD_NO_BANNER	leaves the greeting as it is
dnl	MILTERD_NO_PRIVACY	leaves authwarnings in confPRIVACY_FLAGS; without it,
dnl				define those flags before this line, if at all
dnl
dnl	MILTERD_FILTER		listen.milter of milterd's configuration
dnl	MILTERD_MAP		listen.map
dnl	MILTERD_TIMEOUTS	of the filter
dnl	MILTERD_ACCESS_OPTIONS	arguments of FEATURE(`access_db') after the map,
dnl				`skip' by default, such as ``skip', `lookupdotdomain''
dnl	MILTERD_FROM		what Received: says in place of the client, as
dnl				received.from
dnl	MILTERD_BY		and in place of sendmail's version, as received.by
dnl	MILTERD_BANNER		the greeting behind the host name
ifdef(`MILTERD_FILTER',, `define(`MILTERD_FILTER', `local:/run/milterd/milter.sock')')dnl
ifdef(`MILTERD_MAP',, `define(`MILTERD_MAP', `local:/run/milterd/map.sock')')dnl
ifdef(`MILTERD_TIMEOUTS',, `define(`MILTERD_TIMEOUTS', `S:10s;R:10s;E:1m')')dnl
ifdef(`MILTERD_ACCESS_OPTIONS',, `define(`MILTERD_ACCESS_OPTIONS', ``skip'')')dnl
ifdef(`MILTERD_FROM',, `define(`MILTERD_FROM', `from SMTP')')dnl
ifdef(`MILTERD_BY',, `define(`MILTERD_BY', `(SMTP server)')')dnl
ifdef(`MILTERD_BANNER',, `define(`MILTERD_BANNER', `$b')')dnl
dnl
dnl While milterd is down, mail is put off (F=T): never refused for good, never
dnl taken unfiltered.
ifdef(`MILTERD_NO_FILTER',,
`INPUT_MAIL_FILTER(`milterd', `S='MILTERD_FILTER`, F=T, T='MILTERD_TIMEOUTS)')dnl
dnl
dnl The access table for what is not decided at RCPT. Without -T a milterd that is
dnl down would be an empty table. What stands between tag and key says whose mail it is,
dnl and that milterd can end a search at its first key by the value SKIP.
define(`milterd_access', `FEATURE(`access_db', `socket -f -T<TMPF> 'MILTERD_MAP, MILTERD_ACCESS_OPTIONS)
define(`_TAG_DELIM_', `$| ifdef(`_ACCESS_SKIP_', `ifdef(`_LOOKUPDOTDOMAIN_', `', `skip')') $| $&i $| $&{client_addr} $|')')dnl
dnl
dnl Which FEATUREs there are is known when the first MAILER line comes. Until then they find
dnl a table. One that FEATURE(`access_db') has made (_ATMPF_) is left alone.
define(`milterd_settle', `define(`milterd_settle', `')ifdef(`_ATMPF_', `',
`ifdef(`_GREET_PAUSE_', `undefine(`_GREET_PAUSE_')milterd_access()', `ifdef(`_RATE_CONTROL_', `milterd_access()', `ifdef(`_CONN_CONTROL_', `milterd_access()',
`ifdef(`_SPAM_FH_', `milterd_access()', `ifdef(`_RELAY_DB_FROM_', `milterd_access()', `undefine(`_ACCESS_TABLE_')')')')')')')')dnl
ifdef(`MILTERD_NO_ACCESS',
`define(`_ACCESS_TABLE_', `')define(`milterd_MAILER', defn(`MAILER'))define(`MAILER', `milterd_settle`'milterd_MAILER($@)')',
`milterd_access()')dnl
dnl
ifdef(`MILTERD_NO_BANNER',, `define(`confSMTP_LOGIN_MSG', `$j MILTERD_BANNER')')dnl
dnl
dnl With authwarnings, sendmail adds an X-Authentication-Warning that names a client
dnl which has not said HELO, and no filter is shown it. The other flags stay. goaway
dnl stays, too: it has needmailhelo in it, so there is nothing to warn of.
ifdef(`MILTERD_NO_PRIVACY',,
`define(`confPRIVACY_FLAGS', patsubst(patsubst(patsubst(defn(`confPRIVACY_FLAGS'), `^.*$', ````\&''''), `authwarnings, *'), `,? *authwarnings'))dnl
ifelse(defn(`confPRIVACY_FLAGS'), `', `define(`confPRIVACY_FLAGS', `public')')')dnl
dnl
dnl The stock field, with a short form for mail whose client is nobody's business.
ifdef(`MILTERD_NO_RECEIVED',,
`define(`confRECEIVED_HEADER', `$?{milterd_scrub}MILTERD_FROM
	$|$?sfrom $s $.$?_($?s$|from $.$_)
	$.$?{auth_type}(authenticated$?{auth_ssf} bits=${auth_ssf}$.)
	$.$.by $j$?{milterd_scrub}ifelse(MILTERD_BY, `', `', ` MILTERD_BY')$| ($v/$Z)$.$?r with $r$. id $i$?{tls_version}
	(version=${tls_version} cipher=${cipher} bits=${cipher_bits} verify=${verify})$.$?u
	for $u; $|;
	$.$b')')dnl
dnl
dnl The map of the question has no -T: what cannot be asked must not come back as a long
dnl key, which sendmail may refuse for good. Its rules take no answer for 451.
LOCAL_CONFIG
# milterd decides about each recipient, and says whose client Received: leaves out
Kmilterd socket -q -f MILTERD_MAP
Kmilterd_macro macro

dnl These rules come before sendmail's own of that name, which end with a refusal;
dnl sendmail -bt says that there are more of them. Other LOCAL_RULE_0 lines may follow.
LOCAL_RULE_0
# what milterd lets be relayed passes sendmail's own rules, and what delay_checks has put
# off goes on. It holds for one recipient.
SBasic_check_rcpt
R$*			$: <$&{milterd_relay}> $1
R<yes> $*		$@ RELAY $(milterd_macro {milterd_relay} $)
R<$*> $*		$: $2

SParseLocal=98

LOCAL_RULESETS
# the domain that check_rcpt judges, which is not always the one that the client wrote: an
# alias in the DNS (CNAME), a table of domains and rules of your own lead to another
Smilterd_domain
R$*			$: $>ParseRecipient $1
R$#$*			$@
R$* < @ $+ > $*		$@ $2
R$*			$@ .

# the recipient with that domain, and nothing behind it; or, if there is another operator, also
# within quotes, as it is, and the domain
Smilterd_to
R$*			$: $1 $| $>milterd_domain $1
R<$* $=O $* @ $*> $| $*	$@ <$1 $2 $3 @ $4> $| $5
R<$* @ $* $=O $*> $| $*	$@ <$1 @ $2 $3 $4> $| $5
R<$- @ $+> $| $+	$: <$1 @ $2> $| $3 $| $(dequote $1 $)
R<$*> $| $+ $| $* $=O $*	$@ <$1> $| $2
R<$+ @ $+> $| $+ $| $*	$@ <$1 @ $3> $|
R<$+ @ $+> $| $+	$@ <$1 @ $3> $|

# one question with all that is known. If it cannot be asked, as it is too long, the
# ruleset ends with what it has by then, which is no answer. What the recipient's own host is
# its address says; so {rcpt_host} is there only if it is the code of a refusal.
Smilterd_ask
R$*			$: $>milterd_to $1
R$* $| $*		$: <$&{rcpt_mailer}> $| $1 $| $2
R<error> $| $*		$: $&{rcpt_host} $| $1
R<$*> $| $*		$: $| $2
R$* $| $*		$: <$&{verify}> $| $1 $| $2
R<OK> $| $*		$: TMPF $| $&{cert_issuer} $| $&{cert_subject} $| $1
R<TRUSTED> $| $*	$: TMPF $| $&{cert_issuer} $| $&{cert_subject} $| $1
R<$*> $| $*		$: TMPF $| $| $| $2
RTMPF $| $* $| $* $| $* $| $* $| $*	$: $(milterd 3 $| $&i $| $&{client_addr} $| $&{client_resolve} $| $&{daemon_port} $| $&{daemon_name} $| $&{auth_type} $| $&{auth_authen} $| $&{tls_version} $| $&{verify} $| $&{rcpt_mailer} $| $3 $| $&{client_name} $| $&{client_ptr} $| $1 $| $2 $| $&s $| $&f $| $4 $| $5 $| END $: TMPF $)

# the answer as a result of check_rcpt: $# ends it, and what is no answer is put off
Smilterd_answer
R$*			$: $>milterd_ask $1
ifdef(`MILTERD_NO_RECEIVED', `RHIDE $+		$: <$1>', `# sendmail forgets the macro with the message
RHIDE $+		$: <$1> $(milterd_macro {milterd_scrub} $@ yes $)')
RSHOW $+		$: <$1>
R<TRUSTED>		$#RELAY
R<RELAY>		$@ NONE $(milterd_macro {milterd_relay} $@ yes $)
R<NONE>			$@ NONE $(milterd_macro {milterd_relay} $)
R<REFUSE $-.$-.$- $+>	$#error $@ $1.$2.$3 $: $4
R<DISCARD>		$#discard $: discard
R<QUARANTINE $+>	$#error $@ quarantine $: $1
R$*			$#error $@ 4.3.0 $: "451 Temporary system failure. Please try again later"

Smilterd_rcpt
R$*			$: $1 $| $>milterd_answer $1
R$* $| $#$*		$#$2
R$* $| NONE		$@ $1
R$*			$#error $@ 4.3.0 $: "451 Temporary system failure. Please try again later"
ifdef(`MILTERD_NO_RULESETS', `
# the name that rules of your own may call it by
Smilterd_received
R$*			$: $>milterd_rcpt $1
', `
SLocal_check_rcpt
R$*			$: $>milterd_rcpt $1
')dnl
divert(0)dnl
