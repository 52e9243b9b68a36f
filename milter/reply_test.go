package milter

import (
	"strings"
	"testing"

	"milterd/policy"
)

func TestReplyResponse(t *testing.T) {
	long := strings.Repeat("x", 1000)
	tests := []struct {
		name  string
		reply policy.Reply
		want  string // empty: cannot be given
	}{
		{"permanent", policy.Reply{Code: 550, Enhanced: "5.7.1", Text: "Access denied"}, "550 5.7.1 Access denied"},
		{"temporary", policy.Reply{Code: 450, Enhanced: "4.7.25", Text: "Later"}, "450 4.7.25 Later"},
		{"without an enhanced code", policy.Reply{Code: 550, Text: "Go away"}, "550 Go away"},
		{"a line break cannot end the reply", policy.Reply{Code: 550, Enhanced: "5.1.8", Text: "<a\r\n250 ok> unknown"}, "550 5.1.8 <a??250 ok> unknown"},
		{"nor can NUL", policy.Reply{Code: 550, Enhanced: "5.1.8", Text: "a\x00b"}, "550 5.1.8 a?b"},
		{"8-bit text is not sent", policy.Reply{Code: 550, Enhanced: "5.1.8", Text: "grüße\xff"}, "550 5.1.8 gr??e?"},
		{"percent signs are doubled for sendmail", policy.Reply{Code: 550, Enhanced: "5.1.8", Text: "100%s"}, "550 5.1.8 100%%s"},
		{"a long line is cut at 512 octets", policy.Reply{Code: 550, Enhanced: "5.7.1", Text: long}, "550 5.7.1 " + long[:512-2-len("550 5.7.1 ")]},
		{"no code", policy.Reply{Text: "hi"}, ""},
		{"a success", policy.Reply{Code: 250, Enhanced: "2.0.0", Text: "ok"}, ""},
		{"a code beyond 599", policy.Reply{Code: 600, Enhanced: "6.0.0", Text: "what"}, ""},
		{"codes of two classes", policy.Reply{Code: 450, Enhanced: "5.7.1", Text: "which"}, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			response, ok := replyResponse(tt.reply)
			if !ok {
				if tt.want != "" {
					t.Fatalf("cannot be given, want %q", tt.want)
				}
				return
			}
			message := response.Response()
			if message.Code != answerReplyCode {
				t.Errorf("answer %q, want a reply code", message.Code)
			}
			if got := strings.TrimSuffix(string(message.Data), "\x00"); got != tt.want {
				t.Errorf("got  %q\nwant %q", got, tt.want)
			}
		})
	}
}

func TestFailureCanAlwaysBeGiven(t *testing.T) {
	for _, reply := range []policy.Reply{failureReply, tooManyRecipients} {
		if _, ok := replyResponse(reply); !ok {
			t.Errorf("%s cannot be given", reply)
		}
		if !reply.Temporary() {
			t.Errorf("%s is not temporary", reply)
		}
	}
}
