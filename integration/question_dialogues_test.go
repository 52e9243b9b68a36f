package integration_test

import (
	"strings"
	"testing"

	"milterd/integration/harness"
)

// withoutLimits are entries by which no FEATURE of the stock file holds a client up.
const withoutLimits = "GreetPause:10\t0\nGreetPause:192.0.2\t0\nGreetPause:198.51.100\t0\nGreetPause:203.0.113\t0\nGreetPause:IPv6:2001:db8\t0\n" +
	"ClientRate:\t0\nClientConn:\t0\n"

// toldOtherwise are the dialogues in which a client is told something else through the map
// door, and what: sendmail has no table of its own there, port 25 says that AUTH would not
// help, and in shadow mode sendmail's own rules go on, by milterd's table.
var toldOtherwise = map[string]string{
	"standard/relay-25-denied":      "550 5.7.1 <x@other.example>... Relaying denied",
	"standard/rejected-by-sendmail": "250 2.1.5 <shin@example.test>... Recipient ok",
	"shadow/from-reject":            "550 5.7.1 <shin@example.test>... Access denied",
	"shadow/relay-denied":           "550 5.7.1 <x@other.example>... Relaying denied. Proper authentication required.",
}

// TestDialoguesThroughTheQuestion plays the dialogues of the scenes that have the filter door
// alone with a sendmail whose own rules ask milterd: clients are told the same.
func TestDialoguesThroughTheQuestion(t *testing.T) {
	for _, scene := range scenes {
		dialogues, options := readScene(t, scene.name, scene.dir)
		if options.Include != "" {
			continue
		}
		t.Run(scene.name, func(t *testing.T) {
			options.Include, options.Access = include+"\n", ""
			options.Files["access"] += withoutLimits
			env := start(t, options)
			var same []*harness.Dialogue
			for _, d := range dialogues {
				want, otherwise := toldOtherwise[scene.name+"/"+d.Name]
				if !otherwise {
					same = append(same, d)
				} else if err := env.Play(d, nil); err == nil || !strings.HasSuffix(err.Error(), ": got \""+want+"\"") {
					t.Errorf("%s: %v, expected %s", d.Name, err, want)
				}
			}
			play(t, env, same)
			if !strings.Contains(env.Milterd.Log.String(), " door=map stage=rcpt ") {
				t.Error("the map door has refused nothing")
			}
		})
	}
}
