package status

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"

	"milterd/milter/door"
	"milterd/policy/printable"
)

// maxReport bounds an answer that is read, in octets.
const maxReport = 16 << 20

// Fetch asks the page at an address (door.ParseAddress) for its report. token is that of
// status.token, empty for none.
func Fetch(address, token string) (*Report, error) {
	text, err := Get(address, reportPath, token)
	if err != nil {
		return nil, err
	}
	report := new(Report)
	if err := json.Unmarshal(text, report); err != nil {
		return nil, fmt.Errorf("read the report of the running milterd: %w", err)
	}
	if report.Snapshot == nil {
		return nil, fmt.Errorf("%s is not a status page of milterd", address)
	}
	return report, nil
}

// Get asks the page at an address for what it has at a path.
func Get(address, path, token string) ([]byte, error) {
	at, err := door.ParseAddress(address)
	if err != nil {
		return nil, err
	}
	network, target := at.Dial()
	transport := &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, target)
		},
	}
	client := http.Client{Timeout: requestTimeout, Transport: transport}
	request, err := http.NewRequest(http.MethodGet, "http://localhost"+path, nil)
	if err != nil {
		return nil, err
	}
	if token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	response, err := client.Do(request)
	if failed := new(net.OpError); errors.As(err, &failed) && failed.Op == "dial" {
		hint := "is milterd running?"
		if errors.Is(err, fs.ErrPermission) {
			hint = "run this as root"
		}
		return nil, fmt.Errorf("ask the running milterd at %s: %w; %s", address, failed, hint)
	}
	if err != nil {
		return nil, fmt.Errorf("ask the running milterd at %s: %w", address, err)
	}
	defer response.Body.Close()
	body := io.LimitReader(response.Body, maxReport)
	if response.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(body, 256)) // what came tells enough
		return nil, fmt.Errorf("the running milterd at %s answers %s: %s", address, response.Status, printable.Text(string(text)))
	}
	text, err := io.ReadAll(body)
	if err != nil {
		return nil, fmt.Errorf("the answer of the running milterd at %s breaks off: %w", address, err)
	}
	return text, nil
}
