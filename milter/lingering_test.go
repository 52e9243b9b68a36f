package milter

import (
	"testing"

	"milterd/policy"
)

// TestNoMessageGoesToARefusedRecipient: sendmail keeps a recipient with a comma on its list.
func TestNoMessageGoesToARefusedRecipient(t *testing.T) {
	const put = "y451 4.1.3 A refused recipient has a comma in its address. Please send to the others without it"
	ts := serve(t, Config{})
	ts.script.verdict = func(stage policy.Stage, arg string) policy.Verdict {
		if stage == policy.StageRcpt && arg != "shin@our.example" {
			return reject(550, "5.7.1", "Relaying denied")
		}
		return policy.Verdict{Action: policy.ActionAccept}
	}
	for to, end := range map[string]string{
		"x%other.example@[203.0.113.25],b": put, "@a.example,@b.example:x@other.example": put, `x",y@other.example`: put, `x\",y@other.example`: put, "x(,y@other.example": put,
		"x@other.example": "a", `"x,y"@other.example`: "a", "x(a,b)@other.example": "a", `x\,y@other.example`: put,
	} {
		p := negotiated(t, ts.addr)
		p.begin()
		p.send(frame('R', "<shin@our.example>\x00"), frame('R', "<"+to+">\x00"), frame('R', "<shin@our.example>\x00"), frame('E'))
		p.expect("c")
		p.expect("y550 5.7.1 Relaying denied")
		p.expect("c")
		p.expect(end)
		p.send(frame('M', "<>\x00"), frame('R', "<shin@our.example>\x00"), frame('E'))
		p.expect("c")
		p.expect("c")
		p.expect("a")
	}
}
