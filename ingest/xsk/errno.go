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
			return &hiddenError{err, n}
		}
	}
	return err
}

// explain says what was tried and what to do about the failure.
func (c Config) explain(err error) error {
	return fmt.Errorf("open an AF_XDP socket (%s) on queue %d of interface %d: %w%s", c.Mode, c.Queue, c.Ifindex, err, c.advice(err))
}

func (c Config) advice(err error) string {
	var errno unix.Errno
	if !errors.As(err, &errno) {
		return ""
	}
	switch errno {
	case unix.EPERM, unix.EACCES:
		return ": run as root, or grant CAP_NET_RAW"
	case unix.EAFNOSUPPORT:
		return ": this kernel is built without AF_XDP (CONFIG_XDP_SOCKETS)"
	case unix.ENOBUFS, unix.ENOMEM:
		return fmt.Sprintf(": its %d KiB of frames have to be locked in memory: raise RLIMIT_MEMLOCK (systemd: LimitMEMLOCK=infinity), or grant CAP_IPC_LOCK", c.Frames*c.FrameSize/1024)
	case unix.EOPNOTSUPP:
		return ": the driver has no zero-copy AF_XDP, or not with the XDP program attached as it is: use copy mode"
	case unix.EINVAL:
		if c.Mode == ZeroCopy {
			return fmt.Sprintf(": there is no such queue (ethtool -l shows them), or the device's MTU needs frames longer than %d bytes", MaxFrame(c.FrameSize))
		}
		return ": there is no such queue (ethtool -l shows them)"
	case unix.EBUSY:
		return ": another socket of this or another process receives from the queue: stop it, or use another queue"
	case unix.ENODEV:
		return ": there is no interface with this index in this network namespace"
	case unix.ENETDOWN:
		return ": the interface is down: set it up"
	}
	return ""
}
