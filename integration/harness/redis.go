package harness

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"syscall"
	"time"
)

// RedisAddr is where Redis listens.
const RedisAddr = "127.0.0.1:6379"

// Redis is a Redis server that keeps everything in memory: what it has is gone
// when it ends.
type Redis struct {
	log     *Log
	process *process
}

// MissingRedis says what this machine lacks for a Redis.
func MissingRedis() error {
	return missingFiles(map[string]string{"/usr/bin/redis-server": "redis-server"})
}

// StartRedis starts a server and waits until it answers. It ends with the Env.
func (e *Env) StartRedis() (*Redis, error) {
	r := &Redis{log: new(Log)}
	if err := r.Start(); err != nil {
		return nil, err
	}
	e.closers = append(e.closers, r.Kill)
	return r, nil
}

// Start starts the server, again after Kill, and waits until it answers.
func (r *Redis) Start() error {
	host, port, err := net.SplitHostPort(RedisAddr)
	if err != nil {
		return err
	}
	dir := runtimeDir + "/redis"
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	p, err := launch(r.log, "/usr/bin/redis-server", "--bind", host, "--port", port, "--dir", dir,
		"--save", "", "--appendonly", "no", "--daemonize", "no")
	if err != nil {
		return err
	}
	r.process = p
	err = Poll(startTimeout, "Redis to answer", func() (bool, error) {
		if err := p.ended(); err != nil {
			return false, err
		}
		return answersPing(RedisAddr), nil
	})
	if err != nil {
		return errors.Join(err, r.Kill(), fmt.Errorf("its log: %s", r.log))
	}
	return nil
}

// answersPing says that a Redis server at an address answers.
func answersPing(addr string) bool {
	conn, err := net.DialTimeout("tcp", addr, time.Second)
	if err != nil {
		return false
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(time.Second)); err != nil {
		return false
	}
	if _, err := conn.Write([]byte("PING\r\n")); err != nil {
		return false
	}
	answer, err := bufio.NewReader(conn).ReadString('\n')
	return err == nil && strings.HasPrefix(answer, "+PONG")
}

// Kill ends the server at once, also one that is frozen.
func (r *Redis) Kill() error { return r.process.stop(syscall.SIGKILL) }

// Freeze makes the server hang: the kernel goes on taking connections and data for
// it, and nothing is answered until Thaw.
func (r *Redis) Freeze() error { return r.process.signal(syscall.SIGSTOP) }

// Thaw ends Freeze.
func (r *Redis) Thaw() error { return r.process.signal(syscall.SIGCONT) }
