package configs

import (
	"errors"
	"fmt"
	"io"
	"os"

	"milterd/policy/access"
	"milterd/policy/snapshot"
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
	// Something else may be in its place by now.
	if f, err = snapshot.Open(path, os.O_RDONLY); err != nil {
		return nil, 0, err
	}
	if info, err = f.Stat(); err != nil {
		f.Close()
		return nil, 0, err
	}
	return f, info.Size(), nil
}

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

// sizedReader is a reader with the size of its file.
type sizedReader struct {
	io.Reader
	size int64
}

func (r sizedReader) Size() int64 { return r.size }

// table reads the access table.
func (s *sources) table() *access.Table {
	s.entries[s.access.path] = 0
	f, size, err := openFile(s.access.path)
	if err != nil {
		s.failed("access table", s.access, err)
		return nil
	}
	defer f.Close()
	most := s.config.Access.MaxSize
	if size > most {
		s.add(s.access.path, 0, "the access table has %d octets, expected %s at most (access.max_size)", size, formatSize(most))
		return nil
	}
	s.checkOthers(s.access.path, "the access table: who may relay", 0o002)
	limited := &io.LimitedReader{R: f, N: most + 1}
	table, found, err := access.Parse(s.access.path, sizedReader{limited, size}, s.features)
	var problem access.Problem
	switch {
	case limited.N == 0:
		s.add(s.access.path, 0, "the access table grew while it was read, expected %s at most (access.max_size)", formatSize(most))
		return nil
	case errors.As(err, &problem):
		s.add(problem.File, problem.Line, "%s", problem.Text)
		return nil
	case err != nil:
		s.add(s.access.path, 0, "%v", err)
		return nil
	}
	s.entries[s.access.path] = table.Len()
	for _, p := range found {
		severity, cure := Warning, ""
		if p.OpenRelay {
			severity, cure = Severe, "Connect:NETWORK OF YOUR OWN\tRELAY"
		}
		s.find(severity, cure, p.File, p.Line, "%s", p.Text)
	}
	s.checkTags(table)
	s.leftOut = table.LeftOut()
	return table
}
