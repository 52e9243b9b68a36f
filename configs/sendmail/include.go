package sendmail

import _ "embed"

// Include is milterd.m4, which connects a stock sendmail with milterd's two doors.
//
//go:embed milterd.m4
var Include string
