package configs

import (
	"fmt"
	"io"
	"os"
	"syscall"
)

// Bounds of the files a configuration names, in octets.
const (
	maxSendmailCF = 8 << 20
	maxClassFile  = 64 << 20
)

// openFile opens a regular file. A device or a named pipe would block the caller or
// never end.
func openFile(path string) (f *os.File, size int64, err error) {
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return nil, 0, err
	case info.IsDir():
		return nil, 0, fmt.Errorf("%s is a directory, expected a file", path)
	case !info.Mode().IsRegular():
		return nil, 0, fmt.Errorf("%s is not a regular file", path)
	}
	return openRegular(path)
}

// openRegular does not wait for the other end of a named pipe that has taken the file's
// place.
func openRegular(path string) (f *os.File, size int64, err error) {
	f, err = os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, 0, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s is no longer a regular file", path)
	}
	if err != nil {
		f.Close()
		return nil, 0, err
	}
	return f, info.Size(), nil
}

// readFile reads a regular file of a bounded size.
func readFile(path string, most int64) ([]byte, error) {
	f, size, err := openFile(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if size > most {
		return nil, fmt.Errorf("%s has %d octets, expected %d at most", path, size, most)
	}
	data, err := io.ReadAll(io.LimitReader(f, most+1))
	if err != nil {
		return nil, err
	}
	if int64(len(data)) > most {
		return nil, fmt.Errorf("%s grew beyond %d octets", path, most)
	}
	return data, nil
}
