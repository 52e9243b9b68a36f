package configs

import (
	"fmt"
	"regexp"
	"strconv"
	"time"

	"gopkg.in/yaml.v3"
)

// duration takes a time such as 1.5s or 1h.
func duration(to *time.Duration, least, most time.Duration) func(value) {
	return func(v value) {
		d, err := time.ParseDuration(v.node.Value)
		if v.node.Kind != yaml.ScalarNode || err != nil || d < least || d > most {
			v.fail("%s, expected a time from %v to %v, such as 1.5s or 10m", kind(v.node), least, most)
			return
		}
		*to = d
	}
}

var signedDecimal = regexp.MustCompile(`^-?(0|[1-9][0-9]{0,8})$`)

// signed takes a number from -most to most.
func signed(to *int, most int) func(value) {
	return func(v value) {
		n := 0
		if v.node.Kind != yaml.ScalarNode || v.node.Tag != "!!int" || !signedDecimal.MatchString(v.node.Value) {
			v.fail("%s, expected a number from %d to %d", kind(v.node), -most, most)
			return
		}
		if _, err := fmt.Sscan(v.node.Value, &n); err != nil || n < -most || n > most {
			v.fail("%s, expected a number from %d to %d", kind(v.node), -most, most)
			return
		}
		*to = n
	}
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
	return func(v value) {
		var n int64
		if m := sizeText.FindStringSubmatch(v.node.Value); m != nil && v.node.Kind == yaml.ScalarNode {
			unit := map[string]int64{"KiB": kib, "MiB": mib, "GiB": gib}[m[2]]
			// Nine digits and a unit stay far below the end of an int64.
			number, err := strconv.ParseInt(m[1], 10, 64)
			if err == nil {
				n = number * unit
			}
		}
		if n < least || n > most {
			v.fail("%s, expected a size from %s to %s, with its unit (KiB, MiB or GiB)", kind(v.node), formatSize(least), formatSize(most))
			return
		}
		*to = n
	}
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
	return func(v value) {
		var f float64
		if v.node.Kind == yaml.ScalarNode && v.node.Style == 0 && decimalFraction.MatchString(v.node.Value) {
			if n, err := strconv.ParseFloat(v.node.Value, 64); err == nil {
				f = n
			}
		}
		if f <= 0 || f > 1 {
			v.fail("%s, expected a number above 0 and 1 at most, such as 0.1", kind(v.node))
			return
		}
		*to = f
	}
}
