package probe

import (
	"net/netip"
	"strings"
)

// form is one way to name a foreign recipient.
type form struct {
	name string
	// mail and rcpt are the arguments of MAIL and RCPT as they are sent. In them
	// {user} and {foreign} stand for the two halves of the victim's address, {own} for
	// a domain of the server, {ip} for its address literal.
	mail, rcpt string
	// ours: some servers take the address for a user of their own, and refuse later or
	// bounce.
	ours bool
}

const (
	nullSender = "FROM:<>"
	plainRcpt  = "TO:<{user}@{foreign}>"
)

// forms is the matrix. A recipient form goes with the null sender, a sender form with
// the plain recipient.
var forms = []form{
	{name: "plain", rcpt: plainRcpt},
	{name: "without brackets", rcpt: "TO:{user}@{foreign}"},
	{name: "blank before the bracket", rcpt: "TO: <{user}@{foreign}>"},
	{name: "blank within the brackets", rcpt: "TO:<{user}@{foreign} >"},
	{name: "tab before the bracket", rcpt: "TO:\t<{user}@{foreign}>"},
	{name: "trailing dot", rcpt: "TO:<{user}@{foreign}.>"},
	{name: "two trailing dots", rcpt: "TO:<{user}@{foreign}..>"},
	{name: "mixed case", rcpt: "tO:<{USER}@{FOREIGN}>"},
	{name: "percent", rcpt: "TO:<{user}%{foreign}@{own}>", ours: true},
	{name: "percent at the address literal", rcpt: "TO:<{user}%{foreign}@{ip}>", ours: true},
	{name: "percent at localhost", rcpt: "TO:<{user}%{foreign}@localhost>", ours: true},
	{name: "percent without a domain", rcpt: "TO:<{user}%{foreign}>", ours: true},
	{name: "percent twice", rcpt: "TO:<{user}%{foreign}%{own}@{own}>", ours: true},
	{name: "percent and an empty domain", rcpt: "TO:<{user}%{foreign}@>", ours: true},
	{name: "bang", rcpt: "TO:<{foreign}!{user}>", ours: true},
	{name: "bang at our domain", rcpt: "TO:<{foreign}!{user}@{own}>", ours: true},
	{name: "bang at the address literal", rcpt: "TO:<{foreign}!{user}@{ip}>", ours: true},
	{name: "bang twice", rcpt: "TO:<{own}!{foreign}!{user}>", ours: true},
	{name: "bang and percent", rcpt: "TO:<{own}!{user}%{foreign}>", ours: true},
	{name: "source route", rcpt: "TO:<@{own}:{user}@{foreign}>"},
	{name: "source route by the address literal", rcpt: "TO:<@{ip}:{user}@{foreign}>"},
	{name: "source route over two hosts", rcpt: "TO:<@{own},@{foreign}:{user}@{foreign}>"},
	{name: "source route without the sign", rcpt: "TO:<{own}:{user}@{foreign}>"},
	{name: "quoted", rcpt: `TO:<"{user}@{foreign}">`, ours: true},
	{name: "quoted at our domain", rcpt: `TO:<"{user}@{foreign}"@{own}>`, ours: true},
	{name: "quoted at the address literal", rcpt: `TO:<"{user}@{foreign}"@{ip}>`, ours: true},
	{name: "quoted percent", rcpt: `TO:<"{user}%{foreign}"@{own}>`, ours: true},
	{name: "quoted bang", rcpt: `TO:<"{foreign}!{user}"@{own}>`, ours: true},
	{name: "quoted user", rcpt: `TO:<"{user}"@{foreign}>`},
	{name: "partly quoted", rcpt: `TO:<a"{user}@{foreign}"%{own}@{own}>`, ours: true},
	{name: "quotes within quotes", rcpt: `TO:<"\"{user}@{foreign}\""@{own}>`, ours: true},
	{name: "quoted foreign domain", rcpt: `TO:<{user}@"{foreign}">`},
	{name: "domain that reads as a table key", rcpt: `TO:<{user}@"a:{foreign}:".b."connect:127">`},
	{name: "two signs", rcpt: "TO:<{user}@{foreign}@{own}>", ours: true},
	{name: "two signs, the address literal", rcpt: "TO:<{user}@{foreign}@{ip}>", ours: true},
	{name: "two signs, localhost", rcpt: "TO:<{user}@{foreign}@localhost>", ours: true},
	{name: "foreign address literal", rcpt: "TO:<{user}@[192.0.2.1]>"},
	{name: "foreign IPv6 literal", rcpt: "TO:<{user}@[IPv6:2001:db8::1]>"},
	{name: "foreign address without brackets", rcpt: "TO:<{user}@192.0.2.1>"},
	{name: "empty local part", rcpt: "TO:<@{foreign}>"},
	{name: "comment", rcpt: "TO:<{user}(x)@{foreign}>"},
	{name: "comment with our domain", rcpt: "TO:<{user}@{foreign}(@{own})>"},
	{name: "8-bit local part", rcpt: "TO:<{user}\xe9@{foreign}>"},
	{name: "SMTPUTF8 local part", mail: "FROM:<> SMTPUTF8", rcpt: "TO:<{user}é@{foreign}>"},
	{name: "encoded word", rcpt: "TO:<=?utf-8?q?{user}=40{foreign}?=@{own}>", ours: true},
	{name: "encoded sign", rcpt: "TO:<{user}%40{foreign}@{own}>", ours: true},
	{name: "over-long local part", rcpt: "TO:<{long}@{foreign}>"},
	{name: "over-long domain", rcpt: "TO:<{user}@{long}.{foreign}>"},
	{name: "two addresses", rcpt: "TO:<{user}@{foreign}>,<{user}@{own}>", ours: true},
	{name: "two addresses in one pair of brackets", rcpt: "TO:<{user}@{foreign},{user}@{own}>", ours: true},
	{name: "text between two addresses", rcpt: "TO:<{user}@{foreign}>...<{user}@{own}>", ours: true},
	{name: "list of a group", rcpt: "TO:<{own}:{user}@{foreign};>"},
	{name: "postmaster elsewhere", rcpt: "TO:<postmaster@{foreign}>"},
	{name: "mailto", rcpt: "TO:<mailto:{user}@{foreign}>"},
	{name: "subdomain of us", rcpt: "TO:<{user}@{foreign}.{own}>", ours: true},

	{name: "our domain as sender", mail: "FROM:<postmaster@{own}>", rcpt: plainRcpt},
	{name: "our address as sender", mail: "FROM:<postmaster@{ip}>", rcpt: plainRcpt},
	{name: "localhost as sender", mail: "FROM:<postmaster@localhost>", rcpt: plainRcpt},
	{name: "sender without a domain", mail: "FROM:<postmaster>", rcpt: plainRcpt},
	{name: "sender that is only our domain", mail: "FROM:<{own}>", rcpt: plainRcpt},
	{name: "victim as sender", mail: "FROM:<{user}@{foreign}>", rcpt: plainRcpt},
	{name: "sender with a source route", mail: "FROM:<@{own}:postmaster@{foreign}>", rcpt: plainRcpt},
	{name: "sender with percent", mail: "FROM:<postmaster%{foreign}@{own}>", rcpt: plainRcpt},
	{name: "our domain as sender and percent", mail: "FROM:<postmaster@{own}>", rcpt: "TO:<{user}%{foreign}@{own}>", ours: true},
	{name: "stranger as sender", mail: "FROM:<{stranger}>", rcpt: plainRcpt},
}

// filled puts the names of this probe in place.
func (f form) filled(o Options, own string, addr netip.Addr) form {
	user, foreign, _ := strings.Cut(o.Victim, "@")
	literal := "[" + addr.String() + "]"
	if addr.Is6() {
		literal = "[IPv6:" + addr.String() + "]"
	}
	names := strings.NewReplacer(
		"{user}", user, "{USER}", strings.ToUpper(user), "{foreign}", foreign, "{FOREIGN}", strings.ToUpper(foreign),
		"{own}", own, "{ip}", literal, "{stranger}", o.Sender, "{long}", strings.Repeat("x", 300))
	if f.mail == "" {
		f.mail = nullSender
	}
	f.mail, f.rcpt = names.Replace(f.mail), names.Replace(f.rcpt)
	return f
}
