// SPDX-License-Identifier: Apache-2.0

//go:build linux

// Package netns owns throw-away network namespaces and the veth pairs between
// them. The demo, the tests and the bench use it to work on a network of their
// own, and `run --netns` to receive in a namespace that exists; the machine's
// own namespace is never changed.
//
// A namespace made by New has no name and no mount: only this process's file
// descriptor keeps it alive, so that nothing can be left behind, whatever ends
// the process. An NS may be used by several goroutines.
package netns

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// NS is a network namespace, held by a file descriptor.
type NS struct {
	fd netns.NsHandle
}

// New makes an empty namespace with its loopback up. It needs CAP_SYS_ADMIN.
func New() (*NS, error) {
	var ns *NS
	err := onOwnThread(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("make a network namespace: %w", err)
		}
		fd, err := netns.Get()
		if err != nil {
			return fmt.Errorf("hold the new network namespace: %w", err)
		}
		lo, err := netlink.LinkByName("lo")
		if err == nil {
			err = netlink.LinkSetUp(lo)
		}
		if err != nil {
			fd.Close()
			return fmt.Errorf("bring loopback up: %w", err)
		}
		ns = &NS{fd: fd}
		return nil
	})
	return ns, err
}

// Named opens a namespace that `ip netns add NAME` made, or the one behind a
// path such as /proc/PID/ns/net.
func Named(name string) (*NS, error) {
	open := netns.GetFromName
	if strings.Contains(name, "/") {
		open = netns.GetFromPath
	}
	fd, err := open(name)
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("there is no network namespace %q (ip netns list shows them): %w", name, err)
	}
	if err != nil {
		return nil, fmt.Errorf("open network namespace %q: %w", name, err)
	}
	return &NS{fd: fd}, nil
}

// Supported returns nil where New can work: the kernel has namespaces and this
// process may make them.
func Supported() error {
	ns, err := New()
	if err != nil {
		return err
	}
	return ns.Close()
}

// Do runs fn inside the namespace, on an operating-system thread of its own.
// Sockets and programs that fn opens stay in the namespace and may be used from
// any thread afterwards. A nil NS runs fn where the caller is.
func (n *NS) Do(fn func() error) error {
	if n == nil {
		return fn()
	}
	return onOwnThread(func() error {
		if err := netns.Set(n.fd); err != nil {
			return fmt.Errorf("enter network namespace %s (it takes root, or CAP_SYS_ADMIN): %w", n.Path(), err)
		}
		return fn()
	})
}

// Start starts cmd inside the namespace.
func (n *NS) Start(cmd *exec.Cmd) error { return n.Do(cmd.Start) }

// Path names the namespace for other tools, while this process holds it:
// nsenter --net=PATH.
func (n *NS) Path() string { return fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), int(n.fd)) }

// Close lets go of the namespace. An anonymous one ends, with its devices, once
// nothing else runs in it.
func (n *NS) Close() error { return n.fd.Close() }

// onOwnThread runs fn on a thread that is thrown away afterwards: it is never
// unlocked, so the runtime ends it, and no goroutine can land in a namespace by
// accident if restoring it fails.
func onOwnThread(fn func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		var err error
		// A runtime.Goexit or panic in fn (t.Fatal in a test) must not leave the caller waiting.
		defer func() { done <- err }()
		err = errors.New("the function left its thread without returning")
		err = fn()
	}()
	return <-done
}
