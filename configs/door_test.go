package configs

import (
	"strings"
	"testing"
)

func TestAFilterThatMailCouldPassByIsWarnedAbout(t *testing.T) {
	const filter = "Xmilterd, S=local:/run/milterd/milter.sock, F=T\n"
	const asked = "O InputMailFilters=milterd\n"
	cases := []struct {
		name, listen, cf, want string
	}{
		{"as it should be", "", filter + asked, ""},
		{"F=4 will do", "", strings.Replace(filter, "F=T", "F=4", 1) + asked, ""},
		{"one of two addresses", "[inet:8891@127.0.0.1, unix:/run/milterd/milter.sock]", filter + asked, ""},
		{"a port, with a name for an address", "inet:8891@127.0.0.1", "Xm, S=inet:8891@localhost, F=T\nO InputMailFilters=m\n", ""},
		{"a port on all addresses", "inet:8891@0.0.0.0", "Xm, S=inet:8891@127.0.0.1, F=T\nO InputMailFilters=m\n", ""},
		{"no filter", "", "",
			"DIR/sendmail.cf: no INPUT_MAIL_FILTER leads to listen.milter (local:/run/milterd/milter.sock), so sendmail does not ask milterd; there is none"},
		{"another socket", "", "Xmilterd, S=local:/run/milter.sock, F=T\n" + asked,
			"DIR/sendmail.cf: no INPUT_MAIL_FILTER leads to listen.milter (local:/run/milterd/milter.sock), so sendmail does not ask milterd; there is milterd (S=local:/run/milter.sock)"},
		{"another port", "inet:8891@127.0.0.1", "Xm, S=inet:8892@127.0.0.1, F=T\nO InputMailFilters=m\n",
			"DIR/sendmail.cf: no INPUT_MAIL_FILTER leads to listen.milter (inet:8891@127.0.0.1), so sendmail does not ask milterd; there is m (S=inet:8892@127.0.0.1)"},
		{"another address", "inet:8891@127.0.0.1", "Xm, S=inet:8891@127.0.0.2, F=T\nO InputMailFilters=m\n",
			"DIR/sendmail.cf: no INPUT_MAIL_FILTER leads to listen.milter (inet:8891@127.0.0.1), so sendmail does not ask milterd; there is m (S=inet:8891@127.0.0.2)"},
		{"another kind of address", "inet:8891@127.0.0.1", "Xm, S=inet6:8891, F=T\nO InputMailFilters=m\n",
			"DIR/sendmail.cf: no INPUT_MAIL_FILTER leads to listen.milter (inet:8891@127.0.0.1), so sendmail does not ask milterd; there is m (S=inet6:8891)"},
		{"a filter that is not asked", "", filter,
			"DIR/sendmail.cf:1: the filter milterd is defined, but not in InputMailFilters, so sendmail does not ask milterd; write INPUT_MAIL_FILTER in place of MAIL_FILTER"},
		{"no flag", "", strings.Replace(filter, ", F=T", "", 1) + asked,
			"DIR/sendmail.cf:1: the filter milterd has no F=T: mail is taken unfiltered while milterd is down"},
		{"F=R", "", strings.Replace(filter, "F=T", "F=R", 1) + asked,
			"DIR/sendmail.cf:1: the filter milterd has F=R: mail is refused for good while milterd is down; F=T defers it"},
		{"a submission program's file", "", "O UseMSP=True\n" + filter + asked,
			"DIR/sendmail.cf: a submission program's file (FEATURE(msp)), which decides about no client; the server's is usually /etc/mail/sendmail.cf"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			dir := write(t, map[string]string{"sendmail.cf": c.cf + "C{TrustAuthMech}PLAIN\nScheck_rcpt\n", "access": ""})
			text := "sendmail: {cf: sendmail.cf}\naccess: {file: access}\n"
			if c.listen != "" {
				text += "listen: {milter: " + c.listen + "}\n"
			}
			_, warnings := build(t, dir, text)
			if got := strings.Join(warnings, "\n"); got != c.want {
				t.Errorf("warnings:\n%s\nexpected:\n%s", got, c.want)
			}
		})
	}
}
