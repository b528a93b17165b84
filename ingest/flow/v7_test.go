// SPDX-License-Identifier: Apache-2.0

package flow

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestV7BadInputs(t *testing.T) {
	testFixedSeeds(t, fixedSeeds(7, v7HeaderSize, v7RecordSize, maxV7Records), slowV7)
}

// FuzzV7 holds the decoder against the slow one on datagrams of version 7.
func FuzzV7(f *testing.F) {
	for _, s := range fixedSeeds(7, v7HeaderSize, v7RecordSize, maxV7Records) {
		f.Add(s.in)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) >= 2 {
			agreeFixed(t, with(b, 0, 7), slowV7)
		}
	})
}

func TestV7FieldsOfOneRecord(t *testing.T) {
	in := []byte{
		0, 7, 0, 1, 0, 0, 0x27, 0x10, // version 7, count 1, uptime 10 s
		0x6a, 0x00, 0x00, 0x00, 0x1d, 0xcd, 0x65, 0x00, // 1778384896 s, 500,000,000 ns
		0, 0, 1, 0, 0xee, 0xee, 0xee, 0xee, // sequence 256, reserved
		10, 0, 0, 1, 10, 0, 0, 2, 9, 9, 9, 9, // source, destination, next hop
		0, 7, 0, 8, 0, 0, 0, 12, 0, 0, 0x0d, 0x48, // interfaces, 12 packets, 3400 bytes
		0, 0, 0x03, 0xe8, 0, 0, 0x23, 0x28, // first at 1 s, last at 9 s
		0x9c, 0x40, 0x01, 0xbb, 0xee, 0x1b, 6, 0xee, // ports, flags, TCP flags, TCP, TOS
		0xee, 0xee, 0xee, 0xee, 24, 16, 0xee, 0xee, // AS numbers, masks, flags
		0xee, 0xee, 0xee, 0xee, // bypassed router
	}
	var m Message
	if d := m.Parse(in); d != NoDrop {
		t.Fatal(d)
	}
	recs, problems := m.Append(nil)
	export := int64(1778384896_500_000_000)
	if m.Version != V7 || m.ExportTime != export || m.Uptime != 10_000 || m.Count != 1 || problems != 0 ||
		m.Sequence != 256 || m.Domain != 0 {
		t.Errorf("header %+v, problems %b", m, problems)
	}
	if d := cmp.Diff([]Record{fixedRecord(export)}, recs); d != "" {
		t.Error(d)
	}
}

// The beginning of a datagram of fprobe 1.1, as in TestV1FromFprobe; the count
// was 27.
func TestV7FromFprobe(t *testing.T) {
	in := raw("0007 0001 3e800bb8 6b05978d 0009db70 0000001c 00000000" +
		"7f000001 7f000001 00000000 0000 0000 00000003 000000cf 3e7ff9bb 3e7ff9bb" +
		"a047 9c42 00 00 11 00 0000 0000 00 00 0000 00000000")
	checkFprobe(t, in, 207, 41031)
}

func TestV7NoAllocation(t *testing.T) {
	fixedNoAllocation(t, fixedDatagram(7, maxV7Records), maxV7Records)
}

func BenchmarkV7(b *testing.B) { benchmarkFixed(b, fixedDatagram(7, maxV7Records), maxV7Records) }
