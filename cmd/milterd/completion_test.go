package main

import (
	"cmp"
	"flag"
	"fmt"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"milterd/integration/testkit"
)

// completions are the scripts that shells complete the command line by. They are made
// here, from the flags of the modes: go test -run TestCompletion ./cmd/milterd -update.
const completions = "../../configs/completion"

func TestCompletionKnowsEveryFlag(t *testing.T) {
	for name, text := range map[string]string{"milterd.bash": bashCompletion(), "_milterd": zshCompletion()} {
		testkit.Golden(t, filepath.Join(completions, name), text)
		for _, m := range modes() {
			m.flagSet(new(options)).VisitAll(func(f *flag.Flag) {
				if !regexp.MustCompile(`[ '(]-` + f.Name + `[ '\[]`).MatchString(text) {
					t.Errorf("%s has no -%s", name, f.Name)
				}
			})
		}
	}
}

func TestCompletionInBash(t *testing.T) {
	testkit.Need(t, "bash")
	for _, c := range []struct{ line, want string }{
		{"-do", "-doctor"},
		{"-g", "-grant -grants"},
		{"-check -ex", "-explain"},
		{"-check -a", "-access -against"},
		{"-check -client 192.0.2.1 -a", "-access -auth"},
		{"-check -against x -e", ""},
		{"-check -json -j", ""},
		{"-check -format t", "text tap"},
		{"-check -against x -format t", "text"},
		{"-mc -system f", "freebsd"},
		{"-check -user roo", "root"},
		{"-check -config completion_t", "completion_test.go"},
		{"-check readme_t", "readme_test.go"},
		{"-check -client ", ""},
		{"-health ", "-config"},
	} {
		words := strings.Split("milterd "+c.line, " ")
		script := `source ` + completions + `/milterd.bash && [[ $(complete -p milterd) == *"-F _milterd milterd" ]] || exit 1
			COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)); _milterd; echo "${COMPREPLY[@]}"`
		out, err := exec.Command("bash", append([]string{"-uc", script, "bash"}, words...)...).CombinedOutput()
		if got := strings.TrimSpace(string(out)); err != nil || got != c.want {
			t.Errorf("milterd %s: %q (%v), expected %q", c.line, got, err, c.want)
		}
	}
}

func TestCompletionInZsh(t *testing.T) {
	testkit.Need(t, "zsh")
	for line, want := range map[string]string{
		"":                             "-doctor[say what is wrong with this sendmail and this milterd together]",
		"-check":                       "-explain[print the trace of each verdict]",
		"-check -against x":            "-format[FORMAT of the results, one of (text json) (default text)]:FORMAT:(text json)",
		"-check -client 192.0.2.1":     "-auth[MECHANISM:USER that the client has authenticated with]:MECHANISM\\:USER: ",
		"-probe mx.example.test -from": "*:HOST[\\:PORT]:_hosts",
	} {
		// What the shell's own function would be told.
		script := `_arguments() { print -rl -- "$@" }; words=(milterd ${=1}) CURRENT=9; source ` + completions + `/_milterd`
		out, err := exec.Command("zsh", "-fc", script, "zsh", line).CombinedOutput()
		if err != nil || !slices.Contains(strings.Split(string(out), "\n"), want) {
			t.Errorf("milterd %s: %v, expected %s in\n%s", line, err, want, out)
		}
	}
}

// modesForCompletion are the modes, the most particular first.
func modesForCompletion() []mode {
	all := modes()
	slices.SortStableFunc(all, func(a, b mode) int { return cmp.Compare(len(b.chosenBy), len(a.chosenBy)) })
	return all
}

// taken is a flag that a mode takes.
type taken struct {
	name, about string
	// value is the name of its value, empty if it has none.
	value string
	words []string
}

// takes are the flags of a mode, with those that make it a more particular one.
func takes(m mode) []taken {
	var all []taken
	add := func(of mode, name string) {
		if slices.ContainsFunc(all, func(f taken) bool { return f.name == name }) {
			return
		}
		f := of.flagSet(new(options)).Lookup(name)
		value, about := flag.UnquoteUsage(f)
		if slices.Contains(of.chosenBy, name) {
			about = of.about
		}
		got := taken{name: name, about: strings.NewReplacer("[", "(", "]", ")").Replace(about), value: value}
		if one := regexp.MustCompile(`one of \[?([a-z, ]*[a-z])`).FindStringSubmatch(about); one != nil && value != "" {
			got.words = strings.Fields(strings.ReplaceAll(one[1], ",", ""))
		}
		all = append(all, got)
	}
	m.flagSet(new(options)).VisitAll(func(f *flag.Flag) { add(m, f.Name) })
	for _, other := range modes() {
		if n := len(m.chosenBy); len(other.chosenBy) == n+1 && slices.Equal(other.chosenBy[:n], m.chosenBy) {
			add(other, other.chosenBy[n])
		}
	}
	slices.SortFunc(all, func(a, b taken) int { return cmp.Compare(a.name, b.name) })
	return all
}

// argument is what a mode takes besides flags.
func argument(m mode) string {
	last := m.synopsis[strings.LastIndex(m.synopsis, " ")+1:]
	switch name := strings.Trim(last, "[]."); name {
	case "SESSION":
		return name
	case "HOST[:PORT":
		return "HOST[:PORT]"
	}
	return ""
}

const madeBy = "# Made from the flags by the tests of cmd/milterd (-update): not to be edited.\n"

func bashCompletion() string {
	var b strings.Builder
	b.WriteString("# Completion of milterd's command line in bash.\n" + madeBy + `
_milterd()
{
	local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]}
	local line=" ${COMP_WORDS[*]:1:COMP_CWORD-1} " flags='' words='' kind='' arguments='' flag
	COMPREPLY=()
	compopt -o filenames 2>/dev/null
`)
	word := "if"
	for _, m := range modesForCompletion() {
		var has []string
		for _, name := range m.chosenBy {
			has = append(has, `$line == *" -`+name+` "*`)
		}
		if has != nil {
			fmt.Fprintf(&b, "\t%s [[ %s ]]; then\n", word, strings.Join(has, " && "))
		} else {
			b.WriteString("\telse\n")
		}
		word = "elif"
		writeBashMode(&b, m)
	}
	b.WriteString(`	fi
	case ${kind:-$arguments} in
	FILE | SESSION) mapfile -t COMPREPLY < <(compgen -f -- "$cur") ;;
	HOST*) mapfile -t COMPREPLY < <(compgen -A hostname -- "$cur") ;;
	USER) mapfile -t COMPREPLY < <(compgen -u -- "$cur") ;;
	WORD) mapfile -t COMPREPLY < <(compgen -W "$words" -- "$cur") ;;
	esac
	[[ $kind || $arguments && $cur != -* ]] && return
	for flag in $flags; do
		[[ $flag == "$cur"* && $line != *" $flag "* ]] && COMPREPLY+=("$flag")
	done
	return 0
}
complete -F _milterd milterd
`)
	return b.String()
}

func writeBashMode(b *strings.Builder, m mode) {
	kinds := make(map[string][]string)
	var flags []string
	words := ""
	for _, f := range takes(m) {
		flags = append(flags, "-"+f.name)
		switch {
		case f.value == "":
		case f.words != nil:
			words += fmt.Sprintf("\t\t-%s) kind=WORD words='%s' ;;\n", f.name, strings.Join(f.words, " "))
		case f.value == "FILE":
			kinds["FILE"] = append(kinds["FILE"], "-"+f.name)
		case strings.Contains(f.about, "of the user to check"):
			kinds["USER"] = append(kinds["USER"], "-"+f.name)
		default:
			kinds["VALUE"] = append(kinds["VALUE"], "-"+f.name)
		}
	}
	if m.chosenBy == nil {
		flags = append(flags, "-h")
	}
	fmt.Fprintf(b, "\t\tflags='%s'", strings.Join(flags, " "))
	if a := argument(m); a != "" {
		fmt.Fprintf(b, " arguments='%s'", a)
	}
	b.WriteString("\n\t\tcase $prev in\n")
	for _, kind := range []string{"FILE", "USER", "VALUE"} {
		if kinds[kind] != nil {
			fmt.Fprintf(b, "\t\t%s) kind=%s ;;\n", strings.Join(kinds[kind], " | "), kind)
		}
	}
	b.WriteString(words + "\t\tesac\n")
}

func zshCompletion() string {
	colons := strings.NewReplacer(":", `\:`)
	var b strings.Builder
	b.WriteString("#compdef milterd\n# Completion of milterd's command line in zsh.\n" + madeBy + "\n")
	word := "if"
	for _, m := range modesForCompletion() {
		var has []string
		for _, name := range m.chosenBy {
			has = append(has, "$words[(Ie)-"+name+"]")
		}
		if has != nil {
			fmt.Fprintf(&b, "%s (( %s )); then\n", word, strings.Join(has, " && "))
		} else {
			b.WriteString("else\n")
		}
		word = "elif"
		b.WriteString("\t_arguments")
		for _, f := range takes(m) {
			spec := "-" + f.name + "[" + f.about + "]"
			switch {
			case f.value == "":
			case f.words != nil:
				spec += ":" + f.value + ":(" + strings.Join(f.words, " ") + ")"
			case f.value == "FILE":
				spec += ":FILE:_files"
			case strings.Contains(f.about, "of the user to check"):
				spec += ":" + f.value + ":_users"
			default:
				spec += ":" + colons.Replace(f.value) + ": "
			}
			b.WriteString(" \\\n\t\t'" + strings.ReplaceAll(spec, "'", `'\''`) + "'")
		}
		switch a := argument(m); {
		case m.chosenBy == nil:
			b.WriteString(" \\\n\t\t'-h[explain the flags]'")
		case a == "SESSION":
			b.WriteString(" \\\n\t\t'*:SESSION:_files'")
		case a != "":
			b.WriteString(" \\\n\t\t'*:" + colons.Replace(a) + ":_hosts'")
		}
		b.WriteString("\n")
	}
	b.WriteString("fi\n")
	return b.String()
}
