package integration_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// finders are the functions by which a finding of the doctor is made, and which of their
// arguments is its text.
var finders = map[string]int{
	"warn": 2, "warnOf": 1, "severe": 3, "find": 4, // configs
	"at": 3, "add": 4, "Found": 2, // configs/advice, live
	"problem": 1, "settled": 2, "cured": 2, "openRelay": 2, // configs/sendmail
}

// findingTexts are the texts in a package that make findings, with their places.
func findingTexts(t *testing.T, dir string) map[string]string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join("..", dir, "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	texts := make(map[string]string)
	for _, path := range files {
		if strings.HasSuffix(path, "_test.go") || dir == "cmd/milterd" && filepath.Base(path) != "advice.go" {
			continue
		}
		set := token.NewFileSet()
		file, err := parser.ParseFile(set, path, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(file, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok {
				return true
			}
			at, known := finders[called(call)]
			if !known || at >= len(call.Args) {
				return true
			}
			// One that is made elsewhere is only %s.
			if text := literals(call.Args[at]); strings.Contains(strings.ReplaceAll(text, "%s: %s", ""), " ") {
				texts[text] = set.Position(call.Pos()).String()
			}
			return true
		})
	}
	return texts
}

func called(call *ast.CallExpr) string {
	switch f := call.Fun.(type) {
	case *ast.Ident:
		return f.Name
	case *ast.SelectorExpr:
		return f.Sel.Name
	}
	return ""
}

// literals are the texts in an expression, one behind the other.
func literals(e ast.Expr) string {
	var text strings.Builder
	ast.Inspect(e, func(n ast.Node) bool {
		if l, ok := n.(*ast.BasicLit); ok && l.Kind == token.STRING {
			if s, err := strconv.Unquote(l.Value); err == nil {
				text.WriteString(s)
			}
		}
		return true
	})
	return text.String()
}

// TestEveryFindingIsShownByARealSendmail: or there is a reason why it is not.
func TestEveryFindingIsShownByARealSendmail(t *testing.T) {
	cases := make(map[string]bool)
	for _, f := range faults {
		cases[f.name] = true
	}
	for _, c := range everyTrouble() {
		cases[c.name] = true
	}
	found := make(map[string]bool)
	for _, dir := range []string{"configs", "configs/advice", "configs/advice/live", "configs/sendmail", "cmd/milterd"} {
		for text, place := range findingTexts(t, dir) {
			evidence := slices.DeleteFunc(slices.Clone(shown), func(e evidence) bool { return !strings.Contains(text, e.text) })
			if len(evidence) != 1 {
				t.Errorf("%s: %q has %d entries in shown, expected one", place, text, len(evidence))
				continue
			}
			found[evidence[0].text] = true
		}
	}
	for _, e := range shown {
		if !found[e.text] {
			t.Errorf("no finding has the text %q", e.text)
		}
		if e.by != "" && !cases[e.by] || e.by+e.why == "" {
			t.Errorf("%q: there is no case %q, and no reason", e.text, e.by)
		}
	}
}

// evidence is what shows a finding: a case of faults or troubles, or else the reason why
// there is none.
type evidence struct{ text, by, why string }

// Reasons.
const (
	ownConfig = "about milterd's configuration and this machine, no sendmail has a part in it: configs tests it"
	sameText  = "the same as the case that is named, found by another way"
)

// shown has each finding by a part of its text.
var shown = []evidence{
	// configs: filters and maps.
	{text: "no INPUT_MAIL_FILTER leads to listen.milter", by: "no filter line"},
	{text: "defined, but not in InputMailFilters", by: "a filter that is not asked"},
	{text: "asks other filters than milterd", by: "a daemon with other filters"},
	{text: "has F=R: mail is refused for good", by: "F=R"},
	{text: "has no F=T: mail is taken unfiltered", by: "no F=T"},
	{text: "sendmail gives milterd up before a slow DNS", by: "time-outs below the deadline"},
	{text: "a second filter (%s) leads to milterd", by: "a second filter that leads to milterd"},
	{text: "with two of one name sendmail does not start", by: "two filters of one name"},
	{text: "the access map is the socket %s", by: "the table of another socket"},
	{text: "the access map is defined again", by: "an access table behind milterd's"},
	{text: "which is not listen.map (%s), so sendmail does not ask milterd about recipients", by: "questions to another socket"},
	{text: "the map %s has -o", by: "a table that is empty while milterd is down"},
	{text: "a mark that its rules do not know", by: "a mark that the rules do not know"},
	{text: "no socket map leads to listen.map (%s), so sendmail's own rules do not ask", by: "a map door that sendmail does not ask"},
	{text: "no socket map leads to listen.map (%s), so sendmail's own rules know nothing of grants", by: "grants that sendmail does not ask for"},
	{text: "empty, so sendmail's own rules know nothing of grants", by: "grants that sendmail does not ask for", why: sameText},
	{text: "the rules are those of an older milterd.m4", why: "TestTheIncludeOfOlderVersionsServes"},
	{text: "have no effect, as sendmail does not ask for the keys", by: "entries that sendmail does not ask for"},
	{text: "no FEATURE(access_db), so sendmail looks nothing up", by: "no access table"},
	{text: "a submission program's file", why: "TestTheDoctorNeedsTheFileOfTheServer has it of -cf"},
	{text: "taken for the name of a daemon", by: "rules for the name of a port"},
	{text: "so these rules never apply", by: "rules for a daemon that is not there"},
	// configs: names and tables.
	{text: "no TRUST_AUTH_MECH", by: "mechanisms that entitle to nothing"},
	{text: "relays for everything below it", by: "class R has a top-level domain"},
	{text: "class w: what sendmail adds to it for the network interfaces", why: ownConfig},
	{text: "and so every user of this machine reads the access table", why: ownConfig},
	{text: "no such file, taken as empty", why: "TestMilterdFollowsTheSendmailCF"},
	{text: "is the login of that name here, and not all logins", why: ownConfig},
	{text: "is taken as it stands; the login that sendmail's ${auth_authen} has", why: ownConfig},
	// configs: files, directories and doors.
	{text: "%s: every user of this machine can write to %s, so sendmail calls", by: "a directory that all may write to"},
	{text: "a group can write to %s, so sendmail calls", by: "a directory that a group may write to"},
	{text: "can make files in %s", by: "a socket below a directory such as /tmp"},
	{text: "every user of this machine can %s it", by: "a class file that all can write to"},
	{text: "whoever can connect reads the access table", by: "a map door that is open to the world"},
	{text: "whoever can connect can claim to be any client or login", why: ownConfig},
	{text: "they can read /metrics and /healthz", by: "a status page that is open to the world"},
	{text: "is taken for a name, and there is a file", why: ownConfig},
	{text: "there is no directory %s, and milterd does not start", why: ownConfig},
	{text: "so nothing will be recorded", why: ownConfig},
	{text: "%s: no such file (yet)", why: ownConfig},
	{text: "nothing makes grants here", why: ownConfig},
	{text: "a login that milterd -block has stopped can send again", why: ownConfig},
	{text: "grants.drac.allow has addresses of this machine", why: ownConfig},
	{text: "granted, but grants has no source", why: ownConfig},
	// configs: the Received field.
	{text: "also of the mail that received is about", by: "a Received field with the client that is to be hidden"},
	{text: "no ruleset calls milterd_rcpt", by: "a Received field whose rules are not called"},
	{text: "in place of the client (MILTERD_FROM)", by: "a Received field that says another thing in place of the client"},
	{text: "in place of its version (MILTERD_BY)", by: "a Received field that says another thing in place of the version"},
	// configs/sendmail.
	{text: "FEATURE(promiscuous_relay)", by: "promiscuous_relay"},
	{text: "FEATURE(loose_relay_check)", by: "loose_relay_check"},
	{text: "DeliveryMode is deferred", by: "deferred delivery"},
	{text: "FEATURE(`greet_pause') stands before", by: "the include behind the FEATUREs that use the table"},
	{text: "FEATURE(relay_based_on_MX)", by: "relay_based_on_MX"},
	{text: "the access map is of type", by: "an access map that milterd does not read"},
	{text: "the access map has no file", why: "sendmail does not start with it"},
	{text: "accepts by a rule of your own", by: "a rule of one's own that lets relay"},
	{text: "%s relays by %s", by: "a rule of one's own that lets relay", why: "a rule in a stock ruleset, which no sendmail.mc makes; else the same"},
	{text: "takes the names of class %s, which has none here", by: "a class that a program fills", why: sameText},
	{text: "class : ", by: "a class that a program fills"},
	// configs/advice.
	{text: "so nothing is known of this sendmail", why: "TestTheDoctorNeedsTheFileOfTheServer"},
	{text: "the file of a submission program", why: "TestTheDoctorNeedsTheFileOfTheServer"},
	{text: "the rules of milterd.m4 are never called", by: "the rules of the include are never called"},
	{text: "a table of their own", by: "a table of sendmail's own beside milterd's"},
	{text: "a rule calls the ruleset", by: "a ruleset that is gone with the table"},
	{text: "has rules already", by: "rules behind rules that end the set"},
	{text: "FEATURE(relay_local_from)", by: "relay_local_from"},
	{text: "FEATURE(relay_mail_from)", by: "relay_mail_from"},
	{text: "class R has %s", by: "class R is too wide"},
	{text: "port 587 does not demand AUTH", by: "port 587 without a"},
	{text: "port 25 offers AUTH, and milterd refuses", by: "AUTH on port 25, where milterd refuses it"},
	{text: "port 25 offers AUTH: passwords", by: "AUTH on port 25"},
	{text: "go over the wire in clear text", by: "passwords in clear text"},
	{text: "the greeting tells the version", by: "a greeting that tells the version"},
	{text: "the Received field tells the version", by: "a Received field that tells the version"},
	{text: "can be used by strangers to find out", by: "VRFY"},
	{text: "it is from the future", by: "a clock that was wrong"},
	{text: "it has been written since the running sendmail has read it", by: "a sendmail.cf that sendmail has not read"},
	{text: "is not in it yet", by: "a sendmail.mc that nothing was made of"},
	{text: "is older than %s", by: "access.db is older than its text"},
	{text: "dangerous write permissions", by: "a sendmail.cf that a group can write to"},
	{text: "can write to the aliases", by: "aliases that a group can write to"},
	{text: "can write to the map", by: "a map that all can write to"},
	{text: "mode: shadow since", by: "a shadow that was forgotten"},
	{text: "saslauthd takes a password with any realm", by: "passwords that hold with any realm"},
	{text: "is a public resolver", by: "a public resolver"},
	// configs/advice/live and cmd/milterd: what is heard of running servers.
	{text: "the status page does not answer", by: "a status page that is not there"},
	{text: "so it is left out there", by: "a list that is dead"},
	{text: "sendmail does not answer at this port", by: "a sendmail that has not read its file"},
	{text: "most likely it waits for milterd", by: "a milterd that hangs"},
	{text: "so it could not be asked", by: "a port that takes no more connections"},
	{text: "sendmail breaks off at this port", why: "integration/probe has the servers that do so"},
	{text: "AUTH is demanded (M=a), and none is offered", by: "AUTH that is demanded and not offered"},
	{text: "is not a full one, with a domain", by: "a host name without a domain"},
	{text: "the host name %s has no address", by: "a host name without an address"},
	{text: "sendmail knows no client by name", by: "a resolver that is down"},
	{text: "knows nothing of the root of the DNS", why: "TestResolversAreAsked: a network of tests is a closed one"},
	{text: "clients wait for it, and what a check does not know", by: "a resolver that does not answer"},
	{text: "mail is put off, or passes unfiltered", by: "milterd does not answer"},
	{text: "so connections are refused while milterd restarts", why: "TestSocketUnitsThatSystemdDoesNotHold: no systemd runs here"},
	{text: "so it is not known whether milterd answers", why: "TestTheDoctorOfAnotherUserAsksForRoot"},
}
