package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"strings"
)

const usage = `Usage:
  milterd [-config FILE]                        serve
  milterd -check [-config FILE]                 validate the configuration
  milterd -check [-explain] [-format FORMAT] [-session ID] SESSION...
                                                decide recorded sessions
  milterd -check -against FILE [-json] SESSION...
                                                what another configuration would change
  milterd -check -client IP [-port N] [-helo NAME] [-auth MECH:USER] -from ADDR [-to ADDR,...]
                                                decide one session, asking the DNS now
  milterd -grant IP [USER] | -revoke IP|USER | -grants
                                                relay grants of the running milterd
  milterd -health [-config FILE]                exit 0 if the running milterd answers at its doors
  milterd -version

Without -config, ` + defaultConfig + ` is read if it exists,
else the configuration built into milterd is in force.

SESSION is a file of sessions (.yaml, or .jsonl with one a line; .gz and .zst
are decompressed), a directory of such files, or - for standard input.
FORMAT is text, json (also -json), tap or junit.

`

// options is the command line.
type options struct {
	config  string
	check   bool
	explain bool
	// format is one of the forms of -format.
	format   string
	against  string
	session  string
	typed    typedOptions
	grants   grantOptions
	health   bool
	version  bool
	sessions []string
}

// typedOptions are the facts of a session that is typed on the command line.
type typedOptions struct {
	// given: there is one.
	given  bool
	client string
	port   uint
	helo   string
	auth   string
	from   string
	to     string
}

// parseOptions reads the command line. What it does not know, and what would have
// no effect, is an error.
func parseOptions(args []string) (options, error) {
	var o options
	asJSON := false
	flags := flag.NewFlagSet("milterd", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	flags.Usage = func() {}
	flags.StringVar(&o.config, "config", "", "")
	flags.BoolVar(&o.check, "check", false, "")
	flags.BoolVar(&o.explain, "explain", false, "")
	flags.BoolVar(&asJSON, "json", false, "")
	flags.StringVar(&o.format, "format", "", "")
	flags.StringVar(&o.against, "against", "", "")
	flags.StringVar(&o.session, "session", "", "")
	flags.StringVar(&o.typed.client, "client", "", "")
	flags.UintVar(&o.typed.port, "port", 25, "")
	flags.StringVar(&o.typed.helo, "helo", "", "")
	flags.StringVar(&o.typed.auth, "auth", "", "")
	flags.StringVar(&o.typed.from, "from", "", "")
	flags.StringVar(&o.typed.to, "to", "", "")
	flags.StringVar(&o.grants.grant, "grant", "", "")
	flags.StringVar(&o.grants.revoke, "revoke", "", "")
	flags.BoolVar(&o.grants.list, "grants", false, "")
	flags.BoolVar(&o.health, "health", false, "")
	flags.BoolVar(&o.version, "version", false, "")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	o.sessions = flags.Args()
	given := make(map[string]bool)
	flags.Visit(func(f *flag.Flag) { given[f.Name] = true })
	if given["grant"] && len(o.sessions) == 1 {
		o.grants.user, o.sessions = o.sessions[0], nil
	}
	if err := o.checkGiven(given); err != nil {
		return o, err
	}
	if asJSON {
		o.format = formatJSON
	}
	if o.check && o.format == "" {
		o.format = formatText
	}
	for _, name := range o.sessions {
		if strings.HasPrefix(name, "-") && name != "-" {
			return o, fmt.Errorf("%s: flags go before the session files (a file of that name is ./%s)", name, name)
		}
	}
	return o, nil
}

// flagsOfCheck have a meaning with -check only.
var flagsOfCheck = []string{"format", "against", "session", "client", "port", "helo", "auth", "from", "to"}

// checkGiven finds flags that do not go together.
func (o *options) checkGiven(given map[string]bool) error {
	for _, name := range []string{"config", "against", "session", "client"} {
		if given[name] && flagValue(o, name) == "" {
			return fmt.Errorf("-%s: expected %s", name, map[string]string{
				"config": "the name of a file", "against": "the name of a file", "session": "the id of a session", "client": "an IP address",
			}[name])
		}
	}
	if err := o.checkGrants(given); err != nil {
		return err
	}
	switch {
	case o.health && (o.check || o.version || o.grants.given()):
		return errors.New("-health goes alone, or with -config")
	case !o.check && len(o.sessions) > 0:
		return fmt.Errorf("unexpected argument %q", o.sessions[0])
	case !o.check && (given["explain"] || given["json"]):
		return errors.New("-explain and -json go with -check")
	case o.check && o.version:
		return errors.New("-check and -version exclude each other")
	case given["json"] && given["format"]:
		return errors.New("-json is -format json: expected one of them")
	}
	for _, name := range flagsOfCheck {
		if given[name] && !o.check {
			return fmt.Errorf("-%s goes with -check", name)
		}
	}
	switch o.format {
	case "", formatText, formatJSON:
	case formatTAP, formatJUnit:
		if o.explain || given["against"] || given["client"] {
			return fmt.Errorf("-format %s is for the expectations of sessions, without -explain, -against and -client", o.format)
		}
	default:
		return fmt.Errorf("-format %s: expected text, json, tap or junit", o.format)
	}
	o.typed.given = given["client"]
	if err := o.checkTyped(given); err != nil {
		return err
	}
	for _, name := range []string{"against", "session", "format"} {
		if given[name] && len(o.sessions) == 0 && !o.typed.given {
			return fmt.Errorf("-%s: expected files of sessions", name)
		}
	}
	if given["against"] && o.explain {
		return errors.New("-explain goes without -against: run each configuration with -session ID -explain")
	}
	return nil
}

// flagValue is the value of a flag that must not be empty.
func flagValue(o *options, name string) string {
	return map[string]string{"config": o.config, "against": o.against, "session": o.session, "client": o.typed.client}[name]
}

// checkTyped finds what is missing in a session on the command line, and what does
// not go with it.
func (o *options) checkTyped(given map[string]bool) error {
	if !o.typed.given {
		for _, name := range []string{"port", "helo", "auth", "from", "to"} {
			if given[name] {
				return fmt.Errorf("-%s describes a session: expected -client IP as well", name)
			}
		}
		return nil
	}
	switch {
	case len(o.sessions) > 0:
		return fmt.Errorf("-client describes a session: expected no file of sessions, found %q", o.sessions[0])
	case given["against"] || given["session"]:
		return errors.New("-against and -session are for files of sessions, without -client")
	case !given["from"]:
		return errors.New(`-client: expected -from ADDRESS as well (-from "" is the null sender)`)
	case o.typed.port < 1 || o.typed.port > 65535:
		return fmt.Errorf("-port %d: expected a number from 1 to 65535", o.typed.port)
	}
	return nil
}

// checkGrants finds what does not go with a command about relay grants.
func (o *options) checkGrants(given map[string]bool) error {
	var commands []string
	for _, name := range []string{"grant", "revoke", "grants"} {
		if given[name] {
			commands = append(commands, "-"+name)
		}
	}
	switch {
	case len(commands) == 0:
		return nil
	case len(commands) > 1:
		return fmt.Errorf("%s: expected one of them", strings.Join(commands, " and "))
	case given["grant"] && o.grants.grant == "":
		return errors.New("-grant: expected an IP address")
	case given["revoke"] && o.grants.revoke == "":
		return errors.New("-revoke: expected an IP address or a user")
	case given["grant"] && len(o.sessions) > 0:
		return errors.New("-grant IP [USER]: expected one user at most; a name with blanks goes between quotes")
	case o.check || o.version:
		return fmt.Errorf("%s goes without -check and -version", commands[0])
	}
	return nil
}
