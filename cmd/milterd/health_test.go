package main

import (
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// health runs -health on the configuration in a directory, whose name it replaces
// in what is printed.
func health(dir string) (status int, stdout, stderr string) {
	var out, complaints strings.Builder
	status = run([]string{"-health", "-config", filepath.Join(dir, "milterd.yaml")}, &out, &complaints)
	return status, strings.ReplaceAll(out.String(), dir, "DIR"), strings.ReplaceAll(complaints.String(), dir, "DIR")
}

func TestHealthIsWhetherTheDoorsAnswer(t *testing.T) {
	p := serving(t, grantsConfig+"limits: {file: limits}\n", "")
	p.waitLog(t, "listening", "door=map")
	const well = "filter door local:DIR/milter.sock: answers\nmap door local:DIR/map.sock: answers\n"
	if status, out, complaints := health(p.dir); status != exitOK || out != well || complaints != "" {
		t.Errorf("while milterd runs: status %d\n%s%s", status, out, complaints)
	}
	if status := p.end(t, syscall.SIGTERM); status != exitOK {
		t.Errorf("milterd's exit status %d", status)
	}
	if strings.Contains(p.log.String(), "level=WARN") {
		t.Errorf("what -health asked is a warning in milterd's log:\n%s", p.log)
	}
	status, out, _ := health(p.dir)
	const gone = "filter door local:DIR/milter.sock: milter: session create: dial unix DIR/milter.sock: connect: no such file or directory\n" +
		"map door local:DIR/map.sock: dial unix DIR/map.sock: connect: no such file or directory\n"
	if diff := cmp.Diff(gone, out); status != exitFailure || diff != "" {
		t.Errorf("after its end: status %d (-want +got):\n%s", status, diff)
	}
}

func TestADoorWithoutRoomIsNotWell(t *testing.T) {
	p := serving(t, strings.ReplaceAll(grantsConfig, "map.sock}", "map.sock, max_connections: 1}"), "")
	session, err := connect(p.socket())
	if err != nil {
		t.Fatal(err)
	}
	defer closing(t, session)
	status, out, _ := health(p.dir)
	if want := "map door local:DIR/map.sock: answers\n"; status != exitFailure || !strings.HasSuffix(out, want) || strings.Count(out, "answers") != 1 {
		t.Errorf("status %d\n%s", status, out)
	}
}

// TestHealthThoughAMistakeWasSaved saves configurations that the running milterd cannot
// take over: it goes on with the one before, so it is well for as long as it answers.
func TestHealthThoughAMistakeWasSaved(t *testing.T) {
	p := serving(t, grantsConfig, "")
	p.waitLog(t, "listening", "door=map")
	doors := func(word string) []string {
		return []string{"filter door local:DIR/milter.sock: " + word, "map door local:DIR/map.sock: " + word}
	}
	for _, test := range []struct{ name, text, complaint string }{
		{"a value that is none", strings.ReplaceAll(grantsConfig, "DIR", p.dir) + "mode: shadoww\n", "mode: \"shadoww\", did you mean shadow?"},
		{"no YAML", "mode: [\n", "milterd.yaml:"},
	} {
		write(t, p.dir, "milterd.yaml", test.text)
		if test.name == "no YAML" {
			t.Setenv("MILTERD_LISTEN_MILTER", "local:"+filepath.Join(p.dir, "milter.sock"))
			t.Setenv("MILTERD_LISTEN_MAP", "local:"+filepath.Join(p.dir, "map.sock"))
		}
		status, out, complaints := health(p.dir)
		if want := strings.Join(doors("answers"), "\n") + "\n"; status != exitOK || out != want || !strings.Contains(complaints, test.complaint) {
			t.Errorf("%s: status %d\n%s%s", test.name, status, out, complaints)
		}
	}
	if status := p.end(t, syscall.SIGTERM); status != exitOK {
		t.Errorf("milterd's exit status %d", status)
	}
	if status, out, _ := health(p.dir); status != exitFailure || strings.Contains(out, "answers") {
		t.Errorf("after its end: status %d\n%s", status, out)
	}
}

// TestADoorThatNobodyAskedForMayBeShut asks by a configuration that leaves the map door
// to its default, where there may be another milterd. The one that runs listens elsewhere.
func TestADoorThatNobodyAskedForMayBeShut(t *testing.T) {
	p := serving(t, baseConfig, "")
	write(t, p.dir, "milterd.yaml", strings.ReplaceAll(strings.Replace(baseConfig, ", map: local:DIR/map.sock", "", 1), "DIR", p.dir))
	if status, out, _ := health(p.dir); status != exitOK || !strings.HasPrefix(out, "filter door local:DIR/milter.sock: answers\nmap door local:/run/milterd/map.sock: ") {
		t.Errorf("status %d\n%s", status, out)
	}
	// The sendmail that it belongs to asks there.
	write(t, p.dir, "sendmail.cf", "Scheck_rcpt\nKmilterd socket -T<TMPF> local:/run/milterd/map.sock\n")
	write(t, p.dir, "milterd.yaml", strings.ReplaceAll(strings.Replace(baseConfig, ", map: local:DIR/map.sock", "", 1), "DIR", p.dir)+"sendmail: {cf: sendmail.cf}\n")
	if status, out, _ := health(p.dir); strings.Contains(out, "which does not count") || status == exitOK && strings.Count(out, ": answers\n") != 2 {
		t.Errorf("with a sendmail that asks: status %d\n%s", status, out)
	}
}
