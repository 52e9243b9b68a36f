package attack

import (
	"slices"
	"strings"
	"testing"
)

// The domains of the recipients. Those of own and partner are taken from everybody.
const (
	own     = "example.test"
	partner = "partner.example"
	victim  = "victim.example"
)

// gates are the hosts that a recipient may seem to be at: those that mail is taken for
// from anybody, in several notations.
var gates = []string{
	own, partner, "mx." + own, "localhost", "EXAMPLE.Test.", "Partner.Example.",
	"[203.0.113.25]", "[IPv6:2001:db8::25]", "[127.0.0.1]",
}

// smuggled are recipients at a gate, {g}, that lead to the victim, {v}.
var smuggled = []string{
	"x%{v}@{g}", "x%{v}.@{g}", "x%{v}%{g}@{g}", "{v}!x@{g}", "{g}!{v}!x", "{g}!x%{v}", "{v}!x%{g}",
	"x@{v}@{g}", "x%{v}@{g}@{g}", "@{g}:x@{v}", "@{g},@{v}:x@{v}", "{g}:x@{v}", "@{v}:x@{g}",
	`"x@{v}"@{g}`, `"x%{v}"@{g}`, `"{v}!x"@{g}`, `"x"%{v}@{g}`, `x%"{v}"@{g}`, `"x%{v}@{g}"`, `"\"x@{v}\""@{g}`,
	`a"x@{v}"@{g}`, `a"x%{v}"@{g}`, `a:"x%{v}"@{g}`, `a"x@{v}"%{g}`, `a:"x@{v}"%{g}`, `a.":x@{v}".b@{g}`, `"a".x%{v}@{g}`,
	`x\@{v}@{g}`, `x\%{v}@{g}`, "x(c)%{v}(c)@{g}", "x(@{g})@{v}", "x@{v}(@{g})", "x%40{v}@{g}", "=?utf-8?q?x=40{v}?=@{g}",
	"x+y%{v}@{g}", "+%{v}@{g}", "x%[198.51.100.80]@{g}", "x%[IPv6:2001:db8::80]@{g}", "x%{v}%@{g}", "x%{V}@{G}",
	"x%{v}@{g},b", "x%{v}@{g},b!a", `x\,y%{v}@{g}`, "x(a,b)%{v}@{g}", `"a,b"%{v}@{g}`, "@a.example,@b.example:x%{v}@{g}",
	"x@{v},x@{g}", "x@{v};x@{g}", "x@{v}>,<x@{g}", "x@{v} x@{g}", "x@{v}.{g}", "x@{v}%{g}", "x@{v}:{g}", "x@{v}/{g}",
}

// direct are recipients that name the victim itself.
var direct = []string{
	"x@{v}", "x@{v}.", "x@{v}..", "X@{V}", "x @ {v}", "x@{v} ", "\tx@{v}", `"x"@{v}`, `x@"{v}"`, `"x@{v}"`, "x%{v}", "{v}!x", "x%{v}@", "x%{v}@.",
	"@{v}", "x+detail@{v}", "x(c)@{v}", "x@(c){v}", "x@{v}(c)", "x@[198.51.100.80]", "x@[IPv6:2001:db8::80]", "x@198.51.100.80", "x@[{v}]", "x@#198.51.100.80",
	"x@[198.51.100.80].", "x@[ipv6:2001:DB8:0::80]", "x@[2001:db8::80]", "x@0xc6336450", "x@[0xc6336450]", "x@3325256784", "postmaster@{v}", "abuse@{v}",
	"x@{long}.{v}", "{long}@{v}", "x\xe9@{v}", "xé@{v}", "x\x01@{v}", "mailto:x@{v}", "smtp:x@{v}", "local:x@{v}", "error:x@{v}", "[{v}]:x@{v}", "|x@{v}", ":include:x@{v}", "/x@{v}",
	`x\,y@{v}`, "x(a,b)@{v}", `"a,b"@{v}`, "@a.example,@b.example:x@{v}", `x@"a:{v}:".b."connect:127"`, `x@"a:{v}:".b."Connect:127.0.0.1"`, `x@"a:{v}:".b."to:partner.example"`, `x@"a:{v}:".b."from:partner.example"`,
	`x@"{v}:".connect:127`, `x@connect:127.{v}`, `x@"connect:127"`, `"connect:127"@{v}`, "connect:127@{v}", "to:partner.example@{v}", `x@{v}:"connect:127"`,
	`x@"{v}".partner.example`, `x@{v}\.partner.example`, "x@{v}!partner.example", "x@partner.example.{v}", "x@{v}\x00partner.example",
}

var (
	filled  = strings.NewReplacer("{v}", victim, "{V}", strings.ToUpper(victim), "{long}", strings.Repeat("l", 300))
	tricks  = allTricks()
	aliases = []string{"198.51.100.80", "2001:db8::80"} // of the victim
)

// allTricks are the recipients of the matrix, as arguments of RCPT TO.
func allTricks() []string {
	var all []string
	for _, form := range direct {
		all = append(all, "<"+filled.Replace(form)+">")
	}
	for _, form := range smuggled {
		for _, gate := range gates {
			all = append(all, "<"+filled.Replace(strings.NewReplacer("{g}", gate, "{G}", strings.ToUpper(gate)).Replace(form))+">")
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

func TestEachTrickLeadsToTheVictim(t *testing.T) {
	for _, trick := range tricks {
		if !slices.ContainsFunc(append(aliases, victim, "connect:127", "0xc6336450", "3325256784"), func(name string) bool {
			return strings.Contains(strings.ToLower(trick), name)
		}) && !strings.Contains(trick, "2001:DB8:0::80") {
			t.Errorf("%q does not", trick)
		}
	}
	if len(tricks) < 216 {
		t.Errorf("%d tricks", len(tricks))
	}
}
