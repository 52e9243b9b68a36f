package configs

import (
	"context"
	"errors"
	"net"
	"os"
	"strings"
	"time"
)

// machineName is this machine's full host name as far as its own files tell,
// which is where sendmail looks first; empty if the machine has none. The DNS
// is not asked, so that validating a configuration takes no time and gives the
// same result everywhere.
func machineName() string {
	short, err := os.Hostname()
	if err != nil {
		return ""
	}
	if strings.Contains(short, ".") {
		return short
	}
	files := net.Resolver{
		PreferGo: true,
		Dial: func(context.Context, string, string) (net.Conn, error) {
			return nil, errors.New("only files are asked")
		},
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	full, err := files.LookupCNAME(ctx, short)
	if err != nil {
		return short
	}
	return strings.TrimSuffix(full, ".")
}
