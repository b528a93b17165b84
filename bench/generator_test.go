// SPDX-License-Identifier: Apache-2.0

//go:build linux

package bench

import (
	"bytes"
	"context"
	"errors"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/portolan/portolan/netns"
)

const port = 2055

func newRig(t *testing.T, c RigConfig) *Rig {
	t.Helper()
	if err := netns.Supported(); err != nil {
		t.Skipf("needs root: %v", err)
	}
	r, err := NewRig(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
	return r
}

// generators makes both kinds for a workload.
func generators(t *testing.T, r *Rig, w Workload) map[string]Generator {
	t.Helper()
	live, err := NewLive(r.Live(w, port))
	if err != nil {
		t.Fatal(err)
	}
	plain, err := NewUDP(r.UDP(w, port))
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]Generator{"live": live, "udp": plain}
	t.Cleanup(func() {
		for name, g := range all {
			if err := g.Close(); err != nil {
				t.Errorf("close %s: %v", name, err)
			}
		}
	})
	return all
}

// socket opens a socket at the receiver that holds some thousand datagrams and
// gives up after two seconds without any.
func socket(t *testing.T, r *Rig, domain, kind, protocol int, bind unix.Sockaddr) int {
	t.Helper()
	fd := -1
	err := r.Receiver.NS.Do(func() (err error) {
		if fd, err = unix.Socket(domain, kind|unix.SOCK_CLOEXEC, protocol); err != nil {
			return err
		}
		return errors.Join(
			unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 64<<20),
			unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 2}),
			unix.Bind(fd, bind))
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	return fd
}

func udpSocket(t *testing.T, r *Rig) int {
	return socket(t, r, unix.AF_INET, unix.SOCK_DGRAM, 0, &unix.SockaddrInet4{Port: port, Addr: r.Receiver.Addr.As4()})
}

// read returns the next packet, or nil where there is none.
func read(t *testing.T, fd int, flags int) []byte {
	t.Helper()
	b := make([]byte, 2048)
	n, _, err := unix.Recvfrom(fd, b, flags)
	if errors.Is(err, unix.EAGAIN) {
		return nil
	}
	if err != nil {
		t.Fatal(err)
	}
	return b[:n]
}

func run(t *testing.T, g Generator, l Load) Result {
	t.Helper()
	r, err := g.Run(t.Context(), l)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// Three runs of each generator, more frames than the kernel has buffers for, so
// that each is used again: every datagram arrives once, in order, byte for byte
// what the workload says.
func TestGeneratorsSendTheWorkload(t *testing.T) {
	odd := Workload{
		Endpoints: 3, Prefix: netip.MustParsePrefix("172.16.5.0/29"), External: netip.MustParsePrefix("203.0.113.0/28"),
		Records: 7, BothPercent: 100, ServicePort: 443, Services: 1, ClientPort: 65535, Clients: 1, Seed: 1 << 63,
	}
	million := Mix()
	million.Endpoints, million.Seed = 1_000_000, 42
	for name, w := range map[string]Workload{
		"default": {}, "million": million, "one record": {Records: 1, NonePercent: 100}, "odd": odd,
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, RigConfig{})
			fd := udpSocket(t, r)
			for kind, g := range generators(t, r, w) {
				checkGenerator(t, kind, g, w, fd)
			}
		})
	}
}

func checkGenerator(t *testing.T, kind string, g Generator, w Workload, fd int) {
	t.Helper()
	next := uint64(0)
	for _, count := range []uint64{1, 200, 300} {
		result := run(t, g, Load{Count: count, Rate: 5000})
		if result.First != next || result.Sent != count {
			t.Fatalf("%s: %+v, want %d from %d on", kind, result, count, next)
		}
		for range count {
			want, err := w.Datagram(nil, next)
			if err != nil {
				t.Fatal(err)
			}
			got := read(t, fd, 0)
			if got == nil {
				t.Fatalf("%s: datagram %d never came", kind, next)
			}
			m, records := decode(t, got)
			if m.Sequence != uint32(next)*uint32(len(records)) {
				t.Fatalf("%s: sequence %d in datagram %d", kind, m.Sequence, next)
			}
			if !bytes.Equal(got, want) {
				t.Fatalf("%s: datagram %d is\n% x, want\n% x", kind, next, got, want)
			}
			next++
		}
	}
	if sent, err := g.Sent(); sent != next || err != nil {
		t.Errorf("%s: sent %d in all, %v, want %d", kind, sent, err, next)
	}
	if extra := read(t, fd, unix.MSG_DONTWAIT); extra != nil {
		t.Errorf("%s: one datagram too many: % x", kind, extra)
	}
}

// The whole frames, headers and all, as they leave the device.
func TestLiveFrames(t *testing.T) {
	r := newRig(t, RigConfig{Queues: 2})
	const ipv4Frames = 0x0008 // ETH_P_IP, big endian
	fd := socket(t, r, unix.AF_PACKET, unix.SOCK_RAW, ipv4Frames, &unix.SockaddrLinklayer{Protocol: ipv4Frames, Ifindex: r.Receiver.Ifindex})
	udpSocket(t, r) // so that nothing answers
	w := Mix()
	config := r.Live(w, port)
	config.CPUs = []int{0}
	g, err := NewLive(config)
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	run(t, g, Load{Count: 400})
	for n := range uint64(400) {
		payload, _ := w.Datagram(nil, n)
		want := frame(r.Sender.MAC, r.Receiver.MAC, config.Src, config.Dst, payload)
		if got := read(t, fd, 0); !bytes.Equal(got, want) {
			t.Fatalf("frame %d is\n% x, want\n% x", n, got, want)
		}
	}
}

func TestGeneratorsStop(t *testing.T) {
	r := newRig(t, RigConfig{})
	udpSocket(t, r)
	for kind, g := range generators(t, r, Mix()) {
		start := time.Now()
		result := run(t, g, Load{Count: 1 << 40, Duration: 100 * time.Millisecond})
		if took := time.Since(start); result.Sent == 0 || took > 5*time.Second {
			t.Errorf("%s: %+v in %v, asked for 100 ms", kind, result, took)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		stopped, err := g.Run(ctx, Load{Count: 1 << 40, Rate: 1000})
		cancel()
		if !errors.Is(err, context.DeadlineExceeded) || stopped.Sent == 0 || stopped.Sent > 100 {
			t.Errorf("%s: %+v, %v; asked for 50 ms at 1000/s", kind, stopped, err)
		}
		if again := run(t, g, Load{Count: 10}); again.Sent != 10 || again.First != result.Sent+stopped.Sent {
			t.Errorf("%s: %+v after %d and %d", kind, again, result.Sent, stopped.Sent)
		}
	}
}

func TestRateOfOneSecond(t *testing.T) {
	r := newRig(t, RigConfig{})
	udpSocket(t, r)
	for kind, g := range generators(t, r, Mix()) {
		result := run(t, g, Load{Count: 20_000, Rate: 20_000, Duration: 2 * time.Second})
		t.Logf("%s: %d datagrams at %.0f/s, asked for 20000/s", kind, result.Sent, result.Rate())
		if limit := 20_000 * 1.2; result.Rate() > limit {
			t.Errorf("%s: faster than asked for", kind)
		}
	}
}

func TestUDPTellsThatNobodyListens(t *testing.T) {
	r := newRig(t, RigConfig{})
	g, err := NewUDP(r.UDP(Mix(), port))
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	if result := run(t, g, Load{Count: 100, Rate: 2000}); result.Sent != 100 || result.Refused == 0 {
		t.Errorf("%+v, want 100 sent and some refused", result)
	}
}

func TestLiveRefusesWhatIsNoVeth(t *testing.T) {
	r := newRig(t, RigConfig{})
	config := r.Live(Mix(), port)
	config.Interface = "lo"
	if _, err := NewLive(config); !errors.Is(err, ErrNotVeth) {
		t.Errorf("got %v", err)
	}
	config.Interface = "none0"
	if _, err := NewLive(config); err == nil || errors.Is(err, ErrNotVeth) {
		t.Errorf("got %v", err)
	}
}
