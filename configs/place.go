package configs

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// Place is where the configuration is.
type Place struct {
	// Flag is the -config flag, empty without one.
	Flag string
	// Fallback is read without a flag, if there is such a file.
	Fallback string
}

// File is the file that is, or would be, read.
func (p Place) File() string { return cmp.Or(p.Flag, p.Fallback) }

// Load reads the configuration. Without a flag, the embedded one counts, with a warning,
// only if there is no directory for one either: a service whose file is gone must not
// begin to refuse mail.
func (p Place) Load() (config *Config, warning string, err error) {
	config, err = Load(p.File(), os.Environ()...)
	if p.Flag != "" || !errors.Is(err, fs.ErrNotExist) {
		return config, "", err
	}
	if _, statErr := os.Stat(filepath.Dir(p.Fallback)); !errors.Is(statErr, fs.ErrNotExist) {
		return nil, "", fmt.Errorf("%w; expected that file, as its directory is there (with the line `mode: shadow` it refuses nothing, with `mode: enforce` it is the built-in configuration)%s",
			err, p.misnamed())
	}
	config, err = Default(os.Environ()...)
	return config, "no configuration file " + p.Fallback + ", the built-in one is in force", err
}

// misnamed tells of a file that may be meant.
func (p Place) misnamed() string {
	// A pattern without special characters but the last cannot be malformed.
	others, _ := filepath.Glob(strings.TrimSuffix(p.Fallback, filepath.Ext(p.Fallback)) + ".*")
	if len(others) == 0 {
		return ""
	}
	return "; " + others[0] + " is there, but not read: rename it, or use -config"
}
