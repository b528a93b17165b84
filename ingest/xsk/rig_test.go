// SPDX-License-Identifier: Apache-2.0

//go:build linux

package xsk

import (
	"encoding/binary"
	"errors"
	"testing"
	"time"
	"unsafe"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"github.com/portolan/portolan/netns"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

const (
	etherType = 0x88B5 // IEEE 802, local experimental: no stack on the pair speaks it
	deadline  = 10 * time.Second
)

// rig is a veth pair between two namespaces, with a program on the receiving end
// that redirects the frames of our EtherType and counts them.
type rig struct {
	from, to *netns.NS
	ifindex  int
	xsks     *ebpf.Map
	counts   *ebpf.Map
	sender   int // AF_PACKET
	sends    []mmsghdr
}

type mmsghdr struct {
	hdr  unix.Msghdr
	sent uint32
	_    [4]byte
}

func newRig(t testing.TB, mtu int) *rig {
	t.Helper()
	if err := netns.Supported(); err != nil {
		t.Skipf("needs root: %v", err)
	}
	r := &rig{}
	for _, ns := range []**netns.NS{&r.from, &r.to} {
		n, err := netns.New()
		must(t, err)
		t.Cleanup(func() { n.Close() })
		*ns = n
	}
	must(t, netns.Veth(r.from, "va", r.to, "vb", netns.VethOptions{MTU: mtu}))
	r.ifindex = r.index(t, r.to, "vb")
	r.attach(t)
	r.openSender(t, r.index(t, r.from, "va"))
	return r
}

func (r *rig) index(t testing.TB, n *netns.NS, name string) (index int) {
	t.Helper()
	must(t, n.Do(func() error {
		l, err := netlink.LinkByName(name)
		if err == nil {
			index = l.Attrs().Index
		}
		return err
	}))
	return index
}

// attach loads: if the EtherType is ours, redirect to the queue's socket; count
// by the verdict; return it.
func (r *rig) attach(t testing.TB) {
	t.Helper()
	var err error
	r.xsks, err = ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.XSKMap, KeySize: 4, ValueSize: 4, MaxEntries: 4})
	must(t, err)
	t.Cleanup(func() { r.xsks.Close() })
	r.counts, err = ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.Array, KeySize: 4, ValueSize: 8, MaxEntries: 8})
	must(t, err)
	t.Cleanup(func() { r.counts.Close() })
	wire := int32(binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, etherType)))
	prog, err := ebpf.NewProgram(&ebpf.ProgramSpec{Type: ebpf.XDP, License: "Apache-2.0", Instructions: asm.Instructions{
		asm.Mov.Reg(asm.R6, asm.R1),
		asm.Mov.Imm(asm.R7, 2), // XDP_PASS
		asm.LoadMem(asm.R2, asm.R6, 0, asm.Word),
		asm.LoadMem(asm.R3, asm.R6, 4, asm.Word),
		asm.Mov.Reg(asm.R4, asm.R2),
		asm.Add.Imm(asm.R4, 14),
		asm.JGT.Reg(asm.R4, asm.R3, "exit"),
		asm.LoadMem(asm.R4, asm.R2, 12, asm.Half),
		asm.JNE.Imm(asm.R4, wire, "exit"),
		asm.LoadMapPtr(asm.R1, r.xsks.FD()),
		asm.LoadMem(asm.R2, asm.R6, 16, asm.Word), // rx_queue_index
		asm.Mov.Imm(asm.R3, 2),
		asm.FnRedirectMap.Call(),
		asm.Mov.Reg(asm.R7, asm.R0),
		asm.StoreMem(asm.RFP, -4, asm.R7, asm.Word),
		asm.LoadMapPtr(asm.R1, r.counts.FD()),
		asm.Mov.Reg(asm.R2, asm.RFP),
		asm.Add.Imm(asm.R2, -4),
		asm.FnMapLookupElem.Call(),
		asm.JEq.Imm(asm.R0, 0, "exit"),
		asm.Mov.Imm(asm.R1, 1),
		asm.StoreXAdd(asm.R0, asm.R1, asm.DWord),
		asm.Mov.Reg(asm.R0, asm.R7).WithSymbol("exit"),
		asm.Return(),
	}})
	must(t, err)
	t.Cleanup(func() { prog.Close() })
	must(t, r.to.Do(func() error {
		l, err := link.AttachXDP(link.XDPOptions{Program: prog, Interface: r.ifindex, Flags: link.XDPDriverMode})
		if err == nil {
			t.Cleanup(func() { l.Close() })
		}
		return err
	}))
}

func (r *rig) openSender(t testing.TB, ifindex int) {
	t.Helper()
	must(t, r.from.Do(func() error {
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		r.sender = fd
		t.Cleanup(func() { unix.Close(fd) })
		return unix.Bind(fd, &unix.SockaddrLinklayer{Ifindex: ifindex})
	}))
	r.sends = make([]mmsghdr, 64)
	for i := range r.sends {
		r.sends[i].hdr.Iov = new(unix.Iovec)
		r.sends[i].hdr.SetIovlen(1)
	}
}

// send sends up to 64 frames and returns how many the device took; a frame that
// the device refused is not sent again.
func (r *rig) send(frames [][]byte) (took int, err error) {
	for i, f := range frames {
		r.sends[i].hdr.Iov.Base = &f[0]
		r.sends[i].hdr.Iov.SetLen(len(f))
	}
	for at := 0; at < len(frames); {
		n, _, errno := unix.Syscall6(unix.SYS_SENDMMSG, uintptr(r.sender), uintptr(unsafe.Pointer(&r.sends[at])), uintptr(len(frames)-at), 0, 0, 0)
		switch errno {
		case 0:
			at += int(n)
			took += int(n)
		case unix.ENOBUFS:
			at++
		case unix.EINTR:
		default:
			return took, errno
		}
	}
	return took, nil
}

// open opens a socket on queue 0 and puts it into the map.
func (r *rig) open(t testing.TB, c Config) *Socket {
	t.Helper()
	s, err := r.tryOpen(c)
	must(t, err)
	t.Cleanup(func() { s.Close() })
	must(t, r.xsks.Put(uint32(0), uint32(s.FD())))
	return s
}

func (r *rig) tryOpen(c Config) (s *Socket, err error) {
	err = r.to.Do(func() error {
		s, err = r.openHere(c)
		return err
	})
	return s, err
}

// openHere opens on the calling thread, on the rig's device unless c names another.
func (r *rig) openHere(c Config) (*Socket, error) {
	if c.Ifindex == 0 {
		c.Ifindex = r.ifindex
	}
	return Open(c)
}

// verdicts returns how many frames of ours the program redirected and passed.
func (r *rig) verdicts(t testing.TB) (redirected, passed uint64) {
	t.Helper()
	must(t, r.counts.Lookup(uint32(4), &redirected))
	must(t, r.counts.Lookup(uint32(2), &passed))
	return redirected, passed
}

// refused returns how many frames the sending device dropped.
func (r *rig) refused(t testing.TB) (n uint64) {
	t.Helper()
	must(t, r.from.Do(func() error {
		l, err := netlink.LinkByName("va")
		if err == nil {
			n = l.Attrs().Statistics.TxDropped
		}
		return err
	}))
	return n
}

// setLink sets a device up or down.
func (r *rig) setLink(t testing.TB, n *netns.NS, name string, up bool) {
	t.Helper()
	must(t, n.Do(func() error {
		l, err := netlink.LinkByName(name)
		if err != nil {
			return err
		}
		if up {
			return netlink.LinkSetUp(l)
		}
		return netlink.LinkSetDown(l)
	}))
}

// exchange sends numbered frames, one at a time, until the socket lends one of
// them: after a link came up, the first ones may be lost.
func (r *rig) exchange(t testing.TB, s *Socket, seq uint64) {
	t.Helper()
	buf := make([]byte, maxLen)
	until := time.Now().Add(deadline)
	for time.Now().Before(until) {
		_, err := r.send([][]byte{numbered(buf, seq)})
		if err != nil && !errors.Is(err, unix.ENETDOWN) {
			t.Fatalf("send: %v", err)
		}
		if err := s.Wait(50 * time.Millisecond); err != nil {
			continue
		}
		l := s.Receive(64)
		got := false
		for i := range l.Len() {
			n, ok := check(l.Frame(i))
			if !ok {
				t.Fatalf("frame %d has wrong contents", n)
			}
			got = got || n == seq
		}
		l.End()
		if got {
			return
		}
	}
	t.Fatalf("no frame %d arrived within %s", seq, deadline)
}

// Numbered frames: their length and every byte follow from their number.

const minLen, maxLen = 60, 1500

func mix(x uint64) uint64 {
	x *= 0x9E3779B97F4A7C15
	x ^= x >> 29
	return x * 0xBF58476D1CE4E5B9
}

// numbered writes frame seq into buf and returns it.
func numbered(buf []byte, seq uint64) []byte {
	f := buf[:minLen+mix(seq)>>32%(maxLen-minLen+1)]
	copy(f, "\x02\x00\x00\x00\x00\x02\x02\x00\x00\x00\x00\x01")
	binary.BigEndian.PutUint16(f[12:], etherType)
	binary.LittleEndian.PutUint64(f[14:], seq)
	at := 22
	for ; at+8 <= len(f); at += 8 {
		binary.LittleEndian.PutUint64(f[at:], mix(seq+uint64(at)))
	}
	for ; at < len(f); at++ {
		f[at] = byte(mix(seq + uint64(at)))
	}
	return f
}

// check returns the number of a frame, and whether it is what was sent.
func check(f []byte) (seq uint64, ok bool) {
	if len(f) < minLen {
		return 0, false
	}
	seq = binary.LittleEndian.Uint64(f[14:])
	var want [maxLen]byte
	return seq, string(numbered(want[:], seq)) == string(f)
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
