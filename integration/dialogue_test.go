package integration_test

import (
	"path/filepath"
	"testing"

	"milterd/integration/harness"
)

// scenes are the set-ups that dialogues and sessions are written for: the files
// right in dialogues and sessions belong to the standard one, the others have a
// directory of their own.
var scenes = []struct{ name, dir string }{
	{"standard", ""},
	{"strict", "strict"},
	{"early", "early"},
	{"shadow", "shadow"},
}

func TestDialogues(t *testing.T) {
	for _, scene := range scenes {
		t.Run(scene.name, func(t *testing.T) {
			dialogues, err := harness.ReadDialogues(filepath.Join("dialogues", scene.dir))
			if err != nil {
				t.Fatal(err)
			}
			options, err := harness.ReadScene(filepath.Join("scenes", scene.name))
			if err != nil {
				t.Fatal(err)
			}
			options.AddDNS(dialogues...)
			env := start(t, options)
			// A group, so that the server outlives the parallel dialogues.
			t.Run("dialogue", func(t *testing.T) {
				for _, d := range dialogues {
					t.Run(d.Name, func(t *testing.T) {
						t.Parallel()
						if err := env.Play(d, nil); err != nil {
							t.Error(err)
						}
					})
				}
			})
		})
	}
}
