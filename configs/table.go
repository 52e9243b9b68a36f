package configs

import (
	"errors"
	"io"

	"milterd/policy/access"
)

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
