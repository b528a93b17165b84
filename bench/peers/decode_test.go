// SPDX-License-Identifier: Apache-2.0

package peers

import (
	"fmt"
	"syscall"
	"testing"
	"time"
)

// TestSameRecords holds that both collectors find every flow that was put into
// the packets, so that their times are for the same work.
func TestSameRecords(t *testing.T) {
	for _, f := range formats {
		t.Run(f.name, func(t *testing.T) {
			collectors := map[string]collector{"goflow2": newGoflow2(t), "portolan": newPortolan()}
			for name, c := range collectors {
				if f.templates != nil {
					c.flows(t, f.templates)
				}
				for number, packet := range f.packets() {
					got, want := c.flows(t, packet), f.records(number)
					if len(got) != len(want) {
						t.Fatalf("%s: %d records in packet %d, want %d", name, len(got), number, len(want))
					}
					for i := range want {
						if got[i] != want[i] {
							t.Fatalf("%s: record %d of packet %d is\n%+v, want\n%+v", name, i, number, got[i], want[i])
						}
					}
				}
			}
		})
	}
}

// BenchmarkDecode decodes one packet an operation. What to compare is ns/record,
// or, on a machine that others load, cpu-ns/record: the CPU time that the process
// took, garbage collection on other cores with it.
func BenchmarkDecode(b *testing.B) {
	for _, f := range formats {
		packets := f.packets()
		for _, by := range []struct {
			name string
			collector
		}{{"portolan", newPortolan()}, {"goflow2", newGoflow2(b)}} {
			b.Run(fmt.Sprintf("format=%s/by=%s", f, by.name), func(b *testing.B) {
				if f.templates != nil {
					if err := by.decode(f.templates); err != nil {
						b.Fatal(err)
					}
				}
				b.ReportAllocs()
				i, begin := 0, cpuTime(b)
				for b.Loop() {
					if err := by.decode(packets[i]); err != nil {
						b.Fatal(err)
					}
					i = (i + 1) % packetsPerFormat
				}
				cpu := cpuTime(b) - begin
				records := float64(b.N) * float64(f.perPacket)
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/records, "ns/record")
				b.ReportMetric(float64(cpu.Nanoseconds())/records, "cpu-ns/record")
			})
		}
	}
}

// cpuTime is the CPU time that the process has taken so far.
func cpuTime(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
