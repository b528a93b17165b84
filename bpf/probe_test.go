// SPDX-License-Identifier: Apache-2.0

//go:build linux

package bpf

import (
	"errors"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// withCaps runs fn on a thread that has these capabilities only, and that ends with it.
func withCaps(t *testing.T, caps []uint, fn func()) {
	t.Helper()
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
		var data [2]unix.CapUserData
		for _, c := range caps {
			data[c/32].Effective |= 1 << (c % 32)
			data[c/32].Permitted |= 1 << (c % 32)
		}
		err := unix.Capset(&hdr, &data[0])
		if err == nil {
			fn()
		}
		done <- err
	}()
	if err := <-done; err != nil {
		t.Skip("needs capset:", err)
	}
}

// CAP_BPF and CAP_NET_ADMIN are enough to load and to fill the maps; without either, Probe and Load
// say which one is missing.
func TestCapabilities(t *testing.T) {
	needRoot(t)
	if err := Probe(); err != nil {
		t.Fatal("as root:", err)
	}
	for _, c := range []struct {
		name    string
		caps    []uint
		missing string
	}{
		{"enough", []uint{unix.CAP_BPF, unix.CAP_NET_ADMIN}, ""},
		{"no CAP_BPF", []uint{unix.CAP_NET_ADMIN}, "lacks CAP_BPF;"},
		{"no CAP_NET_ADMIN", []uint{unix.CAP_BPF}, "lacks CAP_NET_ADMIN;"},
		{"none", nil, "lacks CAP_BPF and CAP_NET_ADMIN;"},
	} {
		t.Run(c.name, func(t *testing.T) {
			withCaps(t, c.caps, func() {
				p, loadErr := Load(testConfig())
				if loadErr == nil {
					p.Close()
				}
				for what, err := range map[string]error{"Probe": Probe(), "Load": loadErr} {
					switch {
					case c.missing == "" && err != nil:
						t.Errorf("%s: %v", what, err)
					case c.missing == "":
					case !errors.Is(err, ErrPrivilege) || !errors.Is(err, unix.EPERM):
						t.Errorf("%s: %v; want ErrPrivilege and EPERM", what, err)
					case !strings.Contains(err.Error(), c.missing):
						t.Errorf("%s: %q does not say %q", what, err, c.missing)
					}
				}
			})
		})
	}
}
