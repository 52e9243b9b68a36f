package rulesets

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	include "milterd/configs/sendmail"
	"milterd/integration/testkit"
	"milterd/policy/access"
)

const hostname = "mx.example.test"

// The classes that both sides are given.
var (
	localDomains = []string{"local.example", "[203.0.113.25]"}
	relayDomains = []string{"relay.example", "198.51.100"}
	trustedMechs = []string{"PLAIN", "LOGIN"}
)

// features turns a Features value into the lines of a sendmail.mc.
func featureLines(f access.Features) string {
	var b strings.Builder
	arg := ""
	if f.Skip {
		arg += ", `skip'"
	}
	if f.LookupDotDomain {
		arg += ", `lookupdotdomain'"
	}
	if f.RelayToFullAddress {
		arg += ", `relaytofulladdress'"
	}
	fmt.Fprintf(&b, "FEATURE(`access_db', `hash -T<TMPF> ACCESSFILE'%s)dnl\n", arg)
	if f.DelayChecks {
		kind := "`', `n'"
		if f.Friend {
			kind = "`friend', `n'"
		} else if f.Hater {
			kind = "`hater', `n'"
		}
		fmt.Fprintf(&b, "FEATURE(`delay_checks', %s)dnl\n", kind)
	}
	for name, on := range map[string]bool{
		"blocklist_recipients": f.BlocklistRecipients,
		"relay_hosts_only":     f.RelayHostsOnly,
		"relay_entire_domain":  f.RelayEntireDomain,
		"relay_local_from":     f.RelayLocalFrom,
		"use_client_ptr":       f.UseClientPTR,
	} {
		if on {
			fmt.Fprintf(&b, "FEATURE(`%s')dnl\n", name)
		}
	}
	if f.RelayMailFrom {
		domain := ""
		if f.RelayMailFromDomain {
			domain = "domain"
		}
		fmt.Fprintf(&b, "FEATURE(`relay_mail_from', `%s')dnl\n", domain)
	}
	return b.String()
}

const masterConfig = "include(`/usr/share/sendmail/cf/m4/cf.m4')dnl\n" +
	"OSTYPE(`debian')dnl\n" +
	"define(`confDONT_PROBE_INTERFACES', `true')dnl\n" +
	"define(`confSERVICE_SWITCH_FILE', `SWITCHFILE')dnl\n" +
	"define(`confDOMAIN_NAME', `" + hostname + "')dnl\n" +
	"FEATURE(`nocanonify')dnl\n" +
	"FEATURE(`accept_unresolvable_domains')dnl\n" +
	"FEATURE(`accept_unqualified_senders')dnl\n" +
	"FEATURES" +
	"LOCAL_CONFIG\nCFLINES" +
	"LOCAL_RULESETS\n" +
	"Sask_relay\nR$*\t$@ $>\"check_relay\" $&{client_name} $| $&{client_addr}\n" +
	"Sask_pause\nR$*\t$@ $>\"greet_pause\" $&{client_name} $| $&{client_addr}\n" +
	"Sask_basic\nR$*\t$@ $>\"Basic_check_relay\" $&{client_name} $| $&{client_addr}\n" +
	"Sask_client\nR$*\t$@ $>\"tls_client\" $&{verify} $| MAIL\n" +
	"MAILER_DEFINITIONS\nMAILER(`local')dnl\nMAILER(`smtp')dnl\n"

// sendmail is one sendmail -bt set-up: a configuration and a table.
type sendmail struct {
	dir string
}

// setUp is what a sendmail is made of.
type setUp struct {
	features access.Features
	table    string
	// classes are lines for the sendmail.mc that add to classes, config are lines for
	// the sendmail.cf. FILES in them stands for the directory of the files.
	classes, config string
	files           map[string]string
	// controls: there are the FEATUREs that look clients up before the greeting.
	controls bool
	// asks: the rules are those of milterd.m4, which ask milterd at map.sock in the
	// directory of the files, for the table as well.
	asks bool
}

// includeLines stand for the include of a host that has only the map door.
const includeLines = "define(`MILTERD_NO_FILTER', `')dnl\ndefine(`MILTERD_NO_BANNER', `')dnl\n" +
	"define(`MILTERD_MAP', `local:FILES/map.sock')dnl\ndefine(`MILTERD_ACCESS_OPTIONS', `ARGUMENTS')dnl\ninclude(`FILES/milterd.m4')dnl\n"

// controlLines are those FEATUREs. Some look only if delay_checks is there.
const controlLines = "FEATURE(`greet_pause', `1000')dnl\nFEATURE(`conncontrol')dnl\nFEATURE(`ratecontrol')dnl\n"

// standard is the set-up with the classes that newPolicy has.
func standard(f access.Features, table string) setUp {
	u := setUp{features: f, table: table, config: "Dmexample.test\n"}
	for _, d := range localDomains {
		u.classes += fmt.Sprintf("LOCAL_DOMAIN(`%s')dnl\n", d)
	}
	for _, d := range relayDomains {
		u.classes += fmt.Sprintf("RELAY_DOMAIN(`%s')dnl\n", d)
	}
	return u
}

// newSendmail writes the configuration, the files and the table, as a text and as a
// map. The directory must not be below a world-writable one, or sendmail refuses the
// map.
func newSendmail(t *testing.T, u setUp) *sendmail {
	t.Helper()
	dir, err := os.MkdirTemp("/var/lib", "milterd-rulesets-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	// The daemon's user has to be able to read what is in it.
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	s := &sendmail{dir: dir}
	s.write(t, "switch", "hosts files\naliases files\n")
	for name, text := range u.files {
		s.write(t, name, text)
	}
	features := featureLines(u.features)
	if u.asks {
		s.write(t, "milterd.m4", include.Include)
		// The line of access_db is the first.
		line, rest, _ := strings.Cut(features, "\n")
		_, options, _ := strings.Cut(line, "ACCESSFILE'")
		options = strings.TrimPrefix(strings.TrimSuffix(options, ")dnl"), ", ")
		features = strings.Replace(includeLines, "ARGUMENTS", options, 1) + rest
	}
	if u.controls {
		features += controlLines
	}
	for _, mech := range trustedMechs {
		features += fmt.Sprintf("TRUST_AUTH_MECH(`%s')dnl\n", mech)
	}
	mc := strings.NewReplacer("FEATURES", features+u.classes, "CFLINES", u.config).Replace(masterConfig)
	mc = strings.NewReplacer("SWITCHFILE", s.path("switch"), "ACCESSFILE", s.path("access"), "FILES", dir).Replace(mc)
	cf, err := runCommand(exec.Command("m4"), mc)
	if err != nil {
		t.Fatalf("m4: %v", err)
	}
	s.write(t, "sendmail.cf", cf)
	s.write(t, "access", u.table)
	makemap := exec.Command("makemap", "hash", s.path("access"))
	// It says with exit status 65 that it has left lines out.
	if _, err := runCommand(makemap, u.table); err != nil && makemap.ProcessState.ExitCode() != 65 {
		t.Fatalf("makemap: %v\n%s", err, u.table)
	}
	return s
}

func (s *sendmail) path(name string) string { return filepath.Join(s.dir, name) }

func (s *sendmail) write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(s.path(name), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func runCommand(c *exec.Cmd, stdin string) (string, error) {
	var out, errs bytes.Buffer
	c.Stdin, c.Stdout, c.Stderr = strings.NewReader(stdin), &out, &errs
	if err := c.Run(); err != nil {
		return out.String(), fmt.Errorf("%w: %s", err, errs.String())
	}
	return out.String(), nil
}

// answer is what one ruleset returned, and the access keys it asked for.
type answer struct {
	// result is the workspace after "returns:", in sendmail's tokens.
	result string
	keys   []string
}

// query is one ruleset call with the macros to set before it.
type query struct {
	macros  [][2]string
	ruleset string
	input   string
}

var lookupLine = regexp.MustCompile(`^map_lookup\(access, (.*)\) => `)

// ask runs sendmail -bt once for all queries. It has network and UTS namespaces
// of its own: no DNS, and a host name that needs none.
func (s *sendmail) ask(t *testing.T, queries []query) []answer {
	t.Helper()
	var in strings.Builder
	for _, q := range queries {
		for _, m := range q.macros {
			fmt.Fprintf(&in, ".D%s%s\n", m[0], m[1])
		}
		fmt.Fprintf(&in, "%s %s\n", q.ruleset, q.input)
	}
	c := exec.Command("sh", "-c", "hostname "+hostname+" && exec sendmail -C "+s.path("sendmail.cf")+" -d60.1 -bt")
	c.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWUTS}
	out, err := runCommand(c, in.String())
	if err != nil {
		t.Fatalf("sendmail -bt: %v\n%s", err, out)
	}
	answers := parseAnswers(queries, out)
	if len(answers) != len(queries) {
		t.Fatalf("sendmail -bt answered %d of %d queries:\n%s", len(answers), len(queries), tail(out))
	}
	return answers
}

func tail(s string) string {
	if len(s) > 3000 {
		return s[len(s)-3000:]
	}
	return s
}

// parseAnswers finds each query's output: it begins with prompts and the name of
// the ruleset, and the ruleset's last "returns:" holds the result.
func parseAnswers(queries []query, out string) []answer {
	var answers []answer
	var current *answer
	lines := bufio.NewScanner(strings.NewReader(out))
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		line := lines.Text()
		if rest := strings.TrimLeft(line, "> "); strings.HasPrefix(line, "> ") && len(answers) < len(queries) {
			if name, _, ok := strings.Cut(rest, " "); ok && name == queries[len(answers)].ruleset && strings.Contains(rest, " input:") {
				answers = append(answers, answer{})
				current = &answers[len(answers)-1]
				continue
			}
		}
		if current == nil {
			continue
		}
		if m := lookupLine.FindStringSubmatch(line); m != nil {
			current.keys = append(current.keys, strings.ToLower(m[1]))
			continue
		}
		if name, rest, ok := strings.Cut(line, " "); ok && name == queries[len(answers)-1].ruleset {
			if result, ok := strings.CutPrefix(strings.TrimSpace(rest), "returns:"); ok {
				current.result = strings.TrimSpace(result)
			}
		}
	}
	return answers
}

// requireSendmail skips where sendmail -bt cannot be asked, in namespaces of its own.
func requireSendmail(t *testing.T) {
	t.Helper()
	testkit.NeedRoot(t)
	testkit.Need(t, "sendmail", "makemap", "m4", "hostname")
	if _, err := os.Stat("/usr/share/sendmail/cf/m4/cf.m4"); err != nil {
		testkit.Missing(t, "needs the package sendmail-cf: "+err.Error())
	}
}
