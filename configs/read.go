package configs

import (
	"fmt"
	"io"
	"os"
)

// Bounds of the files a configuration names, in octets.
const (
	maxSendmailCF = 8 << 20
	maxClassFile  = 64 << 20
)

// openFile opens a regular file of a bounded size. A device or a named pipe
// would block the caller or never end.
func openFile(path string, most int64) (*os.File, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	switch {
	case info.IsDir():
		return nil, fmt.Errorf("%s is a directory, expected a file", path)
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("%s is not a regular file", path)
	case info.Size() > most:
		return nil, fmt.Errorf("%s has %d octets, expected %d at most", path, info.Size(), most)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	return f, nil
}

// readFile reads a regular file of a bounded size.
func readFile(path string, most int64) ([]byte, error) {
	f, err := openFile(path, most)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, most+1))
	if err != nil {
		return nil, err
	}
	if int64(len(data)) > most {
		return nil, fmt.Errorf("%s grew beyond %d octets", path, most)
	}
	return data, nil
}
