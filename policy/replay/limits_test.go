package replay

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"milterd/policy"
)

// limitPolicy takes three recipients of a login in an hour.
func limitPolicy(t *testing.T, rate string) *policy.Policy {
	t.Helper()
	r, err := policy.ParseRate(rate)
	if err != nil {
		t.Fatal(err)
	}
	reply := policy.Reply{Code: 451, Enhanced: "4.7.1", Text: "over {limit}, {wait}"}
	p := &policy.Policy{Limits: policy.Limits{Blocks: true, Blocked: policy.Reply{Code: 451, Enhanced: "4.7.1", Text: "blocked"}, Rules: []policy.Limit{
		{Name: "logins", Mode: policy.ModeEnforce, Count: policy.CountRecipients, By: policy.ByLogin, Rates: []policy.Rate{r}, Reply: reply},
	}}}
	p.Checks.Relay.TrustAuthMech = []string{"PLAIN"}
	return p
}

const limitSession = `
auth: {type: PLAIN, authen: shin}
messages:
  - mail: {from: a@b.example}
    rcpt: [{to: a@x.example}, {to: b@x.example}, {to: c@x.example}, {to: d@x.example}]
`

// replies are the replies to recipients.
func replies(t *testing.T, p *policy.Policy, text string) []string {
	t.Helper()
	var got []string
	err := Read("s.yaml", strings.NewReader(text), func(s *Session) {
		for _, r := range Run(p, s, nil).Results {
			if r.Verdict.Stage == policy.StageRcpt {
				got = append(got, r.Verdict.Reply.Text)
			}
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func TestCountsOfARecordingAreThoseOfTheTime(t *testing.T) {
	recorded := limitSession + `    limits: ["1 logins 2 3/1h", "2 logins 3 3/1h 1100", "3 logins 2 3/1h", "4 blocked"]` + "\n"
	if diff := cmp.Diff([]string{"", "over 3/1h, 19 minutes", "", "blocked"}, replies(t, limitPolicy(t, "3/1h"), recorded)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestWhatARecordingDoesNotTellIsCountedAnew(t *testing.T) {
	over := "over 2/1h, 30 minutes"
	for name, text := range map[string]string{
		"nothing recorded": limitSession,
		"another rate":     limitSession + `    limits: ["1 logins 3 3/1h 1200", "2 logins 2 3/1h"]` + "\n",
		"another limit":    limitSession + `    limits: ["1 others 2 2/1h 1200"]` + "\n",
	} {
		if diff := cmp.Diff([]string{"", "", over, over}, replies(t, limitPolicy(t, "2/1h"), text)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

func TestLinesAboutLimitsThatAreNone(t *testing.T) {
	for _, line := range []string{"", "1", "0 blocked", "x blocked", "1 logins", "1 logins 2", "1 logins -2 3/1h", "1 logins 2 3", "1 logins 2 3/1h 0", "1 logins 2 3/1h x", "1 logins 2 3/1h 5 6"} {
		err := Read("s.yaml", strings.NewReader(limitSession+"    limits: ['"+line+"']\n"), func(*Session) {})
		if err == nil || !strings.Contains(err.Error(), "s.yaml:6: messages.0.limits.0: ") {
			t.Errorf("%q: %v", line, err)
		}
	}
	if err := Read("s.yaml", strings.NewReader(limitSession+"    at: yesterday\n"), func(*Session) {}); err == nil || !strings.Contains(err.Error(), `messages.0.at: "yesterday", expected a time`) {
		t.Errorf("at: %v", err)
	}
}

func TestAnswersOfLimitsAreReadAsTheyAreWritten(t *testing.T) {
	rate := policy.Rate{N: 100, Period: 3600, Burst: 20}
	queries := []policy.LimitQuery{
		{Limit: &policy.Limit{Name: "a"}, Answer: policy.LimitAnswer{Rate: rate, Used: 20, Wait: 36}},
		{Limit: &policy.Limit{Name: "b-c_d"}, Answer: policy.LimitAnswer{Rate: rate}},
	}
	for i, line := range LimitLines(false, queries) {
		got, ok := parseLimitLine("7 " + line)
		want := limitLine{recipient: 7, limit: queries[i].Limit.Name, answer: queries[i].Answer}
		if !ok || got != want {
			t.Errorf("%q: %+v, want %+v", line, got, want)
		}
	}
}
