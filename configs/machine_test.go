package configs

import (
	"errors"
	"io/fs"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"milterd/configs/sendmail"
)

// testMachine is one without interfaces, unless some are given: those whose
// address begins with "lo " are loopback ones.
func testMachine(hosts string, interfaces ...string) machine {
	return machine{
		name:  func() string { return "vm.example.test" },
		hosts: func() ([]byte, error) { return []byte(hosts), nil },
		interfaces: func() ([]interfaceAddr, error) {
			var list []interfaceAddr
			for _, text := range interfaces {
				addr, loopback := strings.CutPrefix(text, "lo ")
				list = append(list, interfaceAddr{Addr: netip.MustParseAddr(addr), loopback: loopback})
			}
			return list, nil
		},
	}
}

// The results are those of sendmail -bt -d0.4 on a machine that is set up so.
func TestClassWHoldsWhatSendmailFindsOutAboutTheMachine(t *testing.T) {
	hosts := `127.0.0.1 localhost lh2 # loopback
127.0.1.1 vm.example.test vm one
203.0.113.40 alpha.example.test alpha
203.0.113.40 beta
2001:db8::40 six.example.test

not.an.address name
203.0.113.99 nobody
`
	interfaces := []string{"lo 127.0.0.1", "lo ::1", "203.0.113.40", "2001:db8::40", "fe80::1"}
	host := "[127.0.1.1] vm.example.test vm one"
	cases := []struct {
		name, hosts string
		probe       sendmail.Probe
		interfaces  []string
		want        string
	}{
		{"addresses and the names of their first line, none of IPv6", hosts, sendmail.ProbeAll, interfaces,
			host + " [127.0.0.1] localhost [localhost] lh2 [lh2] [203.0.113.40] alpha.example.test [alpha.example.test] alpha [alpha]"},
		{"no names of loopback interfaces", hosts, sendmail.ProbeNoLoopbackNames, interfaces,
			host + " [127.0.0.1] [203.0.113.40] alpha.example.test [alpha.example.test] alpha [alpha]"},
		{"a global address on a loopback interface has no names either", hosts, sendmail.ProbeNoLoopbackNames, []string{"lo 203.0.113.40"},
			host + " [203.0.113.40]"},
		{"no interfaces", hosts, sendmail.ProbeNone, interfaces, host},
		{"a host name that has an IPv6 address", "127.0.1.1 vm one\n2001:db8::7 vm.example.test vm v6\n", sendmail.ProbeNone, nil,
			"[IPv6:2001:db8:0:0:0:0:0:7] vm.example.test vm v6"},
		{"a host name that stands there in full only", "127.0.1.1 VM.example.test one\n", sendmail.ProbeNone, nil,
			"[127.0.1.1] VM.example.test one"},
		{"no hosts file to speak of", "", sendmail.ProbeAll, []string{"203.0.113.40"}, "[203.0.113.40]"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			got, err := testMachine(c.hosts, c.interfaces...).classW(c.probe)
			if err != nil {
				t.Fatal(err)
			}
			equal(t, "class w", got, strings.Fields(c.want))
		})
	}
}

func TestAMachineWithoutAHostsFileHasItsAddresses(t *testing.T) {
	m := testMachine("", "203.0.113.40")
	m.hosts = func() ([]byte, error) { return nil, fs.ErrNotExist }
	got, err := m.classW(sendmail.ProbeAll)
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "class w", got, []string{"[203.0.113.40]"})
}

func TestTheAddressesOfTheInterfacesAreOursIfSendmailSaysSo(t *testing.T) {
	noProbe := cf + "O DontProbeInterfaces=True\n"
	dir := write(t, map[string]string{"sendmail.cf": cf, "noprobe.cf": noProbe, "names": "", "access-of-sendmail": ""})
	for text, want := range map[string]bool{
		"sendmail: {cf: sendmail.cf}":                              true,
		"sendmail: {cf: noprobe.cf}":                               false,
		"sendmail: {cf: sendmail.cf}\ndomains: {local: []}":        false,
		"access: {file: access-of-sendmail}\ndomains: {local: []}": false,
	} {
		c := parse(t, dir, text+"\n")
		c.machine = testMachine("203.0.113.40 alpha.example.test\n", "203.0.113.40")
		p, _, err := c.Policy()
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"[203.0.113.40]", "alpha.example.test", "[alpha.example.test]"} {
			if got := p.Local.Has(name); got != want {
				t.Errorf("%s: %s in class w: %v, expected %v", text, name, got, want)
			}
		}
		for name, want := range map[string]bool{"localhost": true, "[127.0.0.1]": !strings.Contains(text, "noprobe"), "[IPv6:0:0:0:0:0:0:0:1]": false} {
			if got := p.Local.Has(name); got != want {
				t.Errorf("%s: %s in class w: %v, expected %v", text, name, got, want)
			}
		}
	}
}

func TestInterfacesThatCannotBeListedAreWarnedAbout(t *testing.T) {
	dir := write(t, map[string]string{"sendmail.cf": cf, "names": "", "access-of-sendmail": ""})
	c := parse(t, dir, "sendmail: {cf: sendmail.cf}\n")
	c.machine.interfaces = func() ([]interfaceAddr, error) { return nil, errors.New("no way") }
	_, warnings, err := c.Policy()
	if err != nil {
		t.Fatal(err)
	}
	want := "class w: what sendmail adds to it for the network interfaces is not known: list the network interfaces: no way"
	if !slices.ContainsFunc(warnings, func(w string) bool { return strings.HasSuffix(w, want) }) {
		t.Errorf("warnings %q", warnings)
	}
}

func TestTheMachineOfThisTestHasALoopbackInterface(t *testing.T) {
	addrs, err := interfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	want := interfaceAddr{Addr: netip.MustParseAddr("127.0.0.1"), loopback: true}
	if !slices.Contains(addrs, want) {
		t.Errorf("%v has no %v", addrs, want)
	}
}
