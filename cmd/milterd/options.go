package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"

	"milterd/milter/service"
	"milterd/policy/replay/dryrun"
)

// options is the command line.
type options struct {
	config     string
	access     string // a draft of the access table
	user       string // whom to check as
	check      dryrun.Options
	against    string
	typed      dryrun.Typed
	grants     grantOptions
	limits     limitOptions
	json       bool     // the report is for programs
	recordings []string // what a report is made of
	advice     adviceOptions
	probe      probeOptions
}

// mode is one of the things that milterd does. Each has flags of its own.
type mode struct {
	// chosenBy are the flags that choose it; without any, milterd serves.
	chosenBy []string
	// synopsis is what follows the name of the program, about what that does.
	synopsis, about string
	// flags declares its other flags; nil: it has none but -config, which all have.
	flags func(o *options, f *flag.FlagSet)
	// finish looks at the flags together, and takes the arguments; nil takes none.
	finish func(o *options, f *flag.FlagSet) error
	// run does it. The error, which may have several lines, is still to be printed.
	run func(o *options, stdout, stderr io.Writer) (code int, err error)
}

func modes() []mode {
	return []mode{
		{nil, "[-config FILE]", "serve", nil, nil, runServe},
		{[]string{"check"}, "-check [SESSION...]", "validate the configuration, or decide recorded sessions", checkFlags, finishCheck, runCheck},
		{[]string{"check", "against"}, "-check -against FILE SESSION...", "say what another configuration would change", againstFlags, finishSessions, runCheck},
		{[]string{"check", "client"}, "-check -client IP -from ADDRESS", "decide one session, asking the DNS now: exit 0 accept, 75 tempfail, 77 reject", typedFlags, finishTyped, runCheck},
		{[]string{"grant"}, "-grant IP [USER]", "have the running milterd relay for a client", nil, finishGrant, runGrants},
		{[]string{"revoke"}, "-revoke IP|USER", "take relay grants back", nil, nil, runGrants},
		{[]string{"grants"}, "-grants", "list the relay grants", nil, nil, runGrants},
		{[]string{"limits"}, "-limits", "list who is near or over a limit, and who is blocked", nil, nil, runLimits},
		{[]string{"block"}, "-block LOGIN [FOR]", "put the mail of a login off", nil, finishBlock, runLimits},
		{[]string{"release"}, "-release LOGIN", "free a login that is blocked or over a limit", nil, nil, runLimits},
		{[]string{"doctor"}, "-doctor", "say what is wrong with this sendmail and this milterd together", doctorFlags, nil, runDoctor},
		{[]string{"mc"}, "-mc", "print the lines for sendmail.mc", mcFlags, nil, runMC},
		{[]string{"import"}, "-import", "print the configuration that does what a sendmail.cf does", cfFlag, nil, runImport},
		{[]string{"probe"}, "-probe HOST[:PORT]...", "find out from outside whether a server relays for strangers", probeFlags, finishProbe, runProbe},
		{[]string{"health"}, "-health", "exit 0 if the running milterd answers at its doors", nil, nil, runHealth},
		{[]string{"report"}, "-report [SESSION...]", "say what became of mail, in the running milterd or of recorded sessions", reportFlags, finishReport, runReport},
		{[]string{"version"}, "-version", "say what this binary was built from", nil, nil, runVersion},
	}
}

const usage = `
SESSION is a file of sessions (.yaml, or .jsonl with one a line; .gz and .zst
are decompressed), a directory of such files, or - for standard input.

Without -config, ` + defaultConfig + ` is read. If there is no
/etc/milterd either, the configuration built into milterd is in force.
`

func printUsage(to io.Writer) {
	w := tabwriter.NewWriter(to, 0, 0, 2, ' ', 0)
	fmt.Fprint(w, "Usage:\n")
	for _, m := range modes() {
		fmt.Fprintf(w, "  milterd %s\t%s\n", m.synopsis, m.about)
		m.flagSet(new(options)).VisitAll(func(f *flag.Flag) {
			if !slices.Contains(m.chosenBy, f.Name) && (f.Name != "config" || m.chosenBy == nil) {
				value, text := flag.UnquoteUsage(f)
				fmt.Fprintf(w, "      -%s %s\t  %s\n", f.Name, value, text)
			}
		})
	}
	_ = w.Flush() // what cannot be printed is not read
	fmt.Fprint(to, usage)
}

// flagSet has the flags of a mode.
func (m mode) flagSet(o *options) *flag.FlagSet {
	f := flag.NewFlagSet("milterd", flag.ContinueOnError)
	f.SetOutput(io.Discard)
	f.Usage = func() {}
	for _, name := range m.chosenBy {
		switch name {
		case "client":
			textFlag(f, &o.typed.Client, name, "an `IP address`")
		case "against":
			textFlag(f, &o.against, name, "a `FILE`")
		case "grant":
			textFlag(f, &o.grants.grant, name, "an `IP address`")
		case "revoke":
			textFlag(f, &o.grants.revoke, name, "an `IP address or a user`")
		case "block":
			textFlag(f, &o.limits.block, name, "a `LOGIN`")
		case "release":
			textFlag(f, &o.limits.release, name, "a `LOGIN`")
		default:
			f.Bool(name, false, "")
		}
	}
	textFlag(f, &o.config, "config", "the `FILE` of the configuration")
	if m.flags != nil {
		m.flags(o, f)
	}
	return f
}

// textFlag declares a flag that must not be empty.
func textFlag(f *flag.FlagSet, to *string, name, usage string) {
	f.Func(name, usage, func(s string) error {
		if s == "" {
			return errors.New("expected " + strings.ReplaceAll(usage, "`", ""))
		}
		*to = s
		return nil
	})
}

// resultFlags have a meaning with every kind of dry run.
func resultFlags(o *options, f *flag.FlagSet, formats ...dryrun.Format) {
	textFlag(f, &o.access, "access", "a `FILE` in place of the access table; with -against, of the other one's")
	set := func(s string) error {
		format := dryrun.Format(s)
		if !slices.Contains(formats, format) {
			return fmt.Errorf("expected one of %v", formats)
		}
		if o.check.Format != "" && o.check.Format != format {
			return fmt.Errorf("expected one format, found %s too", o.check.Format)
		}
		o.check.Format = format
		return nil
	}
	f.Func("format", fmt.Sprintf("`FORMAT` of the results, one of %v (default text)", formats), set)
	f.BoolFunc("json", "short for -format json", func(string) error { return set(string(dryrun.JSON)) })
}

func explainFlag(o *options, f *flag.FlagSet) {
	f.BoolVar(&o.check.Explain, "explain", false, "print the trace of each verdict")
}

func sessionFlag(o *options, f *flag.FlagSet) {
	textFlag(f, &o.check.Session, "session", "the `ID` of the only session to decide")
}

func checkFlags(o *options, f *flag.FlagSet) {
	resultFlags(o, f, dryrun.Text, dryrun.JSON, dryrun.TAP, dryrun.JUnit)
	explainFlag(o, f)
	sessionFlag(o, f)
	textFlag(f, &o.user, "user", "the `NAME` of the user to check a configuration as; for root by default the service's ("+service.User+"), if it exists")
}

func againstFlags(o *options, f *flag.FlagSet) {
	resultFlags(o, f, dryrun.Text, dryrun.JSON)
	sessionFlag(o, f)
}

func typedFlags(o *options, f *flag.FlagSet) {
	resultFlags(o, f, dryrun.Text, dryrun.JSON)
	explainFlag(o, f)
	f.StringVar(&o.typed.From, "from", "", "`ADDRESS` of the sender, empty for the null sender")
	f.StringVar(&o.typed.To, "to", "", "`ADDRESSES` of recipients, with commas between them")
	f.StringVar(&o.typed.HELO, "helo", "", "`NAME` that the client gives")
	f.StringVar(&o.typed.Auth, "auth", "", "`MECHANISM:USER` that the client has authenticated with")
	o.typed.Port = 25
	f.Func("port", "`PORT` of this host that the client connects to (default 25)", func(s string) error {
		port, err := strconv.ParseUint(s, 10, 16)
		if err != nil || port == 0 {
			return errors.New("expected a number from 1 to 65535")
		}
		o.typed.Port = uint16(port)
		return nil
	})
}

func finishSessions(o *options, f *flag.FlagSet) error {
	o.check.Sessions = f.Args()
	for _, name := range o.check.Sessions {
		if strings.HasPrefix(name, "-") && name != "-" {
			return fmt.Errorf("%s: flags go before the session files (a file of that name is ./%s)", name, name)
		}
	}
	if len(o.check.Sessions) == 0 {
		return errors.New("expected files of sessions")
	}
	return nil
}

func finishCheck(o *options, f *flag.FlagSet) error {
	if (o.check.Format == dryrun.TAP || o.check.Format == dryrun.JUnit) && o.check.Explain {
		return fmt.Errorf("-format %s is for the expectations of sessions, without -explain", o.check.Format)
	}
	if f.NArg() == 0 && o.check.Session == "" && o.check.Format == "" {
		return nil
	}
	if o.user != "" {
		return errors.New("-user is for the configuration, without sessions")
	}
	return finishSessions(o, f)
}

func finishTyped(o *options, f *flag.FlagSet) error {
	from := false
	f.Visit(func(given *flag.Flag) { from = from || given.Name == "from" })
	if !from {
		return errors.New(`-client: expected -from ADDRESS as well (-from "" is the null sender)`)
	}
	o.check.Typed = &o.typed
	return noArguments(f)
}

func finishGrant(o *options, f *flag.FlagSet) error {
	if f.NArg() > 1 {
		return errors.New("-grant IP [USER]: expected one user at most; a name with blanks goes between quotes")
	}
	o.grants.user = f.Arg(0)
	return nil
}

func finishBlock(o *options, f *flag.FlagSet) error {
	if f.NArg() > 1 {
		return errors.New("-block LOGIN [FOR]: expected one time at most, such as 24h")
	}
	o.limits.length = f.Arg(0)
	return nil
}

func noArguments(f *flag.FlagSet) error {
	if f.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q", f.Arg(0))
	}
	return nil
}

// parse reads the command line. What it does not know, and what would have no effect,
// is an error.
func parse(args []string) (mode, *options, error) {
	all, o := modes(), new(options)
	names := flagNames(args)
	m := all[0]
	for _, other := range all {
		missing := slices.ContainsFunc(other.chosenBy, func(name string) bool { return !slices.Contains(names, name) })
		if !missing && len(other.chosenBy) > len(m.chosenBy) {
			m = other
		}
	}
	f := m.flagSet(o)
	if err := f.Parse(args); err != nil {
		return m, o, m.notDefined(err)
	}
	if m.finish == nil {
		return m, o, noArguments(f)
	}
	return m, o, m.finish(o, f)
}

// flagNames are the names of all flags on a command line, values that look like flags
// included.
func flagNames(args []string) []string {
	var names []string
	for _, arg := range args {
		if rest, ok := strings.CutPrefix(arg, "-"); ok {
			name, _, _ := strings.Cut(strings.TrimPrefix(rest, "-"), "=")
			names = append(names, name)
		}
	}
	return names
}

// notDefined says of a flag that this mode does not have where it belongs.
func (m mode) notDefined(err error) error {
	name, undefined := strings.CutPrefix(err.Error(), "flag provided but not defined: -")
	if !undefined {
		return err
	}
	text := "flag -" + name + " is not defined" + m.with()
	for _, other := range modes() {
		if !slices.Equal(other.chosenBy, []string{name}) && other.flagSet(new(options)).Lookup(name) != nil {
			return errors.New(text + ", it goes" + other.with())
		}
	}
	return errors.New(text)
}

// with names the flags that choose a mode.
func (m mode) with() string {
	if len(m.chosenBy) == 0 {
		return ""
	}
	return " with -" + strings.Join(m.chosenBy, " -")
}
