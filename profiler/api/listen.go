// SPDX-License-Identifier: Apache-2.0

package api

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// SocketName is the name of the local socket in the data directory.
const SocketName = "portolan.sock"

// ErrRunning is wrapped by ListenLocal where a daemon answers at the socket.
var ErrRunning = errors.New("a daemon is running here already")

// ListenLocal opens the local socket at path, with mode 0600. A socket that
// nobody answers at, as a crash leaves it, is replaced; one that somebody
// answers at is left alone and the error wraps [ErrRunning]. The listener
// accepts this process's effective user and root, as the kernel tells who
// connected (SO_PEERCRED, unix(7)), and hangs up on everybody else: the mode of
// the file alone would be in the hands of whoever changes it. Closing the
// listener removes the socket.
func ListenLocal(path string) (net.Listener, error) {
	if err := clearSocket(path); err != nil {
		return nil, err
	}
	short, release, err := shorten(path)
	if err != nil {
		return nil, fmt.Errorf("cannot open the local socket: %w", err)
	}
	defer release()
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: short, Net: "unix"})
	if err != nil {
		return nil, fmt.Errorf("cannot open the local socket: %w", err)
	}
	l.SetUnlinkOnClose(false) // it would use the shortened path
	local := &localListener{UnixListener: l, path: path, uid: os.Geteuid()}
	if err := os.Chmod(path, 0o600); err != nil {
		_ = local.Close()
		return nil, fmt.Errorf("cannot protect the local socket: %w", err)
	}
	return local, nil
}

// maxSocketPath is the longest path of a socket, in bytes (unix(7)).
const maxSocketPath = 107

// shorten returns a path to the same file that the kernel takes for a socket's,
// good until release. Data directories may be anywhere, however deep.
func shorten(path string) (short string, release func(), err error) {
	if len(path) <= maxSocketPath {
		return path, func() {}, nil
	}
	dir, err := unix.Open(filepath.Dir(path), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", nil, &fs.PathError{Op: "open", Path: filepath.Dir(path), Err: err}
	}
	return fmt.Sprintf("/proc/self/fd/%d/%s", dir, filepath.Base(path)), func() { _ = unix.Close(dir) }, nil
}

// dialLocal connects to the socket at path.
func dialLocal(ctx context.Context, path string) (net.Conn, error) {
	short, release, err := shorten(path)
	if err != nil {
		return nil, err
	}
	defer release()
	return new(net.Dialer).DialContext(ctx, "unix", short)
}

// clearSocket removes a socket that nobody listens at.
func clearSocket(path string) error {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return fmt.Errorf("cannot open the local socket: %w", err)
	case info.Mode().Type() != fs.ModeSocket:
		return fmt.Errorf("%s is in the way of the local socket and is no socket; move it away", path)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	c, err := dialLocal(ctx, path)
	if err == nil {
		_ = c.Close()
		return fmt.Errorf("%w: it answers at %s; stop it or choose another --data", ErrRunning, path)
	}
	if !errors.Is(err, unix.ECONNREFUSED) {
		// A full backlog is EAGAIN: somebody is there and busy.
		return fmt.Errorf("%w, or may be: %s does not answer properly: %w", ErrRunning, path, err)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("cannot remove the local socket that a crash left: %w", err)
	}
	return nil
}

type localListener struct {
	*net.UnixListener
	path   string
	uid    int
	closed sync.Once
}

// Close removes the socket and stops listening, in this order: the next daemon
// may open its own as soon as nobody answers.
func (l *localListener) Close() error {
	l.closed.Do(func() { _ = os.Remove(l.path) })
	return l.UnixListener.Close()
}

// Accept waits for a connection of somebody who may connect.
func (l *localListener) Accept() (net.Conn, error) {
	for {
		c, err := l.AcceptUnix()
		if err != nil {
			return nil, err
		}
		uid, err := peer(c)
		if err == nil && (uid == l.uid || uid == 0) {
			return c, nil
		}
		_ = c.Close()
	}
}

// peer is the effective user that c was connected by.
func peer(c syscall.Conn) (uid int, err error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return 0, err
	}
	var cred *unix.Ucred
	var got error
	if err := raw.Control(func(fd uintptr) { cred, got = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) }); err != nil {
		return 0, err
	}
	if got != nil {
		return 0, got
	}
	return int(cred.Uid), nil
}

// socketPath is the local socket of the daemon that has its data in dataDir.
func socketPath(dataDir string) string { return filepath.Join(dataDir, SocketName) }

// NewHTTPServer returns a server for h that does not wait for slow clients
// forever. Handlers of long answers move their own deadline.
func NewHTTPServer(h http.Handler, log *slog.Logger) *http.Server {
	return &http.Server{
		Handler:           h,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       time.Minute,
		WriteTimeout:      time.Minute,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
}
