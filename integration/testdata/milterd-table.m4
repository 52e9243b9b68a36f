dnl milterd.m4: connects a stock sendmail with milterd, through both of its doors.
dnl
dnl In sendmail.mc, in place of FEATURE(`access_db') and before the FEATUREs that
dnl use the access table (greet_pause, ratecontrol, conncontrol, delay_checks) and
dnl the MAILER lines:
dnl
dnl	include(`/etc/mail/m4/milterd.m4')dnl
dnl
dnl Defined before that line, these change what it does:
dnl
dnl	MILTERD_NO_FILTER	leaves the filter out
dnl	MILTERD_NO_ACCESS	leaves the access table to FEATURE(`access_db')
dnl	MILTERD_NO_RECEIVED	leaves this host's own Received: field as it is
dnl	MILTERD_NO_RULESETS	leaves Local_check_rcpt to your own LOCAL_RULESETS,
dnl				which then has to call $>milterd_received
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
dnl sendmail asks milterd for each key of the access table. Without -T a milterd
dnl that is down would be an empty table.
ifdef(`MILTERD_NO_ACCESS',,
`FEATURE(`access_db', `socket -T<TMPF> 'MILTERD_MAP, MILTERD_ACCESS_OPTIONS)')dnl
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
	$.$b')
LOCAL_CONFIG
# milterd says whose client is left out of Received:
Kreceived socket -f -T<TMPF> MILTERD_MAP
Kmilterd_macro macro

LOCAL_RULESETS
# asked for each recipient: only then is it known who has authenticated, and
# whether mail is relayed; sendmail forgets the macro with the message
Smilterd_received
R$*			$: $1 $| $(received $&{client_addr} / $&{daemon_port} / $&{daemon_name} / $&{auth_type} / $&{client_resolve} / $&{rcpt_mailer} / $&{client_name} / $1 $: KEEP $)
R$* $| SCRUB		$: $1 $(milterd_macro {milterd_scrub} $@ yes $)
R$* $| $* <TMPF>	$#error $@ 4.3.0 $: "451 Temporary system failure. Please try again later"
R$* $| $*		$: $1
ifdef(`MILTERD_NO_RULESETS',, `
SLocal_check_rcpt
R$*			$: $>milterd_received $1
')')dnl
divert(0)dnl
