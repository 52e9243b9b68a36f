package configs

import (
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"
	"time"

	"gopkg.in/yaml.v3"
)

// scalar takes what parse makes of a plain value; expected says what that is.
func scalar[T any](to *T, expected string, parse func(n *yaml.Node) (T, bool)) func(value) {
	return func(v value) {
		if v.node.Kind == yaml.ScalarNode {
			if got, ok := parse(v.node); ok {
				*to = got
				return
			}
		}
		v.fail("%s, expected %s", kind(v.node), expected)
	}
}

func boolean(to *bool) func(value) {
	return scalar(to, "true or false", func(n *yaml.Node) (bool, bool) {
		word := strings.ToLower(n.Value)
		return word == "true", n.Tag == "!!bool" && (word == "true" || word == "false")
	})
}

var decimal = regexp.MustCompile(`^(0|[1-9][0-9]{0,8})$`)

func integer(to *int, least, most int) func(value) {
	inBounds := scalar(to, fmt.Sprintf("a number from %d to %d", least, most), func(n *yaml.Node) (int, bool) {
		i, err := strconv.Atoi(n.Value)
		return i, n.Tag == "!!int" && err == nil && i >= least && i <= most
	})
	return func(v value) {
		digits := v.node.Value
		if least < 0 {
			digits = strings.TrimPrefix(digits, "-")
		}
		if v.node.Tag == "!!int" && !decimal.MatchString(digits) {
			v.fail("%s, expected a decimal number without leading zeros", quote(v.node.Value))
			return
		}
		inBounds(v)
	}
}

var octalMode = regexp.MustCompile(`^0?[0-7]{3}$`)

// fileMode takes permissions in octal, as chmod does. They must be quoted:
// YAML's versions do not agree whether 0660 is octal.
func fileMode(to *os.FileMode) func(value) {
	return scalar(to, `permissions in octal and quotes, such as "0660"`, func(n *yaml.Node) (os.FileMode, bool) {
		mode, err := strconv.ParseUint(n.Value, 8, 32)
		return os.FileMode(mode), err == nil && n.Tag == "!!str" && octalMode.MatchString(n.Value)
	})
}

// duration takes a time such as 1.5s or 1h.
func duration(to *time.Duration, least, most time.Duration) func(value) {
	return scalar(to, fmt.Sprintf("a time from %v to %v, such as 1.5s or 10m", least, most), func(n *yaml.Node) (time.Duration, bool) {
		d, err := time.ParseDuration(n.Value)
		return d, err == nil && d >= least && d <= most
	})
}

// Units of sizes, in octets.
const (
	kib = 1 << 10
	mib = 1 << 20
	gib = 1 << 30
)

var sizeText = regexp.MustCompile(`^([1-9][0-9]{0,8})(KiB|MiB|GiB)$`)

// size takes a number of octets, with its unit.
func size(to *int64, least, most int64) func(value) {
	expected := fmt.Sprintf("a size from %s to %s, with its unit (KiB, MiB or GiB)", formatSize(least), formatSize(most))
	return scalar(to, expected, func(n *yaml.Node) (int64, bool) {
		m := sizeText.FindStringSubmatch(n.Value)
		if m == nil {
			return 0, false
		}
		// Nine digits and a unit stay far below the end of an int64.
		octets, err := strconv.ParseInt(m[1], 10, 64)
		octets *= map[string]int64{"KiB": kib, "MiB": mib, "GiB": gib}[m[2]]
		return octets, err == nil && octets >= least && octets <= most
	})
}

func formatSize(n int64) string {
	switch {
	case n%gib == 0:
		return fmt.Sprintf("%dGiB", n/gib)
	case n%mib == 0:
		return fmt.Sprintf("%dMiB", n/mib)
	}
	return fmt.Sprintf("%dKiB", n/kib)
}

var decimalFraction = regexp.MustCompile(`^[01](\.[0-9]{1,9})?$`)

// share takes a part of a whole: more than 0, 1 at most.
func share(to *float64) func(value) {
	return scalar(to, "a number above 0 and 1 at most, such as 0.1", func(n *yaml.Node) (float64, bool) {
		f, err := strconv.ParseFloat(n.Value, 64)
		return f, err == nil && n.Style == 0 && decimalFraction.MatchString(n.Value) && f > 0 && f <= 1
	})
}
