package advice

import (
	"bytes"
	"cmp"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"milterd/configs"
	"milterd/configs/sendmail"
	"milterd/policy"
	"milterd/policy/access"
)

// System is where an operating system has the files of sendmail.
type System struct {
	// MC is the file that the lines go into, Include where milterd.m4 is put by hand and
	// Feature where a package puts it, and Make what has the lines take effect.
	MC, Include, Feature, Make string
}

// BothDoors is the line that connects both doors: a FEATURE if a package has installed it.
func (s System) BothDoors() string {
	if _, err := os.Stat(s.Feature); err == nil {
		return "FEATURE(`milterd')dnl"
	}
	return "include(`" + s.Include + "')dnl"
}

// Systems are those whose places are known, by name.
var Systems = map[string]System{
	"debian":  {"/etc/mail/sendmail.mc", "/etc/mail/m4/milterd.m4", "/usr/share/sendmail/cf/feature/milterd.m4", "make -C /etc/mail && systemctl restart sendmail"},
	"rhel":    {"/etc/mail/sendmail.mc", "/etc/mail/milterd.m4", "/usr/share/sendmail-cf/feature/milterd.m4", "make -C /etc/mail && systemctl restart sendmail"},
	"freebsd": {"/etc/mail/HOSTNAME.mc", "/etc/mail/milterd.m4", "/usr/share/sendmail/cf/feature/milterd.m4", "make -C /etc/mail all install restart"},
}

// BothDoorsHere is that line on this machine: of Debian, if nothing says that it is another.
func BothDoorsHere() string {
	here := Systems["debian"]
	for _, s := range Systems {
		if _, err := os.Stat(s.Feature); err == nil {
			here = s
		}
	}
	return here.BothDoors()
}

// timeouts are those of the filter, with room for all that milterd asks the DNS.
func timeouts(c *configs.Config) string {
	needed := (c.DNS.Deadline + 2*time.Second).Round(time.Second)
	if needed <= 10*time.Second {
		return configs.StockTimeouts
	}
	return fmt.Sprintf("S:%ds;R:%ds;E:1m", int(needed.Seconds()), int(needed.Seconds()))
}

// MC writes the lines for a sendmail.mc that connect sendmail with a configuration:
// through the filter door only, or through both. cf is what sendmail.mc makes so far,
// nil if that is not known.
func MC(c *configs.Config, cf *sendmail.Config, both bool, on System) string {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	line("dnl Lines for %s, before its MAILER lines. Afterwards: %s", on.MC, on.Make)
	line("dnl")
	line("dnl VRFY and EXPN tell strangers which users there are.")
	flags := "restrictqrun"
	if cf != nil {
		flags = cf.Options.Get("PrivacyOptions").Value
	}
	line("%s", privacyLine(flags))
	line("dnl")
	if both {
		bothDoors(line, c, cf, on)
	} else {
		line("dnl Both doors (-both) let sendmail's own rules read the access table through milterd,")
		line("dnl and hide the client in the Received field that this host adds.")
		line("dnl")
		line("dnl sendmail asks milterd. While it is down, mail is put off (F=T), never taken unfiltered.")
		for _, address := range c.Listen.Milter {
			line("%s", configs.FilterLine(address, timeouts(c)))
		}
		line("define(`confSMTP_LOGIN_MSG', `$j $b')dnl")
	}
	line("dnl")
	line("dnl The ports. Take all other DAEMON_OPTIONS lines out. For IPv6 as well, write Family=inet6.")
	line("FEATURE(`no_default_msa')dnl")
	line("DAEMON_OPTIONS(`Name=MTA, Family=inet, Port=smtp%s')dnl", modifiers("", c.Ports["25"].Auth))
	line("DAEMON_OPTIONS(`Name=MSA, Family=inet, Port=submission%s')dnl", modifiers("E", c.Ports["587"].Auth))
	line("dnl DAEMON_OPTIONS(`Name=MSAS, Family=inet, Port=465%s')dnl   needs a certificate", modifiers("Es", c.Ports["465"].Auth))
	authLines(line, c)
	return b.String()
}

func bothDoors(line func(string, ...any), c *configs.Config, cf *sendmail.Config, on System) {
	last := on.BothDoors()
	if strings.HasPrefix(last, "include") {
		line("dnl %s is configs/sendmail/milterd.m4 of milterd: put it there first.", on.Include)
	}
	line("dnl The last of these lines takes the place of FEATURE(`access_db') and of other lines for")
	line("dnl milterd, and stands before the FEATUREs that use the access table:")
	line("dnl greet_pause, delay_checks, conncontrol, ratecontrol.")
	define := func(name, value, stock string) {
		if value != stock {
			line("define(`%s', `%s')dnl", name, value)
		}
	}
	if len(c.Listen.Milter) > 0 {
		define("MILTERD_FILTER", c.Listen.Milter[0], "local:/run/milterd/milter.sock")
	}
	if len(c.Listen.Map) > 0 {
		define("MILTERD_MAP", c.Listen.Map[0], "local:/run/milterd/map.sock")
	}
	define("MILTERD_TIMEOUTS", timeouts(c), configs.StockTimeouts)
	define("MILTERD_FROM", c.Received.Rules.From, "from SMTP")
	define("MILTERD_BY", c.Received.Rules.By, "(SMTP server)")
	tableLines(line, c, cf)
	line("%s", last)
}

// privacyLine has all of goaway, and the flags there were that are no part of it.
func privacyLine(flags string) string {
	list := []string{"goaway"}
	for _, flag := range privacyFlags(flags) {
		switch flag {
		case "noreceipts", "nobodyreturn", "noetrn", "restrictmailq", "restrictqrun", "restrictexpand", "noactualrecipient":
			list = append(list, flag)
		}
	}
	return "define(`confPRIVACY_FLAGS', `" + strings.Join(list, ",") + "')dnl"
}

func privacyFlags(value string) []string {
	return strings.FieldsFunc(strings.ToLower(value), func(r rune) bool { return r == ',' || r == ' ' })
}

// tableLines leave the access table out of sendmail's own rules, if nothing but milterd
// needs it.
func tableLines(line func(string, ...any), c *configs.Config, cf *sendmail.Config) {
	const lineOut = "define(`MILTERD_NO_ACCESS')dnl"
	if cf == nil {
		line("dnl %s   saves some twenty-five questions a session, if nothing but milterd", lineOut)
		line("dnl needs the table: say with -cf which sendmail.cf there is, to be told.")
		return
	}
	if reasons := needsTable(cf, cmp.Or(cf.Access.Text, c.AccessFile())); len(reasons) > 0 {
		line("dnl sendmail's own rules go on asking for the table's keys, as it has:")
		for _, reason := range reasons {
			line("dnl   %s", reason)
		}
		return
	}
	line("dnl Nothing but milterd needs the table. With this line, sendmail does not ask for its keys;")
	line("dnl take FEATURE(`access_db') out.")
	if cf.Access.Type != "" {
		line("dnl milterd.yaml has to say then: access: {features: [%s]}", strings.Join(configs.FeatureNames(cf.Features), ", "))
	}
	line("%s", lineOut)
}

// needsTable lists what is decided before milterd is asked at RCPT, or beside it, and has
// exceptions or settings in the access table.
func needsTable(cf *sendmail.Config, table string) []string {
	var reasons []string
	for _, f := range []struct {
		on   bool
		name string
	}{
		{cf.GreetPause.Line > 0, "FEATURE(`greet_pause')"}, {cf.RateControl.Line > 0, "FEATURE(`ratecontrol')"},
		{cf.ConnControl.Line > 0, "FEATURE(`conncontrol')"}, {cf.Features.Friend, "FEATURE(`delay_checks', `friend')"},
		{cf.Features.Hater, "FEATURE(`delay_checks', `hater')"}, {cf.Features.RelayMailFrom, "FEATURE(`relay_mail_from')"}, {len(cf.DNSLists) > 0, "FEATURE(`dnsbl') or the like"},
		{cf.RDNS != (sendmail.RDNS{}), "FEATURE(`require_rdns') or the like"},
	} {
		if f.on {
			reasons = append(reasons, f.name)
		}
	}
	// One that cannot be read has none: the configuration's own warnings say so.
	text, _ := os.ReadFile(table)
	entries, _, _ := access.Parse(table, bytes.NewReader(text), access.Features{})
	lines := strings.Split(string(text), "\n")
	for _, line := range slices.Sorted(maps.Values(entries.MTATags())) {
		reasons = append(reasons, fmt.Sprintf("%s:%d: %s", table, line, strings.Join(strings.Fields(lines[line-1]), " ")))
	}
	return reasons
}

// modifiers are those of a port, with what its rule for AUTH adds.
func modifiers(flags string, rule policy.AuthRule) string {
	switch rule {
	case policy.AuthRequire:
		flags = strings.Replace(flags+"a", "Esa", "Eas", 1)
	case policy.AuthRefuse:
		flags = "A" + flags
	}
	if flags == "" {
		return ""
	}
	return ", M=" + flags
}

// authLines switch AUTH on, if there is a port for it.
func authLines(line func(string, ...any), c *configs.Config) {
	mechanisms := slices.DeleteFunc(slices.Clone(c.Checks.Relay.TrustAuthMech), func(m string) bool { return strings.EqualFold(m, "EXTERNAL") })
	if len(mechanisms) == 0 {
		return
	}
	list := strings.Join(mechanisms, " ")
	line("dnl")
	line("dnl Who has logged in may relay. The second line keeps passwords out of clear text: PLAIN and")
	line("dnl LOGIN are offered after STARTTLS only, so it needs a certificate (confSERVER_CERT, confSERVER_KEY).")
	line("define(`confAUTH_MECHANISMS', `%s')dnl", list)
	line("define(`confAUTH_OPTIONS', `A p y')dnl")
	line("TRUST_AUTH_MECH(`%s')dnl", list)
}
