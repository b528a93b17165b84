// SPDX-License-Identifier: Apache-2.0

//go:build linux

package xsk

import (
	"bytes"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// holdings counts what a leak would show in.
type holdings struct{ mappings, sockets, files int }

func held(t *testing.T) (h holdings) {
	t.Helper()
	maps, err := os.ReadFile("/proc/self/maps")
	must(t, err)
	h.mappings = bytes.Count(maps, []byte("\n"))
	h.sockets = bytes.Count(maps, []byte("socket:["))
	files, err := os.ReadDir("/proc/self/fd")
	must(t, err)
	h.files = len(files)
	return h
}

// wantNoGrowth allows the mappings a handful more: the Go runtime maps memory and
// thread stacks when it likes. A leak shows as one for each cycle at least.
func wantNoGrowth(t *testing.T, before, after holdings, cycles int) {
	t.Helper()
	if after.sockets != before.sockets || after.files > before.files || after.mappings >= before.mappings+cycles {
		t.Errorf("after %d cycles %+v, before %+v: something leaks", cycles, after, before)
	}
}

func TestCloseFreesTheQueue(t *testing.T) {
	const cycles = 20
	r := newRig(t, 0)
	cycle := func(seq uint64) {
		s := r.open(t, Config{Mode: Copy, Frames: 256})
		if s.Mode() != Copy || s.Queue() != 0 {
			t.Fatalf("mode %s, queue %d, want copy, 0", s.Mode(), s.Queue())
		}
		r.exchange(t, s, seq)
		must(t, r.xsks.Delete(uint32(0)))
		before, err := s.Stats()
		must(t, err)
		must(t, s.Close())
		must(t, s.Close())
		after, err := s.Stats()
		must(t, err)
		if after != before || after.Received == 0 {
			t.Errorf("stats after Close %+v, want the last ones %+v", after, before)
		}
		s.Wake()
		if err := s.Wait(time.Second); !errors.Is(err, ErrClosed) {
			t.Errorf("Wait after Close: %v, want ErrClosed", err)
		}
	}
	cycle(1_000_000) // the first one also makes the runtime's own descriptors and threads
	before := held(t)
	for i := range uint64(cycles) {
		cycle(i)
	}
	wantNoGrowth(t, before, held(t), cycles)
}

// TestFailedOpenLeavesNothing tries everything that can go wrong, first as a
// caller sees it, and then again and again to see whether anything piles up. A
// busy queue needs no repetition: Open itself tries some twenty times.
func TestFailedOpenLeavesNothing(t *testing.T) {
	free := newRig(t, 0)
	bound := newRig(t, 0)
	bound.open(t, Config{Mode: Copy, Frames: 64})
	small := Config{Mode: Copy, Frames: 64}
	for _, tc := range []struct {
		name string
		rig  *rig
		c    Config
		drop int // a capability that the thread gives up first
		want error
		says string
	}{
		{"zero-copy on a veth", free, Config{Mode: ZeroCopy}, -1, unix.EOPNOTSUPP, "no zero-copy"},
		{"no such queue", free, Config{Mode: Copy, Queue: 99}, -1, unix.EINVAL, "no such queue"},
		{"no such device", free, Config{Mode: Copy, Ifindex: 9999}, -1, unix.ENODEV, "no interface"},
		{"bound queue", bound, small, -1, unix.EBUSY, "another socket"},
		{"no CAP_NET_RAW", free, small, unix.CAP_NET_RAW, unix.EPERM, "CAP_NET_RAW"},
		{"little memory to lock", free, Config{Mode: Copy}, unix.CAP_IPC_LOCK, unix.ENOBUFS, "RLIMIT_MEMLOCK"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if tc.want == unix.ENOBUFS {
				limitLockedMemory(t, 1<<20)
			}
			fail := func() {
				began := time.Now()
				err := tc.rig.to.Do(func() error { // on a thread that ends with it
					if tc.drop >= 0 {
						must(t, dropCapability(tc.drop))
					}
					s, err := tc.rig.openHere(tc.c)
					if err == nil {
						s.Close()
					}
					return err
				})
				if !errors.Is(err, tc.want) || !strings.Contains(err.Error(), tc.says) {
					t.Fatalf("error %v; want %v, and to read %q", err, tc.want, tc.says)
				}
				if took := time.Since(began); took > busyLimit+time.Second {
					t.Errorf("it took %s to fail", took)
				}
			}
			fail()
			const times = 10
			before := held(t)
			for range times {
				fail()
				if tc.want == unix.EBUSY {
					break
				}
			}
			wantNoGrowth(t, before, held(t), times)
		})
	}
}

// Cleaning up after a failed Open must not touch a socket that works.
func TestFailedOpensBesideGoodOnes(t *testing.T) {
	good, bad := newRig(t, 0), newRig(t, 0)
	stop, failed := make(chan struct{}), make(chan int, 1)
	go func() {
		n := 0
		defer func() { failed <- n }()
		for {
			select {
			case <-stop:
				return
			default:
			}
			if _, err := bad.tryOpen(Config{Mode: Copy, Frames: 256, Queue: 99}); !errors.Is(err, unix.EINVAL) {
				t.Errorf("error %v, want EINVAL", err)
				return
			}
			n++
		}
	}()
	for i := range uint64(10) {
		s := good.open(t, Config{Mode: Copy, Frames: 256})
		good.exchange(t, s, i)
		must(t, good.xsks.Delete(uint32(0)))
		must(t, s.Close())
	}
	close(stop)
	if n := <-failed; n < 5 {
		t.Errorf("only %d opens failed beside 10 good ones, too few to show anything", n)
	}
}

// A child that inherited the descriptor would keep the queue bound.
func TestDescriptorsAreNotInherited(t *testing.T) {
	r := newRig(t, 0)
	s := r.open(t, Config{Mode: Copy, Frames: 64})
	for _, fd := range []int{s.FD(), s.wakeFD} {
		flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0)
		must(t, err)
		if flags&unix.FD_CLOEXEC == 0 {
			t.Errorf("descriptor %d survives exec", fd)
		}
	}
}

func TestConfigIsChecked(t *testing.T) {
	good := Config{Ifindex: 1, Mode: Copy, Frames: 64, FrameSize: 2048}
	must(t, good.check())
	for name, spoil := range map[string]func(*Config){
		"index":      func(c *Config) { c.Ifindex = 0 },
		"queue":      func(c *Config) { c.Queue = -1 },
		"mode":       func(c *Config) { c.Mode = 2 },
		"few frames": func(c *Config) { c.Frames = 32 },
		"odd frames": func(c *Config) { c.Frames = 100 },
		"frame size": func(c *Config) { c.FrameSize = 3000 },
	} {
		c := good
		spoil(&c)
		if _, err := Open(c); err == nil {
			t.Errorf("%s: %+v was accepted", name, c)
		}
	}
}

func TestLinkDownAndUpAndGone(t *testing.T) {
	r := newRig(t, 0)
	s := r.open(t, Config{Mode: Copy, Frames: 256})
	r.exchange(t, s, 1)
	for range 2 {
		r.setLink(t, r.to, "vb", false)
		waitFor(t, s, ErrLinkDown)
		// Down already: it rests, but not for all of the second.
		began := time.Now()
		if err := s.Wait(time.Second); !errors.Is(err, ErrLinkDown) {
			t.Fatalf("Wait while the link is down: %v, want ErrLinkDown", err)
		}
		if took := time.Since(began); took < maxDownWait || took > 5*maxDownWait {
			t.Errorf("Wait rested for %s while the link was down, want about %s", took, maxDownWait)
		}
		began = time.Now()
		s.Wake()
		if err := s.Wait(time.Second); !errors.Is(err, ErrLinkDown) || time.Since(began) > maxDownWait/2 {
			t.Errorf("Wait after Wake while the link is down: %v after %s, want ErrLinkDown at once", err, time.Since(began))
		}
		r.setLink(t, r.to, "vb", true)
		waitFor(t, s, nil)
		r.exchange(t, s, 2)
	}
	must(t, r.from.Do(func() error {
		l, err := netlink.LinkByName("va")
		if err != nil {
			return err
		}
		return netlink.LinkDel(l)
	}))
	waitFor(t, s, ErrGone)
	st, err := s.Stats()
	must(t, err)
	must(t, s.Close())
	if after, err := s.Stats(); err != nil || after != st || after.Received == 0 {
		t.Errorf("stats after the device has gone %+v, %v, want %+v", after, err, st)
	}
}

func TestWake(t *testing.T) {
	r := newRig(t, 0)
	s := r.open(t, Config{Mode: Copy, Frames: 64})
	woken := make(chan time.Duration, 1)
	go func() {
		began := time.Now()
		if err := s.Wait(deadline); err != nil {
			t.Errorf("Wait: %v", err)
		}
		woken <- time.Since(began)
	}()
	s.Wake() // before Wait blocks or after, it counts
	if took := <-woken; took > deadline/2 {
		t.Errorf("Wait returned after %s, want at once", took)
	}
	began := time.Now()
	must(t, s.Wait(30*time.Millisecond)) // the wake-up is used up
	if took := time.Since(began); took < 20*time.Millisecond {
		t.Errorf("Wait(30ms) returned after %s with nothing to receive", took)
	}
}

func TestLongestFrame(t *testing.T) {
	r := newRig(t, 3000)
	s := r.open(t, Config{Mode: Copy, Frames: 64})
	frame := make([]byte, 2048)
	numbered(frame, 0)
	longest := MaxFrame(2048)
	for _, n := range []int{longest + 1, 2048, longest} { // only the last one fits
		took, err := r.send([][]byte{frame[:n]})
		must(t, err)
		if took != 1 {
			t.Fatal("the device did not take the frame")
		}
	}
	must(t, s.Wait(deadline))
	l := s.Receive(64)
	if l.Len() != 1 || len(l.Frame(0)) != longest {
		t.Fatalf("received %d frames, want one of %d bytes", l.Len(), longest)
	}
	l.End()
	st, err := s.Stats()
	must(t, err)
	if redirected, _ := r.verdicts(t); redirected != 3 || st.Dropped != 2 || st.FillEmpty != 0 || st.Received != 1 {
		t.Errorf("%d redirected, %+v, want 3, and 2 dropped", redirected, st)
	}
}

func TestSocketAllocatesNothing(t *testing.T) {
	r := newRig(t, 0)
	s := r.open(t, Config{Mode: Copy, Frames: 4096})
	must(t, r.sendNumbered(2000, 0, make(chan struct{}), closedChannel()))
	var sum, frames int
	allocs := testing.AllocsPerRun(1000, func() {
		if err := s.Wait(0); err != nil {
			t.Fatal(err)
		}
		l := s.Receive(2)
		for i := range l.Len() {
			sum += len(l.Frame(i))
			frames++
		}
		l.End()
	})
	if allocs != 0 {
		t.Errorf("%v allocations for Wait, Receive, Frame and End, want none", allocs)
	}
	if frames != 2000 || sum < frames*minLen {
		t.Errorf("%d frames of %d bytes seen, want 2000", frames, sum)
	}
	if idle := testing.AllocsPerRun(100, func() { must(t, s.Wait(0)) }); idle != 0 {
		t.Errorf("%v allocations for a Wait(0) with nothing there, want none", idle)
	}
}

func closedChannel() chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}

// waitFor waits until Wait returns want.
func waitFor(t *testing.T, s *Socket, want error) {
	t.Helper()
	var err error
	for until := time.Now().Add(deadline); time.Now().Before(until); {
		if err = s.Wait(10 * time.Millisecond); errors.Is(err, want) {
			return
		}
	}
	t.Fatalf("Wait still returns %v after %s, want %v", err, deadline, want)
}

// dropCapability takes a capability from the calling thread.
func dropCapability(number int) error {
	h := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var d [2]unix.CapUserData
	if err := unix.Capget(&h, &d[0]); err != nil {
		return err
	}
	d[number/32].Effective &^= 1 << (number % 32)
	return unix.Capset(&h, &d[0])
}

func limitLockedMemory(t *testing.T, bytes uint64) {
	t.Helper()
	var was unix.Rlimit
	must(t, unix.Getrlimit(unix.RLIMIT_MEMLOCK, &was))
	must(t, unix.Setrlimit(unix.RLIMIT_MEMLOCK, &unix.Rlimit{Cur: bytes, Max: was.Max}))
	t.Cleanup(func() { unix.Setrlimit(unix.RLIMIT_MEMLOCK, &was) }) //nolint:errcheck // back to what it was
}
