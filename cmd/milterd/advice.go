package main

import (
	"cmp"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"time"

	"milterd/configs"
	"milterd/configs/advice"
	"milterd/configs/advice/live"
	"milterd/configs/sendmail"
	"milterd/milter/service"
	"milterd/milter/status"
)

// defaultCF is where a server's sendmail.cf is.
const defaultCF = "/etc/mail/sendmail.cf"

// adviceOptions are those of -doctor, -mc and -import.
type adviceOptions struct {
	cf            string
	offline, json bool
	both          bool
	system        string
}

func cfFlag(o *options, f *flag.FlagSet) {
	textFlag(f, &o.advice.cf, "cf", "the `FILE` of sendmail's configuration (default "+defaultCF+")")
}

func doctorFlags(o *options, f *flag.FlagSet) {
	cfFlag(o, f)
	f.BoolVar(&o.advice.offline, "offline", false, "neither connect to the mail ports of this host nor ask the DNS")
	f.BoolVar(&o.advice.json, "json", false, "print the findings as JSON")
}

func mcFlags(o *options, f *flag.FlagSet) {
	cfFlag(o, f)
	names := strings.Join(slices.Sorted(maps.Keys(advice.Systems)), ", ")
	f.BoolVar(&o.advice.both, "both", false, "for both doors, not for the filter alone")
	o.advice.system = "debian"
	f.Func("system", "`NAME` of the operating system, one of "+names+" (default debian)", func(s string) error {
		if _, known := advice.Systems[s]; !known {
			return fmt.Errorf("expected one of %s", names)
		}
		o.advice.system = s
		return nil
	})
}

func runMC(o *options, stdout, _ io.Writer) (int, error) {
	config, _, err := o.place().Load()
	if err != nil {
		return exitUsage, err
	}
	cf, err := serverCF(cmp.Or(o.advice.cf, config.SendmailCF(), defaultCF))
	if err != nil && o.advice.cf != "" {
		return exitUsage, err
	}
	return written(io.WriteString(stdout, advice.MC(config, cf, o.advice.both, advice.Systems[o.advice.system])))
}

func runImport(o *options, stdout, _ io.Writer) (int, error) {
	path, err := filepath.Abs(cmp.Or(o.advice.cf, defaultCF))
	if err != nil {
		return exitUsage, err
	}
	cf, err := serverCF(path)
	if err != nil {
		return exitUsage, err
	}
	return written(io.WriteString(stdout, advice.Import(cf, path)))
}

func serverCF(path string) (*sendmail.Config, error) {
	cf, err := configs.ReadSendmailCF(path)
	if err == nil && cf.Submission {
		return nil, errors.New(path + " is the file of a submission program, expected that of a server: -cf " + defaultCF)
	}
	return cf, err
}

func runDoctor(o *options, stdout, _ io.Writer) (int, error) {
	config, missing, err := o.place().Load()
	if err != nil {
		return exitUsage, err
	}
	e := advice.Examined{Config: config, CF: cmp.Or(o.advice.cf, config.SendmailCF(), defaultCF), Now: time.Now(), BothDoors: advice.BothDoorsHere()}
	if missing != "" {
		e.Live = append(e.Live, advice.Found(configs.Warning, o.place().File(), missing, ""))
	}
	e.Resolver = firstText("/etc/resolv.conf")
	e.SASL = firstText("/etc/sasl2/Sendmail.conf", "/etc/mail/sasl/Sendmail.conf.2", "/usr/local/lib/sasl2/Sendmail.conf", "/usr/lib/sasl2/Sendmail.conf")
	e.Saslauthd = firstText("/etc/default/saslauthd", "/etc/sysconfig/saslauthd", "/etc/rc.conf")
	down := false
	answers := askDoors(config, e.CF)
	runs := slices.ContainsFunc(answers, func(s status.DoorState) bool { return s.Err == nil })
	for _, answer := range answers {
		if !answer.Well() {
			e.Live = append(e.Live, unanswered(answer, runs))
			down = down || answer.Name == status.Filter
		}
	}
	e.Live = append(e.Live, unreadable(o)...)
	e.Live = append(e.Live, unheld("/etc/systemd/system/sockets.target.wants")...)
	e.Live = append(e.Live, live.Lists(config)...)
	if !o.advice.offline {
		e.Live = append(e.Live, live.Ports(config, e.CF, down)...)
	}
	findings := advice.Doctor(e)
	if err := advice.Write(stdout, findings, o.advice.json); err != nil {
		return int(configs.Severe), fmt.Errorf("write results: %w", err)
	}
	return gravity(findings), nil
}

// unanswered tells of a door that does not answer; runs: another does.
func unanswered(answer status.DoorState, runs bool) configs.Finding {
	state, cure := "", "systemctl start milterd   and if it does not stay up: journalctl -u milterd"
	switch {
	case errors.Is(answer.Err, fs.ErrPermission):
		return advice.Found(configs.Warning, answer.Address, answer.String()+": this user may not ask there, so it is not known whether milterd answers", "milterd -doctor   run as root")
	case runs:
		cure = "systemctl restart milterd   and if it does not open the door: journalctl -u milterd"
	case errors.Is(answer.Err, syscall.ECONNREFUSED), errors.Is(answer.Err, fs.ErrNotExist):
		state = "milterd is not running: "
	}
	found := advice.Found(configs.Severe, answer.Address, state+answer.String()+": mail is put off, or passes unfiltered", cure)
	found.Cause = true
	return found
}

// firstText is the text of the first of these files that can be read.
func firstText(paths ...string) string {
	for _, path := range paths {
		if text, err := os.ReadFile(path); err == nil {
			return string(text)
		}
	}
	return ""
}

// unreadable is what the user that milterd runs as cannot read or write, as -check finds
// it.
func unreadable(o *options) []configs.Finding {
	var text strings.Builder
	code, done, err := checkAsUser(&options{config: o.config}, io.Discard, &text)
	if !done || code == exitOK {
		return nil
	}
	var findings []configs.Finding
	if err != nil {
		text.WriteString(err.Error())
	}
	for line := range strings.Lines(text.String()) {
		line = strings.TrimPrefix(strings.TrimSpace(line), "milterd: ")
		if line != "" && !strings.HasPrefix(line, "warning: ") && !strings.HasPrefix(line, "checked as the user ") {
			findings = append(findings, advice.Found(configs.Severe, "user "+service.User, line, readable(line)))
		}
	}
	return findings
}

// unheld tells of milterd's socket units that are enabled, by links in a directory, and that
// systemd does not hold.
func unheld(wants string) []configs.Finding {
	var findings []configs.Finding
	for _, unit := range []string{"milterd.socket", "milterd-map.socket"} {
		if _, err := os.Lstat(filepath.Join(wants, unit)); err != nil {
			continue
		}
		state, _ := exec.Command("systemctl", "is-active", unit).Output() // it fails if the unit is not active
		if word := strings.TrimSpace(string(state)); word == "inactive" || word == "failed" {
			findings = append(findings, advice.Found(configs.Note, unit, "enabled, but "+word+", so connections are refused while milterd restarts",
				"systemctl stop milterd; systemctl start milterd.socket milterd-map.socket milterd"))
		}
	}
	return findings
}

var notOpened = regexp.MustCompile(`: open (/\S+): permission denied`)

// readable is how the user that milterd runs as comes to read the file of a message, empty if
// its mode is not the reason. Debian's make takes the rights of an access table away with
// every run, but not the owner.
func readable(message string) string {
	path := notOpened.FindStringSubmatch(message)
	if path == nil {
		return ""
	}
	info, err := os.Stat(path[1])
	switch {
	case err != nil || info.Mode()&0o004 != 0:
		return ""
	case strings.Contains(message, ": access table: "):
		return "chown -h " + service.User + " " + path[1]
	case strings.HasSuffix(path[1], ".cf"):
		return "chmod 644 " + path[1]
	}
	return ""
}

// gravity is the exit status for what -doctor has found: that of the worst.
func gravity(findings []configs.Finding) int {
	code := exitOK
	for _, f := range findings {
		code = max(code, int(f.Severity))
	}
	return code
}
