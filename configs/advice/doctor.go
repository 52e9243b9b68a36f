// Package advice tells an administrator what to change, on either side of the doors:
// [Doctor] finds what is wrong with a sendmail.cf and a configuration together, [MC]
// writes the lines for a sendmail.mc, and [Import] the configuration that does what a
// sendmail.cf does by itself.
//
// It reads files and the state of sockets, and opens no connection. What somebody has
// heard from the running servers goes in as [Live].
package advice

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"milterd/configs"
	"milterd/configs/sendmail"
	"milterd/policy"
)

// Examined is what the doctor looks at.
type Examined struct {
	Config *configs.Config
	// CF is the path of the sendmail.cf.
	CF string
	// Resolver is the text of resolv.conf(5).
	Resolver string
	// SASL is the text of Cyrus SASL's file for sendmail, Saslauthd that of the file with
	// the options of saslauthd.
	SASL, Saslauthd string
	Now             time.Time
	// BothDoors is the line by which this machine connects both doors.
	BothDoors string
	// Live is what the running servers have shown.
	Live []configs.Finding
}

// patient is a patient of the doctor.
type patient struct {
	Examined
	cf       *sendmail.Config
	findings []configs.Finding
}

// Doctor examines a sendmail and a milterd together. Its findings are in order, the
// worst first.
func Doctor(e Examined) []configs.Finding {
	p := &patient{Examined: e, findings: slices.Clone(e.Live)}
	own, found, err := e.Config.Examine()
	p.failed(err)
	if cf, err := configs.ReadSendmailCF(e.CF); err != nil {
		p.add(configs.Severe, "-cf FILE", e.CF, 0, "cannot be read, so nothing is known of this sendmail: %v", err)
	} else if p.cf = cf; cf.Submission {
		p.add(configs.Severe, "-cf /etc/mail/sendmail.cf", e.CF, 0, "the file of a submission program (FEATURE(msp)), which decides about no client: the server's is needed")
	} else {
		following, theirs, err := e.Config.Following(e.CF).Examine()
		if e.Config.SendmailCF() != e.CF {
			p.failed(err)
			found = append(found, theirs...)
		}
		if own != nil && following != nil {
			p.names(own, following)
		}
		p.mta()
		p.relaying()
		p.ports()
		p.telling()
		p.tables()
		p.modes()
	}
	p.findings = append(p.findings, found...)
	p.surroundings()
	return inOrder(p.findings)
}

// failed takes the problems that keep a policy from being made.
func (p *patient) failed(err error) {
	var problems *configs.Error
	switch {
	case errors.As(err, &problems):
		for _, problem := range problems.Problems {
			p.findings = append(p.findings, configs.Finding{Problem: problem, Severity: configs.Severe})
		}
	case err != nil:
		p.add(configs.Severe, "", p.Config.Name(), 0, "%v", err)
	}
}

func (p *patient) add(severity configs.Severity, cure, file string, line int, format string, args ...any) {
	p.findings = append(p.findings, configs.Finding{
		Problem: configs.Problem{File: file, Line: line, Text: fmt.Sprintf(format, args...)}, Severity: severity, Cure: cure,
	})
}

// at adds a finding about a line of the sendmail.cf.
func (p *patient) at(severity configs.Severity, line int, cure, format string, args ...any) {
	p.add(severity, cure, p.CF, line, format, args...)
}

// inOrder sorts findings, the worst first and causes of others before those, and drops
// what is said twice.
func inOrder(findings []configs.Finding) []configs.Finding {
	order := func(f configs.Finding) int {
		if f.Cause {
			return -1
		}
		return 0
	}
	slices.SortStableFunc(findings, func(a, b configs.Finding) int {
		return cmp.Or(cmp.Compare(b.Severity, a.Severity), cmp.Compare(order(a), order(b)), cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line))
	})
	said := make(map[string]bool)
	return slices.DeleteFunc(findings, func(f configs.Finding) bool {
		again := said[f.String()] || said[f.Text] // as another user found it
		said[f.String()] = true
		return again
	})
}

// names compares the classes of a configuration that does not take them from the
// sendmail.cf with those that are there.
func (p *patient) names(own, theirs *policy.Policy) {
	for _, c := range []struct {
		key, what   string
		ours, there policy.Class
	}{
		{"domains.local", "class w, the names whose mail is delivered here", own.Local, theirs.Local},
		{"domains.relay", "class R, the names that are relayed for", own.Relay, theirs.Relay},
		{"domains.relay", "class m, the domains of FEATURE(relay_entire_domain)", own.OwnDomains, theirs.OwnDomains},
	} {
		if c.what[6] == 'm' && !theirs.Features.RelayEntireDomain {
			continue
		}
		var told []string
		if lacking := without(c.there, c.ours); len(lacking) > 0 {
			refuses := "sendmail has " + shortList(lacking) + ", milterd does not and refuses such mail"
			if c.what[6] == 'w' {
				refuses += " unless a local delivery agent takes it"
			}
			told = append(told, refuses)
		}
		if more := without(c.ours, c.there); len(more) > 0 {
			told = append(told, "milterd has "+shortList(more)+", sendmail does not and refuses such mail")
		}
		if len(told) > 0 {
			p.add(configs.Warning, "sendmail: {cf: "+p.CF+"}   # and no "+c.key, cmp.Or(p.Config.Name(), "milterd.yaml"), 0, "%s: %s", c.what, strings.Join(told, "; "))
		}
	}
}

// without lists the names of one class that another has not.
func without(a, b policy.Class) []string {
	return slices.DeleteFunc(a.Entries(), b.Has)
}

// shortList lists some of the entries of a class.
func shortList(names []string) string {
	const most = 5
	names = policy.ShownEntries(names)
	if len(names) > most {
		return strings.Join(names[:most], ", ") + fmt.Sprintf(" and %d more", len(names)-most)
	}
	return strings.Join(names, ", ")
}

// age is how old a file is; ok if there is one.
func (p *patient) age(path string) (age time.Duration, ok bool) {
	info, err := os.Stat(path)
	if err != nil {
		return 0, false
	}
	return p.Now.Sub(info.ModTime()), true
}
