package milter

import (
	"encoding/binary"
	"fmt"

	gomilter "github.com/d--j/go-milter"

	"milterd/policy"
)

// Macros that go-milter has no name for.
const (
	macroClientResolve = "{client_resolve}"
	macroDaemonFlags   = "{daemon_flags}"
	macroVerify        = "{verify}"
)

// tlsMacros are asked for at MAIL as well: TLS may begin after the last HELO.
var tlsMacros = []gomilter.MacroName{
	gomilter.MacroTlsVersion, gomilter.MacroCipher, gomilter.MacroCipherBits, macroVerify,
	gomilter.MacroCertSubject, gomilter.MacroCertIssuer,
}

// wantedMacros are the macros asked for at each stage: all that any policy can use, as the
// policy may be replaced while a connection lives. An MTA that takes no requests (before
// sendmail 8.14) sends what its own configuration says; other facts stay empty.
var wantedMacros = []struct {
	stage gomilter.MacroStage
	names []gomilter.MacroName
}{
	{gomilter.StageConnect, []gomilter.MacroName{
		gomilter.MacroClientAddr, gomilter.MacroClientName, gomilter.MacroClientPTR, macroClientResolve,
		gomilter.MacroDaemonName, gomilter.MacroDaemonPort, gomilter.MacroDaemonAddr, macroDaemonFlags,
		gomilter.MacroMTAVersion,
	}},
	{gomilter.StageHelo, tlsMacros},
	{gomilter.StageMail, append([]gomilter.MacroName{
		gomilter.MacroQueueId,
		gomilter.MacroAuthType, gomilter.MacroAuthAuthen, gomilter.MacroAuthAuthor, gomilter.MacroAuthSsf,
		gomilter.MacroMailMailer, gomilter.MacroMailHost, gomilter.MacroMailAddr,
	}, tlsMacros...)},
	{gomilter.StageRcpt, []gomilter.MacroName{
		gomilter.MacroRcptMailer, gomilter.MacroRcptHost, gomilter.MacroRcptAddr,
	}},
}

// needs is what a policy asks of the MTA beyond CONNECT, HELO, MAIL, RCPT and
// the end of the message.
type needs struct {
	// headers: the header fields of every message, and leave to change them.
	headers bool
	// refused: the recipients that the MTA refuses itself, too.
	refused bool
}

// needsOf derives the needs of a policy. Only scrubbing looks at header fields.
func needsOf(p *policy.Policy) needs {
	return needs{headers: p != nil && p.Scrubs(), refused: p != nil && p.Limits.CountRefused()}
}

// scrubbing reports whether what was agreed on with the MTA lets a filter see and
// change header fields.
func scrubbing(actions gomilter.OptAction, protocol gomilter.OptProtocol) bool {
	return actions&gomilter.OptChangeHeader != 0 && protocol&gomilter.OptNoHeaders == 0
}

// options are the needs as the protocol's bits.
//
// The access table may hold QUARANTINE entries, or get them with the next reload, so leave
// to quarantine, which costs nothing, is always asked for.
//
// A no-reply bit is only ever set for a stage that refuses nothing: all but
// MAIL, RCPT and the end of the message. It saves a round trip between two
// processes each time. The events that are not looked at have one too, for an
// MTA that cannot leave the event out.
func (n needs) options() (gomilter.OptAction, gomilter.OptProtocol) {
	actions := gomilter.OptSetMacros | gomilter.OptQuarantine
	if n.headers {
		actions |= gomilter.OptChangeHeader
	}
	protocol := gomilter.OptNoBody | gomilter.OptNoEOH | gomilter.OptNoUnknown | gomilter.OptNoData |
		gomilter.OptNoConnReply | gomilter.OptNoHeloReply | gomilter.OptNoHeaderReply |
		gomilter.OptNoDataReply | gomilter.OptNoUnknownReply | gomilter.OptNoEOHReply | gomilter.OptNoBodyReply
	if !n.headers {
		protocol |= gomilter.OptNoHeaders
	}
	if n.refused {
		protocol |= gomilter.OptRcptRej
	}
	return actions, protocol
}

// minimumVersion is the oldest protocol version that sendmail has spoken since
// milters are an official feature (8.12).
const minimumVersion = 2

// negotiate answers OPTNEG with what is wanted and offered. Asking for a bit
// that the MTA has not offered would make it drop the filter.
//
// The frame size is left as the MTA offers it: another one would only make
// sendmail log that the filter changed its Milter.maxdatasize.
func (s *Server) negotiate(mtaVersion, ourVersion uint32, mtaActions, _ gomilter.OptAction, mtaProtocol, _ gomilter.OptProtocol, size gomilter.DataSize) (
	version uint32, actions gomilter.OptAction, protocol gomilter.OptProtocol, dataSize gomilter.DataSize, err error,
) {
	defer func() {
		if s.recovered("negotiate", recover()) {
			err = fmt.Errorf("negotiate with the MTA: the policy in force cannot be read")
		}
	}()
	if mtaVersion < minimumVersion {
		return 0, 0, 0, 0, fmt.Errorf("negotiate with the MTA: protocol version %d, expected %d at least", mtaVersion, minimumVersion)
	}
	actions, protocol = needsOf(s.config.Current().Policy).options()
	// The number goes on to newSession, and the guard takes it out of the answer.
	return min(mtaVersion, ourVersion), actions&mtaActions | mtaActions&numberBits, protocol & mtaProtocol, size, nil
}

// The library does not tell a session which connection it is on. So the guard puts the
// number of the connection into bits of the MTA's actions that the protocol does not use,
// and takes it out of the answer.
const (
	numberShift = 12
	maxNumber   = 1<<(32-numberShift) - 1
	numberBits  = gomilter.OptAction(maxNumber << numberShift)
)

// numberOffer puts a number into the data of an OPTNEG frame.
func numberOffer(data []byte, number uint32) {
	actions := data[4:8] // behind the version
	binary.BigEndian.PutUint32(actions, binary.BigEndian.Uint32(actions)&^uint32(numberBits)|number<<numberShift)
}

// numberOf is the number that is in the actions agreed on.
func numberOf(actions gomilter.OptAction) uint32 { return uint32(actions&numberBits) >> numberShift }
