package probe

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/term"
)

// maxPassword bounds the file of a password.
const maxPassword = 4096

// AskPassword asks for a password at a terminal, which does not show it.
func AskPassword(terminal *os.File, prompt io.Writer, user string) (string, error) {
	if !term.IsTerminal(int(terminal.Fd())) {
		return "", errors.New("-user: no terminal to ask for the password at, expected -password-file FILE")
	}
	fmt.Fprintf(prompt, "Password of %s: ", user)
	password, err := term.ReadPassword(int(terminal.Fd()))
	fmt.Fprintln(prompt)
	if err == nil && len(password) == 0 {
		err = errors.New("no password was given")
	}
	if err != nil {
		return "", fmt.Errorf("-user: %w", err)
	}
	return string(password), nil
}

// ReadPassword reads the first line of a file, or of standard input for -.
func ReadPassword(name string) (string, error) {
	from := os.Stdin
	if name != "-" {
		file, err := os.Open(name)
		if err != nil {
			return "", err
		}
		defer file.Close()
		from = file
	}
	line, err := bufio.NewReader(io.LimitReader(from, maxPassword)).ReadString('\n')
	if line = strings.TrimRight(line, "\r\n"); line == "" {
		if err == nil || errors.Is(err, io.EOF) {
			err = errors.New("no password in its first line")
		}
		return "", fmt.Errorf("%s: %w", name, err)
	}
	return line, nil
}
