package advice

import (
	"cmp"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"milterd/configs"
	"milterd/configs/sendmail"
	"milterd/policy"
	"milterd/policy/access"
)

// mta looks at the filter and the maps, beyond what the configuration itself warns of.
func (p *patient) mta() {
	for _, m := range p.cf.Sockets {
		if m.Name != "milterd" || !configs.LeadsTo(p.Config.Listen.Map, m.Socket) {
			continue
		}
		if !m.Asked {
			p.at(configs.Severe, m.Line, "R$*\t$: $>milterd_rcpt $1   as the first rule of SLocal_check_rcpt",
				"the rules of milterd.m4 are never called, so sendmail does not ask milterd about recipients: Local_check_rcpt has to (MILTERD_NO_RULESETS)")
		}
		if text := p.cf.Access.Text; text != "" && text != p.Config.AccessFile() {
			p.at(configs.Warning, p.cf.Access.Line, "dnl FEATURE(`access_db')   and no MILTERD_NO_ACCESS: the include brings milterd's table",
				"sendmail's own rules go on looking into a table of their own, %s, beside milterd's", text)
		}
	}
	for _, call := range p.cf.Undefined {
		p.at(configs.Severe, call.Line, "FEATURE(`access_db')dnl   or whatever had the ruleset before, see what m4 complains of",
			"a rule calls the ruleset %s, which there is not: sendmail refuses the mail with 554 5.3.5", call.Value)
	}
	for _, again := range p.cf.Reopened {
		p.at(configs.Warning, again.Line, "", "the ruleset %s has rules already: these are added behind them, and count only if those before let them", again.Value)
	}
}

// relaying looks for what lets strangers relay, beside the table.
func (p *patient) relaying() {
	f := p.cf.Features
	if f.RelayLocalFrom {
		p.at(configs.Severe, 0, "dnl FEATURE(`relay_local_from')", "FEATURE(relay_local_from) is in force: anybody who gives one of your addresses as sender may relay")
	}
	if f.RelayMailFrom {
		p.at(configs.Warning, 0, "dnl FEATURE(`relay_mail_from')", "FEATURE(relay_mail_from) is in force: anybody who gives a sender with a From: RELAY entry may relay")
	}
	for _, name := range p.cf.Relay.Names {
		if network, ok := access.FirstPart(strings.Trim(name, "[].")); ok && !network.Addr().IsPrivate() && !network.Addr().IsLoopback() {
			p.at(configs.Severe, 0, "RELAY_DOMAIN(`NETWORK OF YOUR OWN')dnl", "class R has %s, and so relays for the whole network %s", name, network)
		}
	}
}

// ports looks at who may log in where.
func (p *patient) ports() {
	offered := strings.Fields(p.cf.Options.Get("AuthMechanisms").Value)
	clear := slices.ContainsFunc(offered, func(m string) bool { return strings.EqualFold(m, "PLAIN") || strings.EqualFold(m, "LOGIN") })
	needsTLS := strings.Contains(p.cf.Options.Get("AuthOptions").Value, "p")
	told := false
	for _, d := range p.cf.Daemons {
		rule := p.rule(d)
		modifiers := strings.Replace(d.Flags, "A", "", 1)
		switch {
		case d.Port == "587" && !d.Demands():
			demanded := ""
			if rule.Auth == policy.AuthRequire {
				demanded = "; milterd demands it (ports.587.auth)"
			}
			p.at(configs.Warning, d.Line, p.demanding(d, modifiers), "port 587 does not demand AUTH (M=a): strangers deliver there, past the rules of port 25%s", demanded)
		case d.Port == "25" && d.Offers() && rule.Auth == policy.AuthRefuse:
			p.at(configs.Warning, d.Line, daemonLine(d, modifiers+"A"), "port 25 offers AUTH, and milterd refuses those who use it (ports.25.auth: refuse)")
		case d.Port == "25" && d.Offers() && len(offered) > 0:
			p.at(configs.Note, d.Line, daemonLine(d, modifiers+"A"), "port 25 offers AUTH: passwords can be guessed there, and port 587 is the place for it")
		}
		if clear && !needsTLS && d.Offers() && !strings.Contains(d.Flags, "s") && !told {
			told = true
			p.at(configs.Warning, p.cf.Options.Get("AuthMechanisms").Line, "define(`confAUTH_OPTIONS', `A p y')dnl   with a certificate for STARTTLS",
				"%s are offered without TLS as well, so passwords go over the wire in clear text", strings.Join(offered, " "))
		}
	}
}

// rule is what the configuration says of a listener.
func (p *patient) rule(d sendmail.Daemon) policy.Port {
	if rule, ok := p.Config.Ports[d.Name]; ok {
		return rule
	}
	return p.Config.Ports[d.Port]
}

// demanding are the lines by which a port 587 demands AUTH. m4 itself makes the one that
// stands there without a FEATURE(no_default_msa), and the port 25 that there is without a
// DAEMON_OPTIONS.
func (p *patient) demanding(port sendmail.Daemon, modifiers string) string {
	if port.Name != "MSA" || port.Addr != "" || port.Flags != "E" {
		return daemonLine(port, modifiers+"a")
	}
	lines := []string{"FEATURE(`no_default_msa')dnl   and these lines in place of all other DAEMON_OPTIONS:"}
	for _, d := range p.cf.Daemons {
		flags := d.Flags
		if d.Line == port.Line {
			flags = modifiers + "a"
		}
		lines = append(lines, daemonLine(d, flags))
	}
	return strings.Join(lines, "\n")
}

// daemonLine is a DAEMON_OPTIONS line for a listener, with other modifiers.
func daemonLine(d sendmail.Daemon, flags string) string {
	port := cmp.Or(map[string]string{"25": "smtp", "587": "submission"}[d.Port], d.Port)
	var fields []string
	for _, f := range [][2]string{{"Name", d.Name}, {"Family", d.Family}, {"Addr", d.Addr}, {"Port", port}, {"M", flags}} {
		if f[1] != "" {
			fields = append(fields, f[0]+"="+f[1])
		}
	}
	return "DAEMON_OPTIONS(`" + strings.Join(append(fields, d.Without("nfapm")...), ", ") + "')dnl"
}

// telling looks for what sendmail tells and need not tell.
func (p *patient) telling() {
	o := p.cf.Options
	if g := o.Get("SmtpGreetingMessage"); strings.Contains(g.Value, "$v") || strings.Contains(g.Value, "$Z") {
		p.at(configs.Note, g.Line, "define(`confSMTP_LOGIN_MSG', `$j $b')dnl", "the greeting tells the version of sendmail")
	}
	if r := p.cf.Received; r.ShowsVersion && !r.Hides {
		p.at(configs.Note, r.Line, p.BothDoors+"   in place of FEATURE(`access_db') and of other lines for milterd", "the Received field tells the version of sendmail, and the client of your own users: milterd.m4 has one that does not")
	}
	privacy := o.Get("PrivacyOptions")
	flags := privacyFlags(privacy.Value)
	has := func(flag string) bool { return slices.Contains(flags, flag) || slices.Contains(flags, "goaway") }
	var open []string
	for _, verb := range []string{"vrfy", "expn"} {
		if !has("no" + verb) {
			open = append(open, strings.ToUpper(verb))
		}
	}
	if len(open) > 0 {
		p.at(configs.Note, privacy.Line, privacyLine(privacy.Value), "%s can be used by strangers to find out which users there are", strings.Join(open, " and "))
	}
}

// tables looks at the files that maps are made of. One from the future tells that the
// clock is wrong, or was.
func (p *patient) tables() {
	for _, path := range []string{p.CF, p.Config.AccessFile()} {
		if age, ok := p.age(path); ok && age < -time.Minute {
			p.add(configs.Warning, "touch "+path+"   once the clock is right: see timedatectl", path, 0,
				"it is from the future: the clock of this machine is wrong, or was, and dates in headers, certificates and the end of relay grants go by it")
		}
	}
	p.unread()
	for _, m := range p.cf.Maps {
		if m.Text == "" {
			continue
		}
		made, ok := p.age(m.File)
		text, has := p.age(m.Text)
		if ok && has && made > text+time.Second {
			p.at(configs.Warning, m.Line, "makemap "+m.Type+" "+m.File+" < "+m.Text, "%s is older than %s: sendmail does not know what has been changed since", m.File, m.Text)
		}
	}
}

// unread looks for what is not in force yet. sendmail writes its pid file when it has read
// its sendmail.cf, at the start and after SIGHUP.
func (p *patient) unread() {
	made, ok := p.age(p.CF)
	if !ok || made < 0 {
		return // from the future
	}
	pidFile := p.cf.Options.Get("PidFile").Value
	if started, ok := p.age(pidFile); ok && made < started && namesSendmail(pidFile) {
		p.add(configs.Warning, "systemctl restart sendmail", p.CF, 0, "it has been written since the running sendmail has read it, and is not in force")
	}
	mc := strings.TrimSuffix(p.CF, ".cf") + ".mc"
	if written, ok := p.age(mc); ok && made > written+time.Second {
		p.add(configs.Warning, "make -C "+filepath.Dir(p.CF)+"   and then systemctl restart sendmail", p.CF, 0, "what was changed in %s since is not in it yet", mc)
	}
}

// namesSendmail reports whether a sendmail runs as the process of a pid file.
func namesSendmail(pidFile string) bool {
	text, err := os.ReadFile(pidFile)
	if err != nil {
		return false
	}
	pid, _, _ := strings.Cut(string(text), "\n")
	name, err := os.ReadFile("/proc/" + filepath.Base(pid) + "/comm")
	return err == nil && strings.Contains(string(name), "sendmail")
}

// modes looks for files that others can write to. sendmail itself warns of its own file and
// does not take such aliases, unless DontBlameSendmail says so; maps and class files it takes.
func (p *patient) modes() {
	trusted := strings.ToLower(p.cf.Options.Get("DontBlameSendmail").Value)
	if who := writers(p.CF, 0o022); who != "" {
		p.add(configs.Severe, "chmod go-w "+p.CF, p.CF, 0, "%s can write to it, and so decides what sendmail does as root (dangerous write permissions)", who)
	}
	for word := range strings.SplitSeq(p.cf.Options.Get("AliasFile").Value, ",") {
		path := word[strings.LastIndexAny(word, ": ")+1:]
		mask := os.FileMode(0)
		if !strings.Contains(trusted, "groupwritablealiasfile") {
			mask |= 0o020
		}
		if !strings.Contains(trusted, "worldwritablealiasfile") {
			mask |= 0o002
		}
		if who := writers(path, mask); who != "" {
			p.add(configs.Warning, "chmod go-w "+path, path, 0, "%s can write to the aliases, so newaliases does not take them, and what is changed there has no effect", who)
		}
	}
	for _, m := range p.cf.Maps {
		for _, path := range []string{m.Text, m.File} {
			// The configuration's own warnings have milterd's table.
			if who := writers(path, 0o002); who != "" && path != p.Config.AccessFile() {
				p.add(configs.Warning, "chmod o-w "+path, path, 0, "%s can write to the map %s", who, m.Name)
			}
		}
	}
}

// writers says who can write to a file beside its owner, if mask has those. It is empty if
// only the owner can, or if there is no such file.
func writers(path string, mask os.FileMode) string {
	info, err := os.Stat(path)
	switch {
	case err != nil || !info.Mode().IsRegular():
		return ""
	case info.Mode()&mask&0o002 != 0:
		return "every user of this machine"
	case info.Mode()&mask&0o020 != 0:
		return "a group"
	}
	return ""
}

// surroundings looks at what both rest on.
func (p *patient) surroundings() {
	c := p.Config
	if age, ok := p.age(c.Name()); ok && c.Mode == policy.ModeShadow && age > 14*24*time.Hour {
		p.add(configs.Warning, "mode: enforce", c.Name(), 0, "mode: shadow since %d days: milterd logs, and refuses nothing", int(age.Hours()/24))
	}
	p.findings = append(p.findings, c.UnsafeSockets(p.cf != nil && strings.Contains(strings.ToLower(p.cf.Options.Get("DontBlameSendmail").Value), "groupwritabledirpathsafe"))...)
	if len(c.DNS.Lists) > 0 {
		p.resolver()
	}
	p.realms()
}

// saslauthd looks at no realm, unless it is started with -r.
var (
	saslauthd  = regexp.MustCompile(`(?m)^\s*pwcheck_method:.*\bsaslauthd\b`)
	withRealms = regexp.MustCompile(`(?m)^\s*(?:OPTIONS|FLAGS|saslauthd_flags)=.*[\s"']-[a-zA-Z]*r\b`)
)

// realms looks for passwords that hold with any realm, if something goes by the login.
func (p *patient) realms() {
	if !saslauthd.MatchString(p.SASL) || withRealms.MatchString(p.Saslauthd) || p.Config.Domains.Realms.Empty() {
		return
	}
	byLogin := p.Config.Checks.SenderLogin.Mode != policy.ModeOff
	for _, l := range p.Config.Limits.Rules {
		byLogin = byLogin || l.By == policy.ByLogin && l.Mode != policy.ModeOff
	}
	if byLogin {
		p.add(configs.Warning, "OPTIONS=\"… -r\"   in /etc/default/saslauthd, or pwcheck_method: auxprop, or domains: {realms: []} in milterd.yaml", "Sendmail.conf", 0,
			"saslauthd takes a password with any realm, unless it runs with -r: with each realm of domains.realms a user has a count of its own, and its sender address")
	}
}

// publicResolvers answer for anybody; DNS lists refuse them, or say that all is well.
var publicResolvers = []string{"1.0.0.1", "1.1.1.1", "8.8.4.4", "8.8.8.8", "9.9.9.9", "149.112.112.112", "208.67.220.220", "208.67.222.222",
	"2001:4860:4860::8844", "2001:4860:4860::8888", "2606:4700:4700::1001", "2606:4700:4700::1111", "2620:fe::9", "2620:fe::fe"}

func (p *patient) resolver() {
	public := func(file string, line int, server string) {
		if slices.Contains(publicResolvers, server) {
			p.add(configs.Warning, "dns: {servers: [127.0.0.1]}   # a resolver of your own", file, line, "%s is a public resolver: DNS lists do not answer it, or answer it wrong", server)
		}
	}
	for _, server := range p.Config.DNS.Client.Servers {
		host, _, err := net.SplitHostPort(server)
		if err != nil {
			host = server
		}
		public(p.Config.Name(), 0, host)
	}
	if len(p.Config.DNS.Client.Servers) > 0 {
		return
	}
	number := 0
	for line := range strings.Lines(p.Resolver) {
		number++
		words := strings.Fields(line)
		if len(words) > 1 && words[0] == "nameserver" {
			public("/etc/resolv.conf", number, words[1])
		}
	}
}
