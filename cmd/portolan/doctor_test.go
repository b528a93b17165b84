// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/portolan/portolan/bpf"
	"github.com/portolan/portolan/netns"
)

// testNetwork is two namespaces of the test's own with the veth pair pdoc0 (in
// the first, 192.0.2.1) and pdoc1.
func testNetwork(t *testing.T) *netns.NS {
	t.Helper()
	if err := netns.Supported(); err != nil {
		t.Skipf("needs root: %v", err)
	}
	if err := bpf.Probe(); err != nil {
		t.Skipf("needs root: %v", err)
	}
	var ns [2]*netns.NS
	for i := range ns {
		n, err := netns.New()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = n.Close() }) // and with it the devices
		ns[i] = n
	}
	o := netns.VethOptions{AddrA: []netip.Prefix{netip.MustParsePrefix("192.0.2.1/24")}}
	if err := netns.Veth(ns[0], "pdoc0", ns[1], "pdoc1", o); err != nil {
		t.Fatal(err)
	}
	return ns[0]
}

func inside(t *testing.T, n *netns.NS, fn func() error) {
	t.Helper()
	if err := n.Do(fn); err != nil {
		t.Fatal(err)
	}
}

// examine runs `portolan doctor --output json ARGS` in a namespace.
func examine(t *testing.T, n *netns.NS, args ...string) (code int, r report, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	code = execute(t.Context(), append([]string{"doctor", "-o", "json", "--netns", n.Path()}, args...), &out, &errs)
	if out.Len() > 0 {
		if err := json.Unmarshal(out.Bytes(), &r); err != nil {
			t.Fatalf("%v in %s", err, out.String())
		}
	}
	return code, r, errs.String()
}

// checkOf finds a check by its subject.
func checkOf(t *testing.T, r *report, subject string) check {
	t.Helper()
	i := slices.IndexFunc(r.Checks, func(c check) bool { return c.Subject == subject })
	if i < 0 {
		t.Fatalf("nothing is said of %q in %+v", subject, r.Checks)
	}
	return r.Checks[i]
}

func TestDoctorTriesTheLadderOnAVeth(t *testing.T) {
	n := testNetwork(t)
	// Twice: the first examination must leave the queue and the device free.
	for range 2 {
		code, r, errs := examine(t, n)
		if code != exitOK || errs != "" {
			t.Fatalf("exit %d, %s", code, errs)
		}
		if len(r.Interfaces) != 1 { // not the loopback, nor the other end of the pair
			t.Fatalf("looked at %+v", r.Interfaces)
		}
		i := r.Interfaces[0]
		if i.Name != "pdoc0" || i.Driver != "veth" || i.Rung != "copy" || !i.Tried || !strings.Contains(i.Reason, "zero-copy") {
			t.Errorf("got %+v, want the rung copy, tried, with why not zero-copy", i)
		}
		if !slices.Contains(i.Addresses, netip.MustParsePrefix("192.0.2.1/24")) || !i.Up || i.MTU != 1500 {
			t.Errorf("the device: %+v", i)
		}
		if c := checkOf(t, &r, "pdoc0 rung"); c.State != good || !strings.HasPrefix(c.Text, "copy, tried: ") {
			t.Errorf("the rung: %+v", c)
		}
		for _, subject := range []string{"version", "AF_XDP sockets", "CAP_BPF", "CAP_NET_ADMIN", "CAP_NET_RAW", "XDP programs", "UDP [::]:2055", "pdoc0 program"} {
			if c := checkOf(t, &r, subject); c.State != good {
				t.Errorf("%+v", c)
			}
		}
		checkOf(t, &r, "RLIMIT_MEMLOCK")
		checkOf(t, &r, "receive buffer")
	}
	inside(t, n, func() error {
		l, err := netlink.LinkByName("pdoc0")
		if err != nil {
			return err
		}
		if id, name, err := bpf.Attached(l.Attrs().Index); err != nil || id != 0 {
			t.Errorf("the examination left program %d %q (%v)", id, name, err)
		}
		return nil
	})
}

func TestDoctorWritesALinePerCheck(t *testing.T) {
	n := testNetwork(t)
	var out, errs bytes.Buffer
	if code := execute(t.Context(), []string{"doctor", "pdoc0", "--netns", n.Path()}, &out, &errs); code != exitOK {
		t.Fatalf("exit %d, %s", code, errs.String())
	}
	for line := range strings.Lines(out.String()) {
		line = strings.TrimSuffix(line, "\n")
		word, _, _ := strings.Cut(line, " ")
		if line != "" && !slices.Contains([]state{good, note, problem}, state(word)) {
			t.Errorf("the line %q begins with no state", line)
		}
		if strings.HasSuffix(line, " ") {
			t.Errorf("the line %q ends with spaces", line)
		}
	}
	if !strings.Contains(out.String(), "pdoc0 rung") {
		t.Errorf("no rung in\n%s", out.String())
	}
}

func TestDoctorWithoutTryingTellsWhatTheDriverDeclares(t *testing.T) {
	n := testNetwork(t)
	code, r, errs := examine(t, n, "pdoc0", "--no-try")
	if code != exitOK {
		t.Fatalf("exit %d, %s", code, errs)
	}
	i := r.Interfaces[0]
	if i.Tried || i.Rung != "" || i.Reason == "" {
		t.Errorf("got %+v", i)
	}
	if i.Expected == "" {
		if !strings.Contains(i.Reason, "unknown") {
			t.Errorf("neither a rung nor that it is unknown: %+v", i)
		}
		t.Skip("needs Linux 6.3: this kernel does not tell what a driver can")
	}
	if i.Expected != "copy" || !slices.Contains(i.Features, "redirect") || slices.Contains(i.Features, "xsk-zerocopy") {
		t.Errorf("got %+v, want copy of a veth", i)
	}
}

func TestDoctorNamesAForeignProgram(t *testing.T) {
	n := testNetwork(t)
	prog, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Name: "somebody_else", Type: ebpf.XDP, License: "GPL",
		Instructions: asm.Instructions{asm.LoadImm(asm.R0, 2, asm.DWord), asm.Return()},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer prog.Close()
	inside(t, n, func() error {
		l, err := netlink.LinkByName("pdoc0")
		if err != nil {
			return err
		}
		attached, err := link.AttachXDP(link.XDPOptions{Program: prog, Interface: l.Attrs().Index})
		if err == nil {
			t.Cleanup(func() { _ = attached.Close() })
		}
		return err
	})
	code, r, errs := examine(t, n, "pdoc0")
	if code != exitUnsupported || !strings.Contains(errs, "somebody_else") || !strings.Contains(errs, "pdoc0") {
		t.Errorf("exit %d, %q", code, errs)
	}
	i := r.Interfaces[0]
	if i.Program == nil || i.Program.Name != "somebody_else" || i.Program.ID == 0 || i.Rung != "udp" || i.Tried {
		t.Errorf("got %+v", i)
	}
	if c := checkOf(t, &r, "pdoc0 program"); c.State != problem || !strings.Contains(c.Do, "pdoc0") {
		t.Errorf("got %+v", c)
	}
	// Among all interfaces it is no failure: exports arrive by UDP.
	if code, _, errs := examine(t, n); code != exitOK {
		t.Errorf("without IFACE: exit %d, %s", code, errs)
	}
}

func TestDoctorKnowsItsOwnProgram(t *testing.T) {
	n := testNetwork(t)
	p, err := bpf.Load(bpf.Config{MaxFrame: 1792, Queues: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	inside(t, n, func() error {
		l, err := netlink.LinkByName("pdoc0")
		if err != nil {
			return err
		}
		return p.Attach(l.Attrs().Index, bpf.Native)
	})
	code, r, errs := examine(t, n, "pdoc0")
	if code != exitOK {
		t.Fatalf("exit %d, %s", code, errs)
	}
	if c := checkOf(t, &r, "pdoc0 rung"); c.State != good || !strings.Contains(c.Text, "portolan status") {
		t.Errorf("got %+v", c)
	}
}

func TestDoctorRefusesAnInterfaceThatDoesNotExist(t *testing.T) {
	n := testNetwork(t)
	code, _, errs := examine(t, n, "pdoc7")
	if code != exitInput || !strings.Contains(errs, "pdoc7") {
		t.Errorf("exit %d, %q", code, errs)
	}
	var out, more bytes.Buffer
	code = execute(t.Context(), []string{"doctor", "--netns", "portolan-no-such-namespace"}, &out, &more)
	if code != exitInput || !strings.Contains(more.String(), "portolan-no-such-namespace") {
		t.Errorf("a namespace that does not exist: exit %d, %q", code, more.String())
	}
	for _, args := range [][]string{{"--try", "--no-try"}, {"--listen", "x"}, {"a", "b"}, {"-o", "yaml"}} {
		if code := execute(t.Context(), append([]string{"doctor", "--netns", n.Path()}, args...), &out, &more); code != exitUsage {
			t.Errorf("doctor %v: exit %d, want %d", args, code, exitUsage)
		}
	}
}

func TestDoctorTellsWhoHasThePort(t *testing.T) {
	n := testNetwork(t)
	var taken net.PacketConn
	inside(t, n, func() (err error) {
		taken, err = net.ListenPacket("udp4", "192.0.2.1:2055")
		return err
	})
	defer taken.Close()
	code, r, errs := examine(t, n)
	if code != exitRuntime || !strings.Contains(errs, "2055") {
		t.Errorf("exit %d, %q", code, errs)
	}
	comm, err := os.ReadFile("/proc/self/comm")
	if err != nil {
		t.Fatal(err)
	}
	me := ownerNames([]owner{{os.Getpid(), strings.TrimSpace(string(comm))}})
	if c := checkOf(t, &r, "UDP [::]:2055"); c.State != problem || !strings.Contains(c.Text, me) {
		t.Errorf("got %+v, want %s in it", c, me)
	}
	if code, _, errs := examine(t, n, "--listen", "127.0.0.1:2055,:2056"); code != exitOK {
		t.Errorf("other ports: exit %d, %s", code, errs)
	}
}

// childArgs is the command line of a copy of this test binary that a test runs.
const childArgs = "PORTOLAN_TEST_DOCTOR"

// TestDoctorChild is no test: it is the portolan that TestDoctorWithoutPrivileges starts.
func TestDoctorChild(t *testing.T) {
	args, ok := os.LookupEnv(childArgs)
	if !ok {
		t.Skip("started by another test")
	}
	os.Exit(execute(t.Context(), strings.Fields(args), os.Stdout, os.Stderr))
}

// lastCapability is more than there are; the kernel refuses those that it does not know.
const lastCapability = 63

// startWithout starts cmd in n with every capability taken away that keep does
// not name. The bounding set of the thread that starts it is what limits it, and
// that thread ends.
func startWithout(n *netns.NS, cmd *exec.Cmd, keep ...uintptr) error {
	return n.Do(func() error {
		runtime.LockOSThread()
		for c := range uintptr(lastCapability) {
			if slices.Contains(keep, c) {
				continue
			}
			if err := unix.Prctl(unix.PR_CAPBSET_DROP, c, 0, 0, 0); err != nil && !errors.Is(err, unix.EINVAL) {
				return err
			}
		}
		return cmd.Start()
	})
}

func TestDoctorWithoutPrivileges(t *testing.T) {
	n := testNetwork(t)
	for _, c := range []struct {
		name  string
		args  string
		keep  []uintptr
		code  int
		lacks string // on standard error
		check string // that is a problem and names a capability
	}{
		{"none", "doctor pdoc0 -o json", nil, exitUnsupported, "CAP_BPF and CAP_NET_ADMIN and CAP_NET_RAW", "CAP_BPF"},
		{"none, all interfaces", "doctor -o json", nil, exitOK, "", "CAP_NET_ADMIN"},
		{"no CAP_NET_RAW", "doctor pdoc0 -o json", []uintptr{unix.CAP_BPF, unix.CAP_NET_ADMIN, unix.CAP_PERFMON, unix.CAP_IPC_LOCK}, exitUnsupported, "lacks CAP_NET_RAW", "CAP_NET_RAW"},
		{"enough", "doctor pdoc0 -o json", []uintptr{unix.CAP_BPF, unix.CAP_NET_ADMIN, unix.CAP_PERFMON, unix.CAP_NET_RAW, unix.CAP_IPC_LOCK}, exitOK, "", ""},
		{"CAP_SYS_ADMIN for CAP_BPF", "doctor pdoc0 -o json", []uintptr{unix.CAP_SYS_ADMIN, unix.CAP_NET_ADMIN, unix.CAP_NET_RAW, unix.CAP_IPC_LOCK}, exitOK, "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			var out, errs bytes.Buffer
			cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestDoctorChild$")
			cmd.Env = append(os.Environ(), childArgs+"="+c.args)
			cmd.Stdout, cmd.Stderr = &out, &errs
			if err := startWithout(n, cmd, c.keep...); err != nil {
				t.Fatal(err)
			}
			err := cmd.Wait()
			if code := cmd.ProcessState.ExitCode(); code != c.code || !strings.Contains(errs.String(), c.lacks) {
				t.Errorf("exit %d (%v), want %d and %q in:\n%s", code, err, c.code, c.lacks, errs.String())
			}
			var r report
			if err := json.Unmarshal(out.Bytes(), &r); err != nil {
				t.Fatalf("%v in %s", err, out.String())
			}
			for _, name := range []string{"CAP_BPF", "CAP_NET_ADMIN", "CAP_NET_RAW"} {
				got := checkOf(t, &r, name)
				if name == c.check && (got.State != problem || !strings.Contains(got.Text, "lacks "+name) || got.Do == "") {
					t.Errorf("got %+v", got)
				}
				if c.check == "" && got.State != good {
					t.Errorf("got %+v", got)
				}
			}
			rung, tried := "udp", false
			if c.check == "" {
				rung, tried = "copy", true
			}
			if i := r.Interfaces[0]; i.Rung != rung || i.Tried != tried {
				t.Errorf("got %+v, want the rung %s", i, rung)
			}
		})
	}
}

func TestDoctorTellsThatTooLittleMemoryCanBeLocked(t *testing.T) {
	n := testNetwork(t)
	var was unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_MEMLOCK, &was); err != nil {
		t.Fatal(err)
	}
	small := unix.Rlimit{Cur: 8 << 20, Max: was.Max}
	if err := unix.Setrlimit(unix.RLIMIT_MEMLOCK, &small); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := unix.Setrlimit(unix.RLIMIT_MEMLOCK, &was); err != nil {
			t.Error(err)
		}
	}()
	var out, errs bytes.Buffer
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestDoctorChild$")
	cmd.Env = append(os.Environ(), childArgs+"=doctor pdoc0 -o json")
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := startWithout(n, cmd, unix.CAP_BPF, unix.CAP_NET_ADMIN, unix.CAP_PERFMON, unix.CAP_NET_RAW); err != nil {
		t.Fatal(err)
	}
	err := cmd.Wait()
	if code := cmd.ProcessState.ExitCode(); code != exitUnsupported || strings.Count(errs.String(), "RLIMIT_MEMLOCK") != 1 {
		t.Errorf("exit %d (%v), want %d and RLIMIT_MEMLOCK once in:\n%s", code, err, exitUnsupported, errs.String())
	}
	var r report
	if err := json.Unmarshal(out.Bytes(), &r); err != nil {
		t.Fatalf("%v in %s", err, out.String())
	}
	if c := checkOf(t, &r, "RLIMIT_MEMLOCK"); c.State != problem || !strings.Contains(c.Text, "8 MiB") || !strings.Contains(c.Text, "16 MiB") {
		t.Errorf("got %+v", c)
	}
}
