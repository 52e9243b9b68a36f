package milter

import (
	"encoding/binary"
	"strings"
	"testing"

	gomilter "github.com/d--j/go-milter"
	"github.com/google/go-cmp/cmp"
)

// The protocol bits by version, as sendmail has had them.
const (
	protocolV2 = 0x7f
	protocolV4 = 0x37f
)

func TestNegotiation(t *testing.T) {
	const (
		quarantine = uint32(gomilter.OptQuarantine)
		setMacros  = uint32(gomilter.OptSetMacros)
		noEvents   = uint32(gomilter.OptNoBody | gomilter.OptNoHeaders | gomilter.OptNoEOH)
		noNewer    = uint32(gomilter.OptNoUnknown | gomilter.OptNoData)
		noReplies  = uint32(gomilter.OptNoReplies &^ (gomilter.OptNoMailReply | gomilter.OptNoRcptReply))
	)
	tests := []struct {
		name                       string
		version, actions, protocol uint32 // what the MTA offers
		wantVersion                uint32
		wantActions, wantProtocol  uint32
		macros                     bool
	}{
		{"sendmail 8.17", 6, allActions, allProtocol, 6, quarantine | setMacros, noEvents | noNewer | noReplies, true},
		{"sendmail before 8.14: version 2", 2, 0x3f, protocolV2, 2, quarantine, noEvents, false},
		{"version 4", 4, 0x3f, protocolV4, 4, quarantine, noEvents | noNewer, false},
		{"Postfix: version 6 without quarantine", 6, allActions &^ quarantine, allProtocol, 6, setMacros, noEvents | noNewer | noReplies, true},
		{"an MTA that offers nothing", 6, 0, 0, 6, 0, 0, false},
		{"an MTA of the future", 9, 0xffffffff, 0x0fffffff, 6, quarantine | setMacros, noEvents | noNewer | noReplies, true},
		{"frames of 256 KiB are agreed to", 6, allActions, allProtocol | 1<<28, 6, quarantine | setMacros, noEvents | noNewer | noReplies | 1<<28, true},
		{"frames of 1 MiB are agreed to", 6, allActions, allProtocol | 1<<29, 6, quarantine | setMacros, noEvents | noNewer | noReplies | 1<<29, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			ts := serve(t, Config{})
			p := dial(t, ts.addr)
			p.send(optneg(tt.version, tt.actions, tt.protocol))
			command, data := p.answer()
			if command != cmdNegotiate || len(data) < negotiateBytes {
				t.Fatalf("answer %q %q", command, data)
			}
			got := []uint32{
				binary.BigEndian.Uint32([]byte(data)), binary.BigEndian.Uint32([]byte(data[4:])), binary.BigEndian.Uint32([]byte(data[8:])),
			}
			if diff := cmp.Diff([]uint32{tt.wantVersion, tt.wantActions, tt.wantProtocol}, got); diff != "" {
				t.Errorf("version, actions, protocol (-want +got):\n%s", diff)
			}
			if got[2]&uint32(gomilter.OptNoMailReply|gomilter.OptNoRcptReply) != 0 {
				t.Error("no answer is promised at a stage that may refuse")
			}
			if got := len(data) > negotiateBytes; got != tt.macros {
				t.Errorf("macros asked for: %t, want %t", got, tt.macros)
			}
		})
	}
	t.Run("version 1 is refused", func(t *testing.T) {
		ts := serve(t, Config{})
		p := dial(t, ts.addr)
		p.send(optneg(1, 0, 0))
		p.expectClosed()
	})
}

func TestMacrosAskedFor(t *testing.T) {
	ts := serve(t, Config{})
	p := dial(t, ts.addr)
	p.send(optneg(6, allActions, allProtocol))
	_, data := p.answer()
	got := map[uint32]string{}
	for rest := data[negotiateBytes:]; len(rest) > 0; {
		stage := binary.BigEndian.Uint32([]byte(rest))
		names, after, _ := strings.Cut(rest[4:], "\x00")
		got[stage], rest = names, after
	}
	want := map[uint32]string{
		0: "{client_addr} {client_name} {client_ptr} {client_resolve} {daemon_name} {daemon_port} {daemon_addr} {daemon_flags} v",
		1: "{tls_version} {cipher} {cipher_bits} {verify} {cert_subject} {cert_issuer}",
		2: "i {auth_type} {auth_authen} {auth_author} {auth_ssf} {mail_mailer} {mail_host} {mail_addr} {tls_version} {cipher} {cipher_bits} {verify} {cert_subject} {cert_issuer}",
		3: "{rcpt_mailer} {rcpt_host} {rcpt_addr}",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("macros by stage (-want +got):\n%s", diff)
	}
}

func TestMTAsOfEveryAge(t *testing.T) {
	tests := []struct {
		name    string
		options []gomilter.Option
	}{
		{"all there is", nil},
		{"version 2", []gomilter.Option{gomilter.WithMaximumVersion(2), gomilter.WithActions(0x3f), gomilter.WithProtocols(protocolV2)}},
		{"version 3", []gomilter.Option{gomilter.WithMaximumVersion(3), gomilter.WithActions(0x3f), gomilter.WithProtocols(0x17f)}},
		{"version 4", []gomilter.Option{gomilter.WithMaximumVersion(4), gomilter.WithActions(0x3f), gomilter.WithProtocols(protocolV4)}},
		{"every event is sent and answered", []gomilter.Option{gomilter.WithProtocols(gomilter.OptSkip)}},
		{"every event is sent, no answer to header fields", []gomilter.Option{gomilter.WithProtocols(gomilter.OptNoHeaderReply)}},
		{"no actions", []gomilter.Option{gomilter.WithActions(0)}},
		{"large frames", []gomilter.Option{gomilter.WithOfferedMaxData(gomilter.DataSize1M), gomilter.WithUsedMaxData(gomilter.DataSize1M)}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			ts := serve(t, Config{})
			c := client(t, ts.addr, map[string]string{"i": "5AME"}, tt.options...)
			begin(t, c, "mx.example", gomilter.FamilyInet, "203.0.113.8")
			for range 2 {
				action, err := c.Mail("a@good.example", "")
				want(t, "MAIL", action, err, "continue")
				action, err = c.Rcpt("b@our.example", "")
				want(t, "RCPT", action, err, "continue")
				action, err = c.DataStart()
				want(t, "DATA", action, err, "continue")
				action, err = c.HeaderField("Subject", "hi", nil)
				want(t, "header field", action, err, "continue")
				action, err = c.HeaderEnd()
				want(t, "end of header", action, err, "continue")
				_, action, err = c.BodyReadFrom(strings.NewReader(strings.Repeat("a line\r\n", 50_000)))
				want(t, "body", action, err, "accept")
			}
			if s := ts.counter; s.Malformed.Load() != 0 || s.Panics.Load() != 0 {
				t.Errorf("malformed %d, panics %d, want none", s.Malformed.Load(), s.Panics.Load())
			}
		})
	}
}
