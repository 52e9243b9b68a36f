package integration_test

import (
	"fmt"
	"regexp"
	"strings"
	"testing"
)

// hostileTexts are what a client may write in place of a name or a local part: all that
// could end a field of the question, or make another of it.
func hostileTexts() []string {
	separator := "\x9b"
	asRelayed := strings.Join([]string{"", "198.51.100.33", "OK", "25", "MTA", "PLAIN", "shin", "TLSv1.3", "OK", "local", "", "END"}, separator)
	return []string{
		"plain", "$|", "a$|198.51.100.33$|OK", "$&{client_addr}", "${auth_type}", "$(milterd 1 $)", "$#RELAY", "$@RELAY", "$:RELAY", "RELAY", "END",
		"<RELAY>", "SHOW RELAY", "HIDE", "NONE", "TMPF", "<TMPF>", "%0", "%1%2", "%%", "{milterd_scrub}", "x,y", `x"y`, `"x`, `x"`, `\`, `x\`, `"\"`,
		separator, "a" + separator + "b", asRelayed, "\x80", "\x81\x9b", "\xff", "\x9b\xff\x9b", "é", "a\x00b", "\x00", "a\tb", "a\x01b", "a\x7fb", "a\rb",
		"(a)", "a(b", "a)", ";", "a;b", ":", "@", "a@b", "a%b", "a!b", "[198.51.100.33]", "198.51.100.33", "connect:198.51.100.33", "*", "~", "#", "S0", "R$*",
		strings.Repeat("x", 200), strings.Repeat("x", 256), strings.Repeat("x", 700), strings.Repeat("x", 1500),
		strings.Repeat("a.", 100) + "b", strings.Repeat("a.", 400) + "b", strings.Repeat("$|", 100), strings.Repeat(separator, 30), strings.Repeat(`\"`, 100),
	}
}

// asQuoted is a text as a quoted local part.
func asQuoted(text string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(text) + `"`
}

// asked is what becomes of one recipient.
type asked struct{ helo, from, to string }

func (a asked) String() string {
	return fmt.Sprintf("HELO %.60q, MAIL %.60q, RCPT %.60q", a.helo, a.from, a.to)
}

// reply is the reply to the recipient; that to MAIL if it was not taken. A HELO name that
// sendmail does not take leaves its client without one.
func (a asked) reply(t *testing.T, client string) string {
	t.Helper()
	c := dialFrom(t, client, "25")
	defer func() { _ = c.conn.Close() }()
	c.expect("220")
	c.say("HELO first.example", "250")
	c.say("HELO "+a.helo, "")
	if reply := c.say("MAIL FROM:<"+a.from+">", ""); !strings.HasPrefix(reply, "250") {
		return reply
	}
	return c.say("RCPT TO:<"+a.to+">", "")
}

// hostileQuestions are hostile texts in each place, alone and together.
func hostileQuestions() (all []asked) {
	plain := asked{"client.example", "a@good.example", "x@other.example"}
	for _, text := range hostileTexts() {
		for _, local := range []string{text, asQuoted(text)} {
			from, to := plain, plain
			from.from, to.to = local+"@good.example", local+"@other.example"
			all = append(all, from, to)
		}
		helo, domain, both := plain, plain, plain
		helo.helo, domain.to = text, "x@"+text+".example"
		both.helo, both.from, both.to = text, asQuoted(text)+"@good.example", asQuoted(text)+"@other.example"
		all = append(all, helo, domain, both)
	}
	return all
}

var questionsClient = regexp.MustCompile(` door=map stage=rcpt .*client=(\S+)`)

// TestHostileTextsInTheQuestion: whatever a stranger writes, sendmail asks about him, and
// he does not relay. One who may relay is told so, or is refused.
func TestHostileTextsInTheQuestion(t *testing.T) {
	const stranger, relaying = "192.0.2.20", "198.51.100.33"
	env := startDoors(t, "")
	counts := make(map[string]int)
	for _, q := range hostileQuestions() {
		mark := env.Milterd.Log.Len()
		reply := q.reply(t, stranger)
		if !strings.HasPrefix(reply, "4") && !strings.HasPrefix(reply, "5") {
			t.Errorf("%s: %s", q, reply)
		}
		counts[reply[:3]]++
		for _, line := range env.Milterd.Log.FindAll(mark, " door=map stage=rcpt ") {
			if m := questionsClient.FindStringSubmatch(line); m == nil || m[1] != stranger {
				t.Errorf("%s: asked about another client: %s", q, line)
			}
		}
	}
	t.Logf("a stranger: %v", counts)
	clear(counts)
	for _, q := range hostileQuestions() {
		counts[q.reply(t, relaying)[:3]]++
	}
	t.Logf("a client that may relay: %v", counts)
	if counts["250"] < 150 {
		t.Errorf("a client that may relay: %v, expected that most are taken", counts)
	}
	if reply := relay(t, relaying); !strings.HasPrefix(reply, "250") {
		t.Errorf("afterwards: %s", reply)
	}
	if strings.Contains(env.Milterd.Log.String(), "panicked") {
		t.Error("a look-up panicked")
	}
}

// TestALongQuestionIsPutOff: a key that is too long is no reason to take mail, and
// sendmail's own rules are not asked in its place. Addresses as long as RFC 5321 allows
// (4.5.3.1) fit, with a HELO name of that length.
func TestALongQuestionIsPutOff(t *testing.T) {
	const relaying, stranger, longName = "198.51.100.33", "192.0.2.20", "192.0.2.199"
	long, label := strings.Repeat("x", 230), strings.Repeat("y", 60)
	far := strings.Repeat(label+".", 3) + label[:40]
	_, options := readScene(t, "doors", "doors")
	options.DNS = append(options.DNS, "199.2.0.192.in-addr.arpa. PTR "+far+".good.example.", far+".good.example. A "+longName)
	start(t, options)
	// many are names of so many labels.
	many := func(n int) asked {
		parts := strings.Repeat("a.", n)
		return asked{parts + "b", parts + "b@good.example", "x@" + parts + "other.example"}
	}
	for _, c := range []struct {
		asked
		client, want string
	}{
		{asked{"client.example", "a@good.example", "x@other.example"}, relaying, "250"},
		{asked{"client.example", "a@good.example", "x@granted.example"}, longName, "250"},
		{asked{long, long + "@good.example", "x@" + far + ".other.example"}, relaying, "250"},
		{asked{long, long + "@good.example", "x@" + far + ".other.example"}, stranger, "550"},
		{asked{long, long + "@good.example", "x@" + far + ".other.example"}, longName, "451 4.3.0"},
		{asked{long, long + "@good.example", "x@" + far + ".granted.example"}, longName, "451 4.3.0"},
		{many(115), stranger, "550"},
		// sendmail's own search for such a name ends so.
		{many(115), relaying, "554 5.0.0 rewrite: excessive recursion"},
	} {
		if reply := c.reply(t, c.client); !strings.HasPrefix(reply, c.want) {
			t.Errorf("%s from %s: %s, expected %s", c.asked, c.client, reply, c.want)
		}
	}
}
