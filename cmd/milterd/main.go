// Command milterd is a relay and reverse-DNS policy daemon for sendmail. Without
// another mode it serves: sendmail asks it through the milter protocol at every step of
// an SMTP dialogue. With -check it validates its configuration, or decides
// recorded sessions, and exits.
package main

import (
	"cmp"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/user"
	"runtime"
	"runtime/debug"

	"milterd/configs"
	"milterd/milter/service"
	"milterd/milter/status"
	"milterd/policy/replay/dryrun"
)

// defaultConfig is read if no -config is given, if there is such a file.
const defaultConfig = "/etc/milterd/milterd.yaml"

// Exit statuses.
const (
	exitOK      = 0
	exitFailure = 1 // something failed at run time
	exitUsage   = 2 // a bad command line or configuration
)

func main() {
	os.Exit(run(os.Args[1:], os.Stdout, os.Stderr))
}

func run(args []string, stdout, stderr io.Writer) int {
	m, o, err := parse(args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		printUsage(stdout)
		return exitOK
	case err != nil:
		fmt.Fprintf(stderr, "milterd: %v; milterd -h explains the flags\n", err)
		return exitUsage
	}
	code, err := m.run(o, stdout, stderr)
	if err != nil {
		dryrun.Complain(stderr, err)
	}
	return code
}

// written is how a mode ends that has written its results, or could not.
func written(_ int, err error) (int, error) {
	if err != nil {
		return exitFailure, fmt.Errorf("write results: %w", err)
	}
	return exitOK, nil
}

// runCheck validates the configuration, or decides sessions. Results go to stdout,
// complaints to stderr.
func runCheck(o *options, stdout, stderr io.Writer) (int, error) {
	if o.check.Typed == nil && o.against == "" && len(o.check.Sessions) == 0 {
		if code, done, err := checkAsUser(o, stdout, stderr); done {
			return code, err
		}
	}
	draft, other := o.access, ""
	if o.against != "" {
		draft, other = "", o.access
	}
	said := &freshLines{to: stderr, before: make(map[string]bool)}
	rules, err := loadRules(o.place(), draft, said)
	if err == nil && o.against != "" {
		o.check.Against, err = loadRules(configs.Place{Flag: o.against}, other, said)
	}
	if err != nil {
		return exitUsage, err
	}
	o.check.Format = cmp.Or(o.check.Format, dryrun.Text)
	o.check.Stdin, o.check.Stdout, o.check.Stderr = os.Stdin, stdout, stderr
	return dryrun.Run(rules, o.check), nil
}

// freshLines leaves out lines that were written before, each by one Write: two
// configurations with the same table warn of it alike.
type freshLines struct {
	to     io.Writer
	before map[string]bool
}

func (f *freshLines) Write(line []byte) (int, error) {
	if f.before[string(line)] {
		return len(line), nil
	}
	f.before[string(line)] = true
	return f.to.Write(line)
}

// checkAsUser runs a check of the configuration as the user that milterd will run as, in
// a process of that user's: what root can read, and write to, says little. It is not
// done if this process is that user's already, or if it is root's and the user of
// milterd.service does not exist.
func checkAsUser(o *options, stdout, stderr io.Writer) (code int, done bool, err error) {
	if o.user == "" && (os.Geteuid() != 0 || o.access != "") {
		return 0, false, nil
	}
	name := cmp.Or(o.user, service.User)
	args := []string{"-check", "-user", name}
	if o.config != "" {
		args = append(args, "-config", o.config)
	}
	if o.access != "" {
		args = append(args, "-access", o.access)
	}
	code, err = service.RunAs(name, args, stdout, stderr)
	switch {
	case errors.Is(err, service.ErrThisUser), o.user == "" && errors.As(err, new(user.UnknownUserError)):
		o.check.Places = true
		return 0, false, nil
	case err != nil:
		return exitUsage, true, fmt.Errorf("-user %s: %w", name, err)
	case code != exitOK:
		err = fmt.Errorf("checked as the user %s; -user root checks as root", name)
	}
	return code, true, err
}

// loadRules reads a configuration, with a draft of the access table if there is one;
// what it warns of goes to stderr.
func loadRules(from configs.Place, draft string, stderr io.Writer) (*dryrun.Rules, error) {
	config, warning, err := from.Load()
	if err != nil {
		return nil, err
	}
	if warning != "" {
		fmt.Fprintf(stderr, "milterd: warning: %s\n", warning)
	}
	config.Draft = draft
	return dryrun.NewRules(config, stderr)
}

// runHealth asks the running milterd at each of its doors, and prints a line for each.
// Its exit status is the answer, for a container's health check. A mistake that was saved
// into the configuration is told, but does not make the daemon unwell: it goes on by the
// policy from before.
func runHealth(o *options, stdout, stderr io.Writer) (int, error) {
	config, _, err := o.place().Load()
	if err != nil {
		dryrun.Complain(stderr, err)
		if config, err = configs.LoadListen(o.place().File(), os.Environ()...); err != nil {
			return exitFailure, nil
		}
	}
	code := exitOK
	for _, answer := range askDoors(config, config.SendmailCF()) {
		if _, err := fmt.Fprintln(stdout, answer); err != nil {
			return written(0, err)
		}
		if !answer.Well() {
			code = exitFailure
		}
	}
	return code, nil
}

// askDoors asks the running milterd at each of its doors. A map door at the default place
// need not be there unless the sendmail of a sendmail.cf, which may be none, asks there.
func askDoors(config *configs.Config, sendmailCF string) []status.DoorState {
	needsMap := config.MapWanted()
	if !needsMap && sendmailCF != "" {
		cf, err := configs.ReadSendmailCF(sendmailCF) // the doctor says if it cannot be read
		needsMap = err == nil && config.AsksMap(cf)
	}
	var doors []status.Door
	for _, address := range config.Listen.Milter {
		doors = append(doors, status.Door{Name: status.Filter, Address: address})
	}
	for _, address := range config.Listen.Map {
		doors = append(doors, status.Door{Name: status.Map, Address: address, Optional: !needsMap})
	}
	return status.Ask(doors)
}

func runVersion(_ *options, stdout, _ io.Writer) (int, error) {
	return written(fmt.Fprintln(stdout, version()))
}

// release is the version that make build stamps (-ldflags -X); empty in a binary that
// was built in another way.
var release string

func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "milterd " + cmp.Or(release, "of an unknown version") + ", " + runtime.Version()
	}
	text := "milterd " + cmp.Or(release, info.Main.Version)
	for _, s := range info.Settings {
		switch {
		case s.Key == "vcs.revision":
			text += " " + s.Value
		case s.Key == "vcs.modified" && s.Value == "true":
			text += " (modified)"
		}
	}
	return text + ", " + info.GoVersion
}

// place is where a command line says that the configuration is.
func (o *options) place() configs.Place {
	return configs.Place{Flag: o.config, Fallback: defaultConfig}
}
