package integration_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"milterd/integration/harness"
)

// mapSocket is where the include looks for the map door.
const mapSocket = "/run/milterd/map.sock"

// TestKilledAtEachStepOfBothDoors: whatever a client has said when milterd dies, he is put
// off, also one who may relay. Nothing is taken.
func TestKilledAtEachStepOfBothDoors(t *testing.T) {
	const relaying, stranger = "198.51.100.33", "192.0.2.20"
	steps := []string{"EHLO client.example", "MAIL FROM:<a@good.example>", "RCPT TO:<x@other.example>", "DATA", "Subject: lost\r\n\r\nHello\r\n."}
	env := startDoors(t, "")
	for _, client := range []string{relaying, stranger} {
		own := steps
		if client == stranger {
			own = append([]string(nil), steps...)
			own[2] = "RCPT TO:<x@granted.example>"
		}
		for before := range own {
			t.Run(fmt.Sprintf("%s, %d steps", client, before), func(t *testing.T) {
				c := dialFrom(t, client, "25")
				c.expect("220")
				for _, line := range own[:before] {
					if reply := c.say(line, ""); reply[0] != '2' && reply[0] != '3' {
						t.Fatalf("%s: %s", line, reply)
					}
				}
				if err := env.Milterd.Kill(); err != nil {
					t.Fatal(err)
				}
				last := ""
				for _, line := range own[before:] {
					if last = c.say(line, ""); last[0] == '4' {
						break
					}
					if line != own[0] && line != own[3] {
						t.Errorf("%.20s: %s, expected 4xx", line, last)
					}
				}
				if last[0] != '4' {
					t.Errorf("at the end: %s, expected 4xx", last)
				}
				if got := subjects(t, env); len(got) > 0 {
					t.Errorf("queue: %q", got)
				}
				if err := env.Milterd.Start(); err != nil {
					t.Fatal(err)
				}
			})
		}
	}
	if reply := relay(t, relaying); !strings.HasPrefix(reply, "250") {
		t.Errorf("afterwards: %s", reply)
	}
}

// TestWithoutMilterdALongQuestionIsPutOff: what sendmail cannot ask, however long it is, is
// no reason to refuse for good, nor to show the client what was asked.
func TestWithoutMilterdALongQuestionIsPutOff(t *testing.T) {
	_, options := readScene(t, "doors", "doors")
	options.Include = noFeatures + set("MILTERD_NO_FILTER", "") + set("MILTERD_NO_ACCESS", "") + options.Include
	env := start(t, options)
	long := strings.Repeat("x", 230)
	q := asked{long, long + "@good.example", long + "@other.example"}
	if reply := q.reply(t, "198.51.100.33"); !strings.HasPrefix(reply, "250") {
		t.Errorf("%s", reply)
	}
	if err := env.Milterd.Kill(); err != nil {
		t.Fatal(err)
	}
	if reply := q.reply(t, "198.51.100.33"); !strings.HasPrefix(reply, "451 4.3.0 Temporary system failure") {
		t.Errorf("%s", reply)
	}
	if err := env.Milterd.Start(); err != nil {
		t.Fatal(err)
	}
}

// TestOneDoorMissing: without either door mail is put off, for those who may relay, too.
func TestOneDoorMissing(t *testing.T) {
	const relaying, stranger = "198.51.100.33", "192.0.2.20"
	for _, socket := range []string{mapSocket, harness.Socket} {
		t.Run(filepath.Base(socket), func(t *testing.T) {
			startDoors(t, "")
			if err := os.Rename(socket, socket+".away"); err != nil {
				t.Fatal(err)
			}
			for _, client := range []string{relaying, stranger} {
				for _, to := range []string{"x@other.example", "x@granted.example", "shin@example.test"} {
					if reply := rcpt(t, client, to); !strings.HasPrefix(reply, "451") {
						t.Errorf("%s to %s: %s, expected 451", client, to, reply)
					}
				}
			}
			if err := os.Rename(socket+".away", socket); err != nil {
				t.Fatal(err)
			}
			for to, want := range map[string]string{"x@other.example": "550 5.7.1", "x@granted.example": "250", "shin@example.test": "250"} {
				if reply := rcpt(t, stranger, to); !strings.HasPrefix(reply, want) {
					t.Errorf("%s to %s: %s, expected %s", stranger, to, reply, want)
				}
			}
		})
	}
}

// TestWithoutTheFilterNoMoreIsRelayed: the map door alone grants what it grants with the
// filter door beside it.
func TestWithoutTheFilterNoMoreIsRelayed(t *testing.T) {
	_, options := readScene(t, "doors", "doors")
	options.Include = set("MILTERD_NO_FILTER", "") + options.Include
	start(t, options)
	for _, c := range []struct{ from, to, want string }{
		{"192.0.2.20", "x@other.example", "550 5.7.1"},
		{"192.0.2.20", "x@granted.example", "250"},
		{"198.51.100.33", "x@other.example", "250"},
		{"192.0.2.16", "shin@example.test", "550 5.7.1"},
		{"192.0.2.20", `"x@other.example"@example.test`, "5"},
		{"192.0.2.20", "x%other.example@example.test", "5"},
		{"192.0.2.20", "@example.test:x@other.example", "5"},
	} {
		if reply := rcpt(t, c.from, c.to); !strings.HasPrefix(reply, c.want) {
			t.Errorf("%s to %s: %s, expected %s", c.from, c.to, reply, c.want)
		}
	}
}

// TestAMissingTableAtTheStart: milterd does not start without its access table, and
// sendmail then relays nothing and refuses nothing for good.
func TestAMissingTableAtTheStart(t *testing.T) {
	const relaying, stranger, refused = "198.51.100.33", "192.0.2.20", "192.0.2.16"
	env := startDoors(t, "")
	table := filepath.Join(harness.ConfigDir, "access")
	if err := env.Milterd.Stop(); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(table, table+".away"); err != nil {
		t.Fatal(err)
	}
	if err := env.Milterd.Start(); err == nil {
		t.Fatal("milterd starts without its access table")
	} else if !strings.Contains(err.Error(), "access: no such file") {
		t.Error(err)
	}
	for _, client := range []string{relaying, stranger, refused} {
		for _, to := range []string{"x@other.example", "x@granted.example", "shin@example.test"} {
			if reply := rcpt(t, client, to); !strings.HasPrefix(reply, "451") {
				t.Errorf("%s to %s: %s, expected 451", client, to, reply)
			}
		}
	}
	if err := os.Rename(table+".away", table); err != nil {
		t.Fatal(err)
	}
	if err := env.Milterd.Start(); err != nil {
		t.Fatal(err)
	}
	for client, want := range map[string]string{relaying: "250", stranger: "550 5.7.1", refused: "550"} {
		if reply := rcpt(t, client, "x@other.example"); !strings.HasPrefix(reply, want) {
			t.Errorf("afterwards, %s: %s, expected %s", client, reply, want)
		}
	}
}

// TestARefusalIsFoundWithOneGrep: by the client's address, the queue id or the sender, at
// whichever door it was.
func TestARefusalIsFoundWithOneGrep(t *testing.T) {
	_, options := readScene(t, "doors", "doors")
	options.Config = strings.Replace(options.Config, "ports:\n", "ports:\n  2525: {auth: require}\n", 1)
	env := start(t, options)
	for i, c := range []struct{ name, client, port, from, to, door string }{
		{"a stranger relays", "192.0.2.20", "25", "", "x@other.example", "map"},
		{"a sender that the table refuses", "192.0.2.21", "25", "bad@good.example", "shin@example.test", "map"},
		{"a client that the table refuses", "192.0.2.16", "25", "", "shin@example.test", "map"},
		{"a client without a name", "203.0.113.8", "25", "", "shin@example.test", "map"},
		{"AUTH is required", "192.0.2.22", "2525", "", "", "filter"},
	} {
		t.Run(c.name, func(t *testing.T) {
			from := c.from
			if from == "" {
				from = fmt.Sprintf("sender%d@good.example", i)
			}
			mark, told := env.Milterd.Log.Len(), env.Syslog.Len()
			s := dialFrom(t, c.client, c.port)
			s.expect("220")
			s.say("EHLO client.example", "250")
			reply := s.say("MAIL FROM:<"+from+">", "")
			if c.to != "" {
				reply = s.say("RCPT TO:<"+c.to+">", "")
			}
			if reply[0] != '4' && reply[0] != '5' {
				t.Fatalf("it is not refused: %s", reply)
			}
			s.say("QUIT", "221")
			line, err := env.Syslog.Wait(frameTimeout, told, "reject=")
			if err != nil {
				t.Fatal(err)
			}
			_, id, _ := strings.Cut(line, "]: ")
			id, _, _ = strings.Cut(id, ":")
			if _, err := env.Milterd.Log.Wait(frameTimeout, mark, "level=INFO", "client="+c.client+" "); err != nil {
				t.Fatal(err)
			}
			for _, key := range []string{"client=" + c.client + " ", "queue=" + id + " ", "from=" + from} {
				found := env.Milterd.Log.FindAll(mark, "level=INFO", key)
				if len(found) != 1 || strings.Contains(found[0], "door=map") != (c.door == "map") {
					t.Errorf("%s finds %q, expected one line of the %s door", key, found, c.door)
				}
			}
		})
	}
}
