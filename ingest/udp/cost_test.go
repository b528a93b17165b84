// SPDX-License-Identifier: Apache-2.0

//go:build linux

package udp

import (
	"net/netip"
	"testing"
	"time"
)

func TestReceiveAllocatesNothing(t *testing.T) {
	s := listen(t, Config{Addr: netip.MustParseAddrPort("[::]:0"), Exporters: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}})
	conn := dial(t, s, "127.0.0.1")
	payload := make([]byte, 1464)
	total := 0
	if allocs := testing.AllocsPerRun(200, func() {
		for range 4 {
			if _, err := conn.Write(payload); err != nil {
				t.Fatal(err)
			}
		}
		for left := 4; left > 0; {
			n, err := s.Receive(patience)
			if err != nil || n == 0 {
				t.Fatal(n, err)
			}
			for i := range n {
				p, _ := s.Datagram(i)
				total += len(p)
			}
			left -= n
		}
		if n, err := s.Receive(time.Microsecond); n != 0 || err != nil { // the waiting path too
			t.Fatal(n, err)
		}
	}); allocs != 0 {
		t.Errorf("%v allocations per round", allocs)
	}
	if total != 201*4*1464 {
		t.Errorf("%d bytes received", total)
	}
}

// BenchmarkReceive takes full batches of 64 full v5 datagrams over loopback; only
// the receiving side is timed.
func BenchmarkReceive(b *testing.B) {
	s := listen(b, local("127.0.0.1:0"))
	conn := dial(b, s, "127.0.0.1")
	payload := make([]byte, 1464)
	var spent time.Duration
	datagrams := 0
	b.ReportAllocs()
	for b.Loop() {
		for range defaultBatch {
			send(b, conn, payload)
		}
		start := time.Now()
		n, err := s.Receive(0)
		spent += time.Since(start)
		if err != nil || n != defaultBatch {
			b.Fatal(n, err)
		}
		datagrams += n
	}
	b.ReportMetric(float64(spent.Nanoseconds())/float64(datagrams), "ns/datagram")
}
