package sendmail

import (
	"slices"
	"strings"
)

// scrubCondition begins what the Received field says if the macro that milterd.m4
// sets has a value.
const scrubCondition = "$?{milterd_scrub}"

// Received is how sendmail writes the Received field that it adds to each message.
type Received struct {
	// Line is where the sendmail.cf defines it; 0 if it does not.
	Line int
	// ShowsClient and ShowsVersion: it names the client, and sendmail's version.
	ShowsClient, ShowsVersion bool
	// Hides: it has a second form without the client, as milterd.m4 writes it.
	Hides bool
	// From and By are what stands there in place of the client and of sendmail's
	// version.
	From, By string
	// Asked: a ruleset asks milterd which of the forms it is to be.
	Asked bool
}

// header reads an H command, if it is that of the Received field.
func (p *parser) header(rest string, number int) {
	if strings.HasPrefix(rest, "?") { // the flags of mailers that want it
		_, rest, _ = strings.Cut(rest[1:], "?")
	}
	name, text, _ := strings.Cut(rest, ":")
	if !strings.EqualFold(strings.TrimSpace(name), "Received") {
		return
	}
	r := Received{
		Line:         number,
		ShowsClient:  strings.Contains(text, "$_") || strings.Contains(text, "$s") || strings.Contains(text, "{client_"),
		ShowsVersion: strings.Contains(text, "$v") || strings.Contains(text, "$Z"),
	}
	_, text, r.Hides = strings.Cut(text, scrubCondition)
	r.From, text = scrubbedForm(text)
	if _, text, ok := strings.Cut(text, scrubCondition); ok {
		r.By, _ = scrubbedForm(text)
	}
	p.config.Received = r
}

// scrubbedForm cuts off the text for which the condition holds.
func scrubbedForm(text string) (form, rest string) {
	form, rest, _ = strings.Cut(text, "$|")
	return strings.Join(strings.Fields(form), " "), rest
}

// markAsked looks for rules that set the macro or ask a socket, and for one that calls
// their ruleset.
func (p *parser) markAsked() {
	c := p.config
	for name, rules := range p.rules {
		for _, rule := range rules {
			if strings.Contains(rule.rhs, "{milterd_scrub}") && p.called(name, nil) {
				c.Received.Asked = true
			}
			for i, m := range c.Sockets {
				if strings.Contains(rule.text, "$("+m.Name+" ") && p.called(name, nil) {
					c.Sockets[i].Asked = true
					c.Sockets[i].AskedOld = c.Sockets[i].AskedOld ||
						strings.Contains(rule.text, "$("+m.Name+" 1 $|") || strings.Contains(rule.text, "$("+m.Name+" 2 $|")
				}
			}
		}
	}
}

// called reports whether sendmail itself calls a ruleset, as it does those with names
// of its own, or the rules of one that is called do.
func (p *parser) called(name string, visited []string) bool {
	if strings.HasPrefix(name, "Local_check_") || strings.HasPrefix(name, "check_") {
		return true
	}
	visited = append(visited, name)
	for other, rules := range p.rules {
		if slices.Contains(visited, other) {
			continue
		}
		calls := func(r rule) bool { return slices.Contains(r.calls(), name) }
		if slices.ContainsFunc(rules, calls) && p.called(other, visited) {
			return true
		}
	}
	return false
}
