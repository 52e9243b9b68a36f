package sendmail

import "testing"

func TestTheFormOfIPv6AddressesIsAnOption(t *testing.T) {
	cases := []struct {
		name, text string
		want       bool
	}{
		{"a file that does not say", "", false},
		{"a comment, as m4 writes an option that is not set", "#O UseCompressedIPv6Addresses\n", false},
		{"true", "O UseCompressedIPv6Addresses=True\n", true},
		{"yes, in other letters, with blanks", "O usecompressedipv6addresses = yes\n", true},
		{"no value means true", "O UseCompressedIPv6Addresses\n", true},
		{"false", "O UseCompressedIPv6Addresses=false\n", false},
		{"the last one counts", "O UseCompressedIPv6Addresses=true\nO UseCompressedIPv6Addresses=false\n", false},
		{"the old form of options has other names", "OUseCompressedIPv6Addresses=true\n", false},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			if got := read(t, c.text).Features.CompressedIPv6; got != c.want {
				t.Errorf("compressed addresses: %v, expected %v", got, c.want)
			}
		})
	}
}

func TestTheFormOfIPv6AddressesIsToldByAGeneratedSendmailCF(t *testing.T) {
	c, err := Parse(generate(t, "define(`confUSE_COMPRESSED_IPV6_ADDRESSES', `True')"), "vm.example.test")
	if err != nil {
		t.Fatal(err)
	}
	if !c.Features.CompressedIPv6 {
		t.Error("the option is not seen")
	}
}

func TestTheProbingOfInterfacesIsAnOption(t *testing.T) {
	cases := []struct {
		name, text string
		want       Probe
	}{
		{"a file that does not say", "", ProbeAll},
		{"a comment, as m4 writes the default", "#O DontProbeInterfaces=False\n", ProbeAll},
		{"false", "O DontProbeInterfaces=False\n", ProbeAll},
		{"true", "O DontProbeInterfaces=True\n", ProbeNone},
		{"no value means true", "O DontProbeInterfaces\n", ProbeNone},
		{"loopback", "O DontProbeInterfaces=Loopback\n", ProbeNoLoopbackNames},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			if got := read(t, c.text).Probe; got != c.want {
				t.Errorf("%v, expected %v", got, c.want)
			}
		})
	}
}
