// SPDX-License-Identifier: Apache-2.0

//go:build linux

package bench

import (
	"errors"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/portolan/portolan/netns"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// attach puts a program in native mode on the receiver.
func attach(t testing.TB, r *Rig, body asm.Instructions) {
	t.Helper()
	prog, err := ebpf.NewProgram(&ebpf.ProgramSpec{Type: ebpf.XDP, License: "MIT", Instructions: body})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { prog.Close() })
	err = r.Receiver.NS.Do(func() error {
		l, err := link.AttachXDP(link.XDPOptions{Program: prog, Interface: r.Receiver.Ifindex, Flags: link.XDPDriverMode})
		if err == nil {
			t.Cleanup(func() { l.Close() })
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

const xdpDrop = 1

func counters(t testing.TB, r *Rig) Counters {
	t.Helper()
	c, err := r.Counters()
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// settled reads the counters until they account for some frames, or two seconds are over.
func settled(t *testing.T, r *Rig, before Counters, frames uint64) Counters {
	t.Helper()
	deadline := time.Now().Add(2 * time.Second)
	for {
		c := counters(t, r).Since(before)
		if c.Lost()+c.Discarded() >= frames || time.Now().After(deadline) {
			return c
		}
		time.Sleep(time.Millisecond)
	}
}

// At full speed and while signals keep interrupting the kernel's loop, which then
// starts counting again, exactly Count frames are sent.
func TestLiveCountsUnderSignals(t *testing.T) {
	r := newRig(t, RigConfig{})
	attach(t, r, asm.Instructions{asm.Mov.Imm(asm.R0, xdpDrop), asm.Return()})
	g, err := NewLive(r.Live(Mix(), port))
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	before := counters(t, r)

	stop := make(chan struct{})
	var signals sync.WaitGroup
	signals.Go(func() {
		for {
			select {
			case <-stop:
				return
			case <-time.After(time.Millisecond):
			}
			tasks, _ := os.ReadDir("/proc/self/task")
			for _, task := range tasks {
				tid, _ := strconv.Atoi(task.Name())
				unix.Tgkill(os.Getpid(), tid, unix.SIGURG) // the Go runtime's own, harmless to get
			}
		}
	})
	const count = 100_000
	result := run(t, g, Load{Count: count})
	close(stop)
	signals.Wait()

	c := settled(t, r, before, count)
	if result.Sent != count || c.Discarded()+c.Lost() != count {
		t.Errorf("%+v; the receiver dropped %d, lost were %d", result, c.Discarded(), c.Lost())
	}
}

// Frames that the pair itself loses are counted once.
func TestLostCountsOnce(t *testing.T) {
	const frames = 1000
	t.Run("redirect fails", func(t *testing.T) {
		// As into a full AF_XDP ring.
		r := newRig(t, RigConfig{})
		attach(t, r, asm.Instructions{
			asm.Mov.Imm(asm.R1, 999), asm.Mov.Imm(asm.R2, 0), asm.FnRedirect.Call(), asm.Return(),
		})
		checkLost(t, r, frames, frames)
	})
	t.Run("ring full", func(t *testing.T) {
		// A receiver of its own thread that takes its time over each frame.
		r := newRig(t, RigConfig{ThreadedNAPI: true})
		attach(t, r, asm.Instructions{
			asm.Mov.Imm(asm.R1, 10_000),
			asm.Add.Imm(asm.R1, -1).WithSymbol("turn"),
			asm.JNE.Imm(asm.R1, 0, "turn"),
			asm.Mov.Imm(asm.R0, xdpDrop), asm.Return(),
		})
		g, err := NewLive(r.Live(Mix(), port))
		if err != nil {
			t.Fatal(err)
		}
		defer g.Close()
		before := counters(t, r)
		run(t, g, Load{Count: 20 * frames})
		c := settled(t, r, before, 20*frames)
		if c.Discarded() == 0 || c.Lost() == 0 || c.Lost()+c.Discarded() != 20*frames {
			t.Errorf("%d lost and %d discarded of %d: %+v", c.Lost(), c.Discarded(), 20*frames, c)
		}
	})
	t.Run("nothing is lost", func(t *testing.T) {
		r := newRig(t, RigConfig{Queues: 2})
		attach(t, r, asm.Instructions{asm.Mov.Imm(asm.R0, xdpDrop), asm.Return()})
		checkLost(t, r, frames, 0)
	})
}

// Without a receive interrupt at the other end no counter moves: the run has to tell.
func TestLiveTellsThatFramesVanish(t *testing.T) {
	r := newRig(t, RigConfig{})
	if err := r.Receiver.NS.Do(func() error { return receiveOffload(r.Receiver.Device, false) }); err != nil {
		t.Fatal(err)
	}
	g, err := NewLive(r.Live(Mix(), port))
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	if _, err := g.Run(t.Context(), Load{Count: 10}); !errors.Is(err, ErrNotTaken) {
		t.Errorf("got %v", err)
	}
}

func checkLost(t *testing.T, r *Rig, frames, want uint64) {
	t.Helper()
	g, err := NewLive(r.Live(Mix(), port))
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	before := counters(t, r)
	run(t, g, Load{Count: frames})
	c := settled(t, r, before, frames)
	if c.Lost() != want || c.Lost()+c.Discarded() != frames {
		t.Errorf("%d lost and %d discarded of %d, want %d lost: %+v", c.Lost(), c.Discarded(), frames, want, c)
	}
}

func TestRigLeavesNothing(t *testing.T) {
	if err := netns.Supported(); err != nil {
		t.Skipf("needs root: %v", err)
	}
	before := inventory(t)
	r, err := NewRig(RigConfig{Queues: 2, MTU: 9000})
	if err != nil {
		t.Fatal(err)
	}
	outlives, err := netns.Named(r.Receiver.NS.Path())
	if err != nil {
		t.Fatal(err)
	}
	for _, g := range generatorsOf(t, r) {
		run(t, g, Load{Count: 10})
		if err := g.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	if err := r.Close(); err != nil {
		t.Errorf("a second Close: %v", err)
	}
	err = outlives.Do(func() error {
		links, err := netlink.LinkList()
		if len(links) != 1 {
			t.Errorf("%d devices are left, want the loopback: %v", len(links), links)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
	if err := outlives.Close(); err != nil {
		t.Error(err)
	}
	if after := inventory(t); after != before {
		t.Errorf("before %+v, after %+v", before, after)
	}
}

func generatorsOf(t *testing.T, r *Rig) []Generator {
	t.Helper()
	live, err := NewLive(r.Live(Mix(), port))
	if err != nil {
		t.Fatal(err)
	}
	plain, err := NewUDP(r.UDP(Mix(), port))
	if err != nil {
		t.Fatal(err)
	}
	return []Generator{live, plain}
}

// things are what a test could leave on the machine or in the process.
type things struct{ devices, named, files int }

func inventory(t *testing.T) (n things) {
	t.Helper()
	links, err := netlink.LinkList()
	if err != nil {
		t.Fatal(err)
	}
	named, _ := os.ReadDir("/var/run/netns") // need not exist
	files, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return things{len(links), len(named), len(files)}
}

func BenchmarkLive(b *testing.B) {
	if err := netns.Supported(); err != nil {
		b.Skipf("needs root: %v", err)
	}
	r, err := NewRig(RigConfig{})
	if err != nil {
		b.Fatal(err)
	}
	defer r.Close()
	attach(b, r, asm.Instructions{asm.Mov.Imm(asm.R0, xdpDrop), asm.Return()})
	w := Mix()
	w.Endpoints = 1_000_000
	g, err := NewLive(r.Live(w, port))
	if err != nil {
		b.Fatal(err)
	}
	defer g.Close()
	b.ResetTimer()
	result, err := g.Run(b.Context(), Load{Count: uint64(b.N)})
	if err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(result.Rate(), "datagrams/s")
}

func BenchmarkDatagram(b *testing.B) {
	p, err := newPlan(Mix())
	if err != nil {
		b.Fatal(err)
	}
	buf := make([]byte, 0, 2048)
	b.ReportAllocs()
	for n := range uint64(b.N) {
		buf = p.appendDatagram(buf[:0], n)
	}
}
