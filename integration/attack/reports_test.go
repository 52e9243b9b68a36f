package attack

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"milterd/integration/harness"
	"milterd/integration/testkit"
)

// TestWhatReportsTellOfAHiddenClient holds the cookbook to what it says about bounces and
// receipts for mail that leaves without its client.
func TestWhatReportsTellOfAHiddenClient(t *testing.T) {
	cookbook, err := os.ReadFile("../../configs/manual/milterd-cookbook.7.md")
	if err != nil {
		t.Fatal(err)
	}
	noReceipts := strings.TrimSpace(regexp.MustCompile(`(?m)^    define.*noreceipts.*$`).FindString(string(cookbook))) + "\n"
	const (
		client   = "198.51.100.33"
		ownText  = "define(`confERROR_MESSAGE', `Your mail.')dnl\n"
		received = "LOCAL_CONFIG\nKset macro\nLOCAL_RULESETS\nSLocal_check_mail\nR$*\t$: $1 $(set _ $@ hidden $)\n"
		receipt  = "<x@" + victim + "> NOTIFY=SUCCESS"
		bounce   = "<x@nowhere.invalid>"
	)
	for _, c := range []struct {
		name, before, after, rcpt string
		// tells is the part of the report that tells of the client. If it is empty, none is
		// offered.
		tells string
	}{
		{"a receipt", "", "", receipt, "[" + client + "]"},
		{"receipts are not offered", noReceipts, "", receipt, ""},
		{"a bounce all the same", noReceipts, "", bounce, "[" + client + "]"},
		{"a bounce with a text of one's own", ownText, "", bounce, "[" + client + "]"},
		{"a bounce with another client", "", received, bounce, "Received-From-MTA: DNS; relay.good.example"},
	} {
		t.Run(c.name, func(t *testing.T) {
			env := start(t, harness.Options{
				Include: c.before + bothDoors, DNS: records, Config: config + "received: {whose: [relayed]}\n", Files: map[string]string{"access": relays + limits},
				LocalHostNames: own + "\n", RelayDomains: partner + "\n", MC: "define(`confDELIVERY_MODE', `interactive')dnl\n" + c.after,
			})
			mailHosts := startSinks(t, "198.51.100.80", senderHost)
			conn, err := harness.Dial(client, harness.ServerAddr4+":25")
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			if _, err := conn.ReadReply(); err != nil {
				t.Fatal(err)
			}
			for _, line := range []string{"EHLO laptop.lan", "MAIL FROM:<a@good.example>", "RCPT TO:" + c.rcpt, "DATA", "X-Attack: hidden\r\n\r\nHello\r\n.", "QUIT"} {
				reply, err := conn.Command(line)
				if reply.Code == 504 && c.tells == "" {
					return
				}
				if err != nil || reply.Code >= 400 {
					t.Fatalf("%s: %s, %v", line, reply, err)
				}
			}
			testkit.Eventually(t, "all messages have left", func() bool {
				files, err := env.Queue()
				return err == nil && len(files) == 0
			})
			report := ""
			for _, d := range mailHosts.taken() {
				if d.mark != "" && strings.Contains(d.text, client) {
					t.Errorf("the message tells of its client:\n%s", d.text)
				}
				if d.mark == "" {
					report += d.text
				}
			}
			if c.tells == "" || !strings.Contains(report, c.tells) {
				t.Errorf("expected %q in\n%s", c.tells, report)
			}
		})
	}
}
