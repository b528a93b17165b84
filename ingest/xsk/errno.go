// SPDX-License-Identifier: Apache-2.0

//go:build linux

package xsk

import (
	"errors"
	"fmt"
	"strings"

	"golang.org/x/sys/unix"
)

// lastErrno is the highest error number of Linux (EHWPOISON).
const lastErrno = 133

// hiddenError is an error of the library together with the errno that it only
// printed.
type hiddenError struct {
	error
	errno unix.Errno
}

func (e *hiddenError) Unwrap() error { return e.errno }

// recoverErrno gives an error of the library back its errno, so that errors.Is
// works. The library formats it with %v at the end of its message, and every
// errno has a text of its own.
func recoverErrno(err error) error {
	text := err.Error()
	for n := unix.Errno(1); n <= lastErrno; n++ {
		if strings.HasSuffix(text, ": "+n.Error()) {
			return &hiddenError{errors.New(brief(text)), n}
		}
	}
	return err
}

// brief takes the names of Go functions out of the library's message:
// "syscall.Bind SockaddrXDP failed: …" is "bind: …" to everybody else.
func brief(text string) string {
	what, why, ok := strings.Cut(text, " failed: ")
	if !ok {
		return text
	}
	call, object, _ := strings.Cut(what, " ")
	switch {
	case strings.HasSuffix(call, ".Bind"):
		return "bind: " + why
	case object != "":
		return object + ": " + why
	}
	return strings.ToLower(call[strings.LastIndexByte(call, '.')+1:]) + ": " + why
}

// OpenError is why a socket could not be opened. It wraps the cause.
type OpenError struct {
	Config Config // what was tried
	Cause  error  // what the kernel said, with its errno
	Advice string // what it means here and what to do; empty where that is not known
}

func (e *OpenError) Error() string {
	return fmt.Sprintf("open an AF_XDP socket (%s) on queue %d of interface %d: %s", e.Config.Mode, e.Config.Queue, e.Config.Ifindex, e.Short())
}

// Short leaves out what was tried, for a reader who knows.
func (e *OpenError) Short() string {
	if e.Advice == "" {
		return e.Cause.Error()
	}
	return e.Cause.Error() + ": " + e.Advice
}

func (e *OpenError) Unwrap() error { return e.Cause }

// advise says what an errno means for this socket.
func (c Config) advise(err error) string {
	var errno unix.Errno
	if !errors.As(err, &errno) {
		return ""
	}
	switch errno {
	case unix.EPERM, unix.EACCES:
		return "run as root, or grant CAP_NET_RAW"
	case unix.EAFNOSUPPORT:
		return "this kernel is built without AF_XDP (CONFIG_XDP_SOCKETS)"
	case unix.ENOBUFS, unix.ENOMEM:
		return fmt.Sprintf("its %d KiB of frames have to be locked in memory: raise RLIMIT_MEMLOCK (systemd: LimitMEMLOCK=infinity), or grant CAP_IPC_LOCK", c.Frames*c.FrameSize/1024)
	case unix.EOPNOTSUPP:
		return "the driver has no zero-copy AF_XDP"
	case unix.EINVAL:
		if c.Mode == ZeroCopy {
			return fmt.Sprintf("there is no such queue (ethtool -l shows them), or the device's MTU needs frames longer than %d bytes", MaxFrame(c.FrameSize))
		}
		return "there is no such queue (ethtool -l shows them)"
	case unix.EBUSY:
		return "another socket of this or another process receives from the queue: stop it, or use another queue"
	case unix.ENODEV:
		return "there is no interface with this index in this network namespace"
	case unix.ENETDOWN:
		return "the interface is down: set it up"
	}
	return ""
}
