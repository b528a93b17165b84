// SPDX-License-Identifier: Apache-2.0

//go:build linux

package bpf

import (
	"errors"
	"fmt"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/features"
	"golang.org/x/sys/unix"
)

// ErrPrivilege means that this process may not load XDP programs. The errors that
// wrap it name the capabilities that are missing, and wrap EPERM.
var ErrPrivilege = errors.New("no privilege to load XDP programs")

const xdpPass = 2 // enum xdp_action

// Probe returns nil where Load can work: it loads a program of two instructions
// and lets go of it. It attaches nothing. The error is ErrPrivilege if that is why.
func Probe() error {
	prog, err := loadEmpty()
	if err != nil {
		return fmt.Errorf("probe for XDP: %w", explain(err))
	}
	if err := prog.Close(); err != nil {
		return fmt.Errorf("probe for XDP: %w", err)
	}
	if missing() != "" { // CAP_PERFMON, which so small a program does not need
		return fmt.Errorf("probe for XDP: %w", privilegeError(unix.EPERM))
	}
	return nil
}

// loadEmpty loads a program that passes everything.
func loadEmpty() (*ebpf.Program, error) {
	return ebpf.NewProgram(&ebpf.ProgramSpec{
		Name: "portolan_probe",
		Type: ebpf.XDP,
		Instructions: asm.Instructions{
			asm.LoadImm(asm.R0, xdpPass, asm.DWord),
			asm.Return(),
		},
		License: "Dual MIT/GPL",
	})
}

// lengthHelper tells whether programs can ask for a frame's length (kernel 5.18). A
// process that may not even find out cannot load either.
func lengthHelper() bool {
	return !errors.Is(features.HaveProgramHelper(ebpf.XDP, asm.FnXdpGetBuffLen), ebpf.ErrNotSupported)
}

// explain turns the kernel's refusal for lack of privilege into ErrPrivilege. The
// verifier says EACCES where CAP_PERFMON is missing, but also for other reasons.
func explain(err error) error {
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES) && missing() != "" {
		return privilegeError(err)
	}
	return err
}

func privilegeError(cause error) error {
	// What the library says around the errno advises programmers, not operators.
	var errno unix.Errno
	if errors.As(cause, &errno) {
		cause = errno
	}
	if caps := missing(); caps != "" {
		return fmt.Errorf("%w: this process lacks %s; run it as root or grant that: %w", ErrPrivilege, caps, cause)
	}
	return fmt.Errorf("%w: the capabilities are there but the kernel refuses; "+
		"a container, a user namespace, seccomp or kernel lockdown forbids bpf(): %w", ErrPrivilege, cause)
}

// missing names the capabilities that Load needs and the calling thread's
// effective set lacks, or is empty.
func missing() string {
	hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&hdr, &data[0]); err != nil {
		return ""
	}
	has := func(c uint) bool { return data[c/32].Effective>>(c%32)&1 != 0 }
	admin := has(unix.CAP_SYS_ADMIN)
	var lack []string
	if !has(unix.CAP_BPF) && !admin {
		lack = append(lack, "CAP_BPF")
	}
	if !has(unix.CAP_NET_ADMIN) {
		lack = append(lack, "CAP_NET_ADMIN")
	}
	if !has(unix.CAP_PERFMON) && !admin && !lengthHelper() {
		lack = append(lack, "CAP_PERFMON")
	}
	return strings.Join(lack, " and ")
}
