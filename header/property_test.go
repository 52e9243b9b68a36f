package header

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// client is what a generated header is not to tell.
type client struct {
	host, helo, addr, ident, user string
}

func clients() *rapid.Generator[client] {
	return rapid.Custom(func(t *rapid.T) client {
		return client{
			host:  rapid.StringMatching(`qh[a-z0-9]{2,6}(-[0-9]{1,3}){0,2}\.(client\.example|lan)`).Draw(t, "host"),
			helo:  rapid.StringMatching(`(qq[a-zA-Z0-9_-]{0,8}[a-z0-9](\.lan)?|\[203\.0\.113\.8\]|QX|q!\(x\)q)`).Draw(t, "helo"),
			addr:  rapid.SampledFrom([]string{"203.0.113.8", "2001:db8::8:1", "IPv6:2001:db8:0:0:0:0:8:1", "::ffff:203.0.113.8"}).Draw(t, "addr"),
			ident: rapid.StringMatching(`qi[a-z]{1,6}`).Draw(t, "ident"),
			user:  rapid.StringMatching(`qu[a-z]{2,6}(@qu\.example)?`).Draw(t, "user"),
		}
	})
}

// sender is that of the messages that are generated.
const sender = "joe@ours.example"

// secrets are the words that tell of a client.
func (c client) secrets() []string {
	words := []string{c.host, strings.Trim(c.helo, "[]"), c.addr, strings.TrimPrefix(c.addr, "::ffff:"), c.ident, c.user}
	if strings.Contains(c.addr, "2001") {
		words = append(words, "2001:db8::8:1")
	}
	return words
}

// styles are Received fields as MTAs write them. %h is the client's name, %e what
// it said in HELO, %a its address, %i its ident and %u its login.
var styles = []string{
	"from %e (%h [%a]) (authenticated bits=0) by mx.example (8.17.1/8.17.1) with ESMTPSA id 41A5xYz (version=TLSv1.3 cipher=TLS_AES_256_GCM_SHA384 bits=256 verify=NO) for <to@other.example>; Mon, 5 Feb 2024 10:00:00 +0100",
	"from %e (%i@%h [%a] (may be forged)) by mx.example (8.17.1/8.17.1) id 41A5xYz; Mon, 5 Feb 2024 10:00:00 +0100 (CET)",
	"(from %u@localhost) by mx.example (8.17.1/8.17.1/Submit) id 41A5xYz; Mon, 5 Feb 2024 10:00:00 +0100",
	"from %e (%h [%a])\n\t(using TLSv1.3 with cipher TLS_AES_256_GCM_SHA384 (256/256 bits))\n\t(Client CN \"%h\", Issuer \"%u\" (verified OK))\n\t(Authenticated sender: %u)\n\tby mx.example (Postfix) with ESMTPSA id 4TSxYz\n\tfor <to@other.example>; Mon, 5 Feb 2024 10:00:00 +0100",
	"from [%a] (port=40112 helo=%e ident=%i)\n\tby mx.example with esmtpsa  (TLS1.3) tls TLS_AES_256_GCM_SHA384\n\t(Exim 4.96)\n\t(envelope-from <from@%e>)\n\tid 1rWvXy-000abc-1z; Mon, 5 Feb 2024 10:00:00 +0100",
	"from %h (HELO %e) (%i@%a)\n  by mx.example with SMTP; 5 Feb 2024 09:00:00 -0000",
	"(qmail 12345 invoked by %u); 5 Feb 2024 09:00:00 -0000",
	"from %e (%a) by EX2.example (2001:db8::25) with Microsoft SMTP Server (version=TLS1_2, cipher=TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384) id 15.1.2507.35 via Frontend Transport; Mon, 5 Feb 2024 10:00:00 +0100",
	"from %e (%h. [%a])\n        by smtp.example with ESMTPSA id a1-200.2024.02.05\n        for <to@other.example> (version=TLS1_3 cipher=TLS_AES_128_GCM_SHA256 bits=128/128);\n        Mon, 05 Feb 2024 01:00:00 -0800 (PST)",
	"from %e (%h [%a])\n  (AUTH: PLAIN %u, TLS: TLSv1.3,256bits,TLS_AES_256_GCM_SHA384)\n  by mx.example with ESMTPSA; Mon, 5 Feb 2024 10:00:00 +0100\n  id 0000A1B2",
	"from [%a] (account %u HELO %e) by mx.example (CommuniGate Pro SMTP 6.2.14) with ESMTPSA id 123; Mon, 5 Feb 2024 10:00:00 +0100 (client %h)",
	"from %e by mx.example (for %e [%a]) via %h with SMTP (%a) id 1 (HELO %e) auth=yes user=%u; Mon, 5 Feb 2024 10:00:00 +0100",
	"%e [%a] by mx.example id 1; Mon, 5 Feb 2024 10:00:00 +0100",
	"from %e (%h [%a] by mx.example id 1; Mon, 5 Feb 2024 10:00:00 +0100",
	"from %e; yesterday on %h",
	"from %e ([%a]) by mx.example (InterMail vM.6.01.05.02 201-2131-123) with ESMTP id <20060407.WVVW26964.mx.example@%e> for <to@other.example>; Mon, 5 Feb 2024 10:00:00 +0100",
	"from %e ([%a]) by mx.example by uid 502 with qmail-scanner-1.20 (clamuko: 0.65. Clear:RC:0(%a):. Processed in 0.21 secs); 5 Feb 2024 09:00:00 -0000",
	"from %e (%h [%a]) by mx.example with ESMTP id <%a.17@%h> Mon, 5 Feb 2024 10:00:00 +0100",
	"id <123@%h> from unknown (HELO %e) by mx.example; Mon, 5 Feb 2024 10:00:00 +0100",
	"by mx.example with ESMTP id 20040607.17@[%a]; Mon, 5 Feb 2024 10:00:00 +0100",
	"by mx.example with local (Exim 4.96) (envelope-from <%u@%h>) id 1rWvXy-000abc-1y; Mon, 5 Feb 2024 10:00:00 +0100",
	"by mx.example (8.12.9/8.12.9) id h8B4f9gc058283; Thu, 11 Sep 2003 13:41:10 +0900 (JST) (envelope-from %u@[%a])",
	"by mx.example (Haraka/2.8.28) with ESMTP id 5B0C1A2D-1.1 envelope-from <%u@%h> tls TLS_AES_256_GCM_SHA384; Mon, 5 Feb 2024 10:00:00 +0100",
	"by mx.example (return-path: %u@%h) (envelope-sender <%h!%u>) id 1; Mon, 5 Feb 2024 10:00:00 +0100",
}

func (c client) field(style string) string {
	return strings.NewReplacer("%h", c.host, "%e", c.helo, "%a", c.addr, "%i", c.ident, "%u", c.user).Replace(style)
}

// headers makes headers of Received fields in all styles, garbage and others.
func headers(c client) *rapid.Generator[[]Field] {
	received := rapid.Custom(func(t *rapid.T) Field {
		return Field{"Received", c.field(rapid.SampledFrom(styles).Draw(t, "style"))}
	})
	garbage := rapid.Custom(func(t *rapid.T) Field {
		words := rapid.SliceOf(rapid.SampledFrom([]string{
			"from", "by", "with", "id", "for", "via", "tls", "envelope-from", ";", "(", ")", `"`, `\`, "<", ">", "[", "\n\t", "\r\n ", " ", "\xff", "\x00",
			"SMTP", "(SMTP server)", "from SMTP", "mx.example", "203.0.113.9", "1.2.3.4", "15.1.2.3", "(Postfix 1.2)", "(TLS1.3)", "Mon, 5 Feb 2024 10:00:00 +0100", "(CET)", "x",
		})).Draw(t, "words")
		name := rapid.SampledFrom([]string{"Received", "received", "X-Mailer", "User-Agent", "Subject"}).Draw(t, "name")
		return Field{name, strings.Join(words, rapid.SampledFrom([]string{"", " "}).Draw(t, "between"))}
	})
	other := rapid.Custom(func(t *rapid.T) Field {
		return rapid.SampledFrom([]Field{
			{"X-Mailer", "Mutt/2.2.12 (2023-09-09)"}, {"x-mailer", "1.2"}, {"User-Agent", "Mozilla Thunderbird 115.3"}, {"X-Originating-IP", "[203.0.113.8]"},
			{"Organization", "Example"}, {"Subject", "hello"},
			{"DKIM-Signature", "v=1; d=example.test; s=a; h=from:received; b=x"}, {"DKIM-Signature", "v=1; d=example.test; s=b; h=x-mailer:x-mailer:organization; b=x"},
		}).Draw(t, "field")
	})
	return rapid.SliceOfN(rapid.OneOf(received, garbage, other), 0, 12)
}

func someRules() *rapid.Generator[*Rules] {
	return rapid.Custom(func(t *rapid.T) *Rules {
		all := []FieldRule{{"X-Mailer", Version, ""}, {"user-agent", Version, ""}, {"X-Originating-IP", Remove, ""}, {"Organization", Replace, "None of yours"}, {"received", Remove, ""}}
		return &Rules{
			Client: rapid.Bool().Draw(t, "client"), Version: rapid.Bool().Draw(t, "version"), With: rapid.Bool().Draw(t, "with"),
			From:   rapid.SampledFrom([]string{DefaultFrom, "", "from a  client of ours (hidden (twice)) by-and-by", "from localhost (TLS)", "from id 5; x", "(nobody)"}).Draw(t, "from"),
			By:     rapid.SampledFrom([]string{DefaultBy, "", "(our  server (v0))", "(TLS)", "(envelope-from a)", "(mx.example)", "not a comment"}).Draw(t, "by"),
			Fields: all[:rapid.IntRange(0, len(all)).Draw(t, "fields")],
		}
	})
}

func names(fields []Field) []string {
	list := make([]string, len(fields))
	for i, f := range fields {
		list[i] = f.Name
	}
	return list
}

func TestAPlanAppliedIsTheScrubbedHeader(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		fields := headers(clients().Draw(t, "client")).Draw(t, "fields")
		rules := someRules().Draw(t, "rules")
		edits, kept := Plan(fields, rules, sender)

		// The plain way: each field by itself, with its edit looked up.
		edit := make(map[string]Edit)
		for _, e := range edits {
			edit[fmt.Sprint(lower(e.Name), e.Index)] = e
		}
		for _, k := range kept {
			if _, both := edit[fmt.Sprint(lower(k.Name), k.Index)]; both {
				t.Fatalf("%s %d is both edited and kept", k.Name, k.Index)
			}
		}
		var want []Field
		seen := make(map[string]int)
		for _, f := range fields {
			seen[lower(f.Name)]++
			e, ok := edit[fmt.Sprint(lower(f.Name), seen[lower(f.Name)])]
			switch {
			case !ok:
				want = append(want, f)
			case e.Old != f.Value || e.Name != f.Name:
				t.Fatalf("edit %+v is not of %+v", e, f)
			case !e.Delete:
				want = append(want, Field{f.Name, e.Value})
			}
		}
		got := Apply(fields, edits)
		if diff := cmp.Diff(textOf(want), textOf(got)); diff != "" {
			t.Fatalf("(-want +got):\n%s", diff)
		}
		if diff := cmp.Diff(textOf(got), textOf(applyGone(fields, edits))); diff != "" {
			t.Fatalf("where deleted fields do not count (-sendmail +other):\n%s", diff)
		}
		checkPlan(t, fields, edits, rules)
		for _, f := range fields {
			if isSignature(f.Name) && !slices.Contains(got, f) {
				t.Fatalf("signature %+v is gone", f)
			}
		}
	})
}

// applyGone applies edits for an MTA where a deleted field no longer counts.
func applyGone(fields []Field, edits []Edit) []Field {
	var result []Field
	result = append(result, fields...)
	for _, e := range edits {
		index := 0
		for i, f := range result {
			if strings.EqualFold(f.Name, e.Name) {
				index++
			}
			if index == e.Index {
				if e.Delete {
					result = slices.Delete(result, i, i+1)
				} else {
					result[i].Value = e.Value
				}
				break
			}
		}
	}
	return result
}

// checkPlan checks what holds for the plan of any header.
func checkPlan(t interface {
	Fatalf(string, ...any)
	Helper()
}, fields []Field, edits []Edit, rules *Rules) {
	t.Helper()
	got := Apply(fields, edits)
	deleted := 0
	for _, e := range edits {
		switch {
		case e.Delete && (strings.EqualFold(e.Name, "Received") || e.Value != ""):
			t.Fatalf("edit %+v", e)
		case e.Delete:
			deleted++
			continue
		}
		if problem := invalid(e.Name, e.Value); problem != "" {
			t.Fatalf("%s: %s: %q", e.Name, problem, e.Value)
		}
	}
	if len(got) != len(fields)-deleted {
		t.Fatalf("%d fields of %d, %d deleted", len(got), len(fields), deleted)
	}
	if deleted == 0 && !slices.Equal(names(got), names(fields)) {
		t.Fatalf("names %q, want %q", names(got), names(fields))
	}
	if again, _ := Plan(got, rules, sender); len(again) > 0 {
		t.Fatalf("scrubbed twice: %+v\nby %+v", again, *rules)
	}
}

// invalid says what is wrong with the value of a field that was written here.
func invalid(name, value string) string {
	first, rest, folded := strings.Cut(value, "\n")
	if strings.TrimSpace(first) == "" {
		return "first line is empty"
	}
	lines := []string{name + ": " + first}
	if folded {
		lines = append(lines, strings.Split(rest, "\n")...)
	}
	for i, line := range lines {
		switch {
		case len(line) > 998:
			return fmt.Sprintf("line of %d octets", len(line))
		case i > 0 && (!strings.HasPrefix(line, "\t") || strings.TrimSpace(line) == ""):
			return "line without text or the tab before it"
		case strings.ContainsFunc(strings.TrimPrefix(line, "\t"), isControl):
			return "control character"
		}
	}
	if strings.EqualFold(name, "Received") {
		if _, clean := tokensOf(value); !clean {
			return "parentheses that do not match"
		}
		if _, date := new(received).split(value); date == nil && strings.HasSuffix(value, ";") {
			return "nothing behind the semicolon"
		}
	}
	return ""
}

func isControl(r rune) bool { return r < ' ' || r == 0x7f }

func TestNothingOfAClientIsLeft(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := clients().Draw(t, "client")
		value := c.field(rapid.SampledFrom(styles).Draw(t, "style"))
		rules := someRules().Draw(t, "rules")
		rules.Client = true
		got := textOf(Apply([]Field{{"Received", value}}, first(Plan([]Field{{"Received", value}}, rules, sender))))
		for _, secret := range c.secrets() {
			if strings.Contains(lower(got), lower(secret)) {
				t.Fatalf("%q is left of\n%s\nin\n%s", secret, value, got)
			}
		}
	})
}

func first(edits []Edit, _ []Kept) []Edit { return edits }

// TestWhatNoRuleTakesStays: the host, the id, the recipient and the date are
// those that were written, in every style that can be read.
func TestWhatNoRuleTakesStays(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := clients().Draw(t, "client")
		c.helo = "qq.lan" // none that keeps the rest from being read
		value := c.field(rapid.SampledFrom(styles[:12]).Draw(t, "style"))
		rules := someRules().Draw(t, "rules")
		got := Apply([]Field{{"Received", value}}, first(Plan([]Field{{"Received", value}}, rules, sender)))[0].Value
		before, after := new(received).parse(value, true), new(received).parse(got, true)
		for _, kind := range []clause{clauseBy, clauseID, clauseFor} {
			want := before.valueOf(kind)
			if rules.Version && kind == clauseID && isVersionNumber(want) {
				continue
			}
			if after.valueOf(kind) != want {
				t.Fatalf("%q is not left of\n%s\nin\n%s", want, value, got)
			}
		}
		words := func(tokens []token) []token {
			return slices.DeleteFunc(slices.Clone(tokens), func(t token) bool { return t.kind == kindComment })
		}
		if !slices.Equal(words(after.date), words(before.date)) {
			t.Fatalf("date of\n%s\nis not that of\n%s", got, value)
		}
	})
}

// dates are unusual ones, of which every word stays.
var dates = []string{
	"Mo, 22 Nov 2026 10:00:00 +0100", "lun., 22 nov. 2026 10:00:00 +0100", "domingo, 22 de noviembre de 2026 10:00:00 CET", "So., 22. März 2026, 10:00 Uhr",
	"1795341600", "1795341600.123 +0000", "2026-11-22 10:00:00.123456 +0100 CET m=+0.12", "2026-11-22T10:00:00.123456+01:00", "20261122T100000Z",
	"22/Nov/2026:10:00:00 +0100", "22.11.2026 10:00:00", "Nov 22nd, 2026 10:00:00 PM", "Sun Nov 22 10:00:00 CET 2026", "10:00:00", "Sun,22 Nov 2026 10:00:00", "22 Nov 2026", "2026-11-22",
}

// TestADateStaysWhateverStandsAmongIt: all words of a date are left, in their order,
// and nothing of a client that stands among or behind them.
func TestADateStaysWhateverStandsAmongIt(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := clients().Draw(t, "client")
		date := rapid.SampledFrom(dates[:13]).Draw(t, "date")
		words := strings.Fields(date)
		i := rapid.IntRange(0, len(words)).Draw(t, "where")
		strange := rapid.SampledFrom([]string{"%h", "[%a]", "%a", "on %h", "%u@client.example", "(%h)", "host=%e", ""}).Draw(t, "strange")
		text := strings.Join(slices.Insert(slices.Clone(words), i, c.field(strange)), " ")
		junk := rapid.SampledFrom([]string{"", ";", "; %h", "; (from %h) ; [%a]"}).Draw(t, "junk")
		value := c.field("from %e (%h [%a]) by mx.example id 1; ") + text + c.field(junk)
		rules := someRules().Draw(t, "rules")
		rules.Client = true
		fields := []Field{{"Received", value}}
		edits, _ := Plan(fields, rules, sender)
		checkPlan(t, fields, edits, rules)
		got := Apply(fields, edits)[0].Value
		var left []string
		for _, tok := range new(received).parse(got, true).date {
			left = append(left, tok.text)
		}
		if diff := cmp.Diff(words, left); diff != "" {
			t.Fatalf("date of\n%s\nin\n%s\n(-want +got):\n%s", value, got, diff)
		}
		for _, secret := range c.secrets() {
			if strings.Contains(lower(got), lower(secret)) {
				t.Fatalf("%q is left of\n%s\nin\n%s", secret, value, got)
			}
		}
	})
}

func TestWhatIsNoDateIsNotTakenForOne(t *testing.T) {
	for _, text := range []string{"", "yesterday", "22", "22 Nov 2026 at laptop", "10:00 on laptop", "203.0.113.8", "10.0.0.9 5", "2001:db8::8:1 22", "3405803784", "laptop.lan 22", "10:00:00:00 22"} {
		if tokens, _ := tokensOf(text); isDate(tokens) {
			t.Errorf("%q is taken for a date", text)
		}
	}
	for _, text := range dates {
		if tokens, _ := tokensOf(text); !isDate(tokens) {
			t.Errorf("%q is not taken for a date", text)
		}
	}
}

// valueOf is the value of the clause of a kind that counts.
func (r received) valueOf(kind clause) string {
	if r.chosen[kind] < 0 {
		return ""
	}
	if kind == clauseBy {
		return r.byHost
	}
	for _, t := range r.parts[r.chosen[kind]].values() {
		if t.kind == kindWord {
			return t.text
		}
	}
	return ""
}

func TestCoveredFieldsAreLeftAlone(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n, covered := rapid.IntRange(0, 6).Draw(t, "fields"), rapid.IntRange(0, 8).Draw(t, "covered")
		fields := []Field{{"DKIM-Signature", "d=a.example; s=b; h=from" + strings.Repeat(" :\n\t rEceived", covered)}}
		var want []Field
		for i := range n {
			f := Field{"Received", fmt.Sprintf("from laptop.lan by mx.example id %d", i)}
			fields = append(fields, f)
			if i < n-covered {
				f.Value = fmt.Sprintf("from SMTP by mx.example id %d", i)
			}
			want = append(want, f)
		}
		edits, kept := Plan(fields, &Rules{Client: true, From: DefaultFrom}, sender)
		if got := Apply(fields, edits)[1:]; !slices.Equal(want, got) {
			t.Fatalf("%d of %d covered: %+v", covered, n, got)
		}
		if len(kept) != min(n, covered) {
			t.Fatalf("%d kept of %d covered", len(kept), covered)
		}
	})
}
