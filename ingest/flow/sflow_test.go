// SPDX-License-Identifier: Apache-2.0

package flow

import (
	"bytes"
	"encoding/binary"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// words are 32-bit words as XDR has them.
func words(v ...uint32) (b []byte) {
	for _, w := range v {
		b = binary.BigEndian.AppendUint32(b, w)
	}
	return b
}

// item is a sample or a record: format, length, body.
func item(format uint32, body ...[]byte) []byte {
	b := bytes.Join(body, nil)
	return append(words(format, uint32(len(b))), b...)
}

// sflowDatagram is a datagram of the agent 192.0.2.1 with a count of samples.
func sflowDatagram(count uint32, samples ...[]byte) []byte {
	b := words(5, 1, 0xc0000201, 3, 256, 10_000, count) // version, IPv4, address, sub-agent, sequence, uptime, samples
	return append(b, bytes.Join(samples, nil)...)
}

// flowSample is one of one packet in 100 that came in by interface 7, where it
// was sampled, and went out by 8.
func flowSample(records ...[]byte) []byte { return flowSampleCount(uint32(len(records)), records...) }

func flowSampleCount(count uint32, records ...[]byte) []byte {
	head := words(1, 7, 100, 500, 0, 7, 8, count) // sequence, source, rate, pool, drops, in, out, records
	return item(1, head, bytes.Join(records, nil))
}

// rawRecord is the record of a sampled header: protocol, a frame of 1,000 bytes
// of which 4 were stripped, and the header with its padding.
func rawRecord(protocol uint32, header []byte) []byte {
	return item(1, words(protocol, 1000, 4, uint32(len(header))), header, make([]byte, -len(header)&3))
}

func tcpFrame() []byte { return raw(macs + "0800" + v4("06") + tcp) }

func ipv4Record() []byte {
	return item(3, words(60, 17, 0x0a000003, 0xc0000204, 5003, 54, 0x02, 0))
}

func ipv6Record() []byte {
	return item(4, words(80, 6), raw(v6src+v6dst), words(50000, 8443, 0x12, 0))
}

func ethernetRecord() []byte {
	return item(2, words(118), raw("020000000001 0000 020000000002 0000 00000800"))
}

func switchRecord(vlan uint32) []byte { return item(1001, words(vlan, 0, 9, 0)) }

// fromSample is what every record of flowSample has.
var fromSample = Record{
	InIf: 7, OutIf: 8, Direction: Ingress, Sampling: 100, Present: HasInIf | HasOutIf,
}

// sampled is a record of flowSample with the fields of all parts.
func sampled(parts ...Record) Record {
	r := sum(append(parts, fromSample)...)
	r.InIf, r.OutIf, r.Direction, r.Sampling = 7, 8, Ingress, 100
	return r
}

// sflowSeed is a datagram and what must be decoded of it.
type sflowSeed struct {
	name     string
	in       []byte
	drop     Drop
	want     []Record
	counters int
	problems ProblemSet
}

func sflowSeeds() []sflowSeed {
	tcpRecord := sampled(hasMACs, hasIPv4, hasTCP)
	good := flowSample(rawRecord(1, tcpFrame()))
	bare := flowSample()
	counter := item(2, words(1, 7, 0))
	one := []Record{tcpRecord}
	two := []Record{tcpRecord, tcpRecord}
	none := []Record{sampled()}
	lengthOf := func(item []byte, length uint32) []byte { // format, and another length
		b := bytes.Clone(item)
		binary.BigEndian.PutUint32(b[4:], length)
		return b
	}
	wide := func(class, index, inFormat, in, outFormat, out uint32) []byte {
		return item(3, words(1, class, index, 100, 500, 0, inFormat, in, outFormat, out, 0))
	}
	narrow := func(source, in, out uint32) []byte {
		return item(1, words(1, source, 100, 500, 0, in, out, 0))
	}
	ifs := func(d Direction, in, out uint32) []Record {
		r := onePacket
		r.Sampling, r.Direction, r.InIf, r.OutIf = 100, d, in, out
		if in != 0 {
			r.Present |= HasInIf
		}
		if out != 0 {
			r.Present |= HasOutIf
		}
		return []Record{r}
	}
	asIPv4 := Record{
		Bytes: 60, Proto: 17, SrcPort: 5003, DstPort: 54, TCPFlags: 2,
		Src: [16]byte{10: 0xff, 11: 0xff, 12: 10, 15: 3}, Dst: [16]byte{10: 0xff, 11: 0xff, 12: 192, 14: 2, 15: 4},
		Present: HasBytes | HasProto | HasSrcPort | HasDstPort | HasTCPFlags | HasSrc | HasDst,
	}
	asIPv6 := Record{
		Bytes: 80, Proto: 6, SrcPort: 50000, DstPort: 8443, TCPFlags: 0x12, Src: hasIPv6.Src, Dst: hasIPv6.Dst,
		Present: asIPv4.Present,
	}
	length := func(n uint64) Record { return Record{Bytes: n, Present: HasBytes} }
	return []sflowSeed{
		{"good, a sampled header", sflowDatagram(1, good), NoDrop, one, 0, 0},
		{"good, two samples amid counters and others", sflowDatagram(5, counter, good, item(5, words(1, 2, 3)), good,
			item(4, words(1, 0, 7, 0))), NoDrop, two, 2, 0},
		{"good, IPv6 agent", append(words(5, 2, 0x20010db8, 0, 0, 9, 3, 256, 10_000, 1), good...), NoDrop, one, 0, 0},
		{"good, samples and records of enterprises", sflowDatagram(2, item(4413<<12|1, words(1)),
			flowSample(item(9<<12|1, words(1)), rawRecord(1, tcpFrame()))), NoDrop, one, 0, 0},
		{"a sample of nothing", sflowDatagram(1, bare), NoDrop, none, 0, 0},

		// The header.
		{"version in 2 bytes", []byte{0, 0}, DropShortHeader, nil, 0, 0},
		{"version in 3 bytes", []byte{0, 0, 0}, DropShortHeader, nil, 0, 0},
		{"version 2", append(words(2), sflowDatagram(1, good)[4:]...), DropUnknownVersion, nil, 0, 0},
		{"version 4", words(4), DropUnknownVersion, nil, 0, 0},
		{"version 5 alone", words(5), DropShortHeader, nil, 0, 0},
		{"a header less a byte", sflowDatagram(0)[:27], DropShortHeader, nil, 0, 0},
		{"a header of IPv6 less a byte", words(5, 2, 0, 0, 0, 9, 3, 256, 10_000, 1)[:39], DropShortHeader, nil, 0, 0},
		{"bad 58: agent's address type 3", append(words(5, 3), sflowDatagram(1, good)[8:]...), DropUnknownVersion, nil, 0, 0},
		{"bad 58: agent's address type 0 has no bytes", append(words(5, 0, 3, 256, 10_000, 1), good...), NoDrop, one, 0, set(ProblemAgentAddress)},
		{"bad 58: next hop's address type 3", sflowDatagram(1, flowSample(item(1002, words(3, 1, 24, 24)), rawRecord(1, tcpFrame()))),
			NoDrop, one, 0, 0},

		// Samples.
		{"count 0", sflowDatagram(0), NoDrop, nil, 0, set(ProblemCountZero)},
		{"count 0 before a sample", sflowDatagram(0, good), NoDrop, nil, 0, set(ProblemCountZero, ProblemTrailingBytes)},
		{"bad 55: sample count 0xffffffff", sflowDatagram(0xffffffff, good), NoDrop, one, 0, set(ProblemCountPastEnd)},
		{"sample count 0xffffffff of nothing", sflowDatagram(0xffffffff), NoDrop, nil, 0, set(ProblemCountPastEnd)},
		{"half a frame of a sample", sflowDatagram(2, good, words(1)), NoDrop, one, 0, set(ProblemCountPastEnd)},
		{"a sample more than the count", sflowDatagram(1, good, good), NoDrop, one, 0, set(ProblemTrailingBytes)},
		{"bad 57: sample length 0", sflowDatagram(2, item(1), good), NoDrop, one, 0, set(ProblemSampleLength)},
		{"bad 57: counter sample length 0", sflowDatagram(2, item(2), good), NoDrop, one, 0, set(ProblemSampleLength)},
		{"bad 57: expanded counter sample of 12 bytes", sflowDatagram(2, item(4, words(1, 2, 3)), good), NoDrop, one, 0, set(ProblemSampleLength)},
		{"bad 57: unknown sample length 0", sflowDatagram(2, item(6), good), NoDrop, one, 0, 0},
		{"bad 57: sample length -1", sflowDatagram(2, lengthOf(good, 0xffffffff), good), NoDrop, nil, 0, set(ProblemSampleLength)},
		{"bad 57: sample length 0x80000000", sflowDatagram(2, lengthOf(good, 0x80000000), good), NoDrop, nil, 0, set(ProblemSampleLength)},
		{"bad 57: sample length past the end by one", sflowDatagram(1, lengthOf(good, uint32(len(good)-7))), NoDrop, nil, 0, set(ProblemSampleLength)},
		{"bad 57: sample length not a multiple of four", sflowDatagram(2, lengthOf(good, uint32(len(good)-9)), good), NoDrop, one, 0, set(ProblemSampleLength)},
		{"bad 57: and the padding is missing", sflowDatagram(1, lengthOf(good[:len(good)-1], uint32(len(good)-9))), NoDrop, nil, 0, set(ProblemSampleLength)},
		{"flow sample of 28 bytes", sflowDatagram(1, item(1, make([]byte, 28))), NoDrop, nil, 0, set(ProblemSampleLength)},
		{"expanded flow sample of 40 bytes", sflowDatagram(1, item(3, make([]byte, 40))), NoDrop, nil, 0, set(ProblemSampleLength)},
		{"more flow samples than records", sflowDatagram(MaxRecords+1, bytes.Repeat(bare, MaxRecords+1)), NoDrop,
			slices.Repeat(none, MaxRecords), 0, set(ProblemTooManyRecords)},
		{"as many flow samples as records, and counters", sflowDatagram(MaxRecords+1, bytes.Repeat(bare, MaxRecords), counter), NoDrop,
			slices.Repeat(none, MaxRecords), 1, 0},

		// What a sample's head tells.
		{"sampled where it went out", sflowDatagram(1, narrow(8, 7, 8)), NoDrop, ifs(Egress, 7, 8), 0, 0},
		{"sampled elsewhere", sflowDatagram(1, narrow(9, 7, 8)), NoDrop, ifs(NoDirection, 7, 8), 0, 0},
		{"sampled in a VLAN", sflowDatagram(1, narrow(1<<24|7, 7, 8)), NoDrop, ifs(NoDirection, 7, 8), 0, 0},
		{"interfaces unknown", sflowDatagram(1, narrow(0, 0, 0)), NoDrop, ifs(NoDirection, 0, 0), 0, 0},
		{"from the device itself, dropped", sflowDatagram(1, narrow(7, 0x3fffffff, 1<<30|2)), NoDrop, ifs(NoDirection, 0, 0), 0, 0},
		{"to several interfaces", sflowDatagram(1, narrow(7, 7, 2<<30|7)), NoDrop, ifs(Ingress, 7, 0), 0, 0},
		{"back where it came from", sflowDatagram(1, narrow(7, 7, 7)), NoDrop, ifs(Ingress, 7, 7), 0, 0},
		{"expanded", sflowDatagram(1, wide(0, 1<<24, 0, 1<<30, 0, 1<<24)), NoDrop, ifs(Egress, 1<<30, 1<<24), 0, 0},
		{"expanded, to the device itself", sflowDatagram(1, wide(0, 7, 0, 7, 0, 0xffffffff)), NoDrop, ifs(Ingress, 7, 0), 0, 0},
		{"expanded, itself as in the compact form", sflowDatagram(1, wide(0, 7, 0, 0x3fffffff, 0, 7)), NoDrop, ifs(Egress, 0, 7), 0, 0},
		{"expanded, dropped", sflowDatagram(1, wide(2, 7, 0, 7, 1, 7)), NoDrop, ifs(NoDirection, 7, 0), 0, 0},
		{"sampling rate 0", sflowDatagram(1, item(1, words(1, 7, 0, 0, 0, 7, 0, 0))), NoDrop,
			[]Record{{Packets: 1, InIf: 7, Direction: Ingress, Present: HasPackets | HasInIf}}, 0, set(ProblemSamplingRate)},

		// A sample's records.
		{"bad 56: record count 0xffffffff", sflowDatagram(1, flowSampleCount(0xffffffff, rawRecord(1, tcpFrame()))), NoDrop, one, 0, set(ProblemSampleLength)},
		{"record count 0xffffffff of nothing", sflowDatagram(2, flowSampleCount(0xffffffff), good), NoDrop, append(none, one...), 0, set(ProblemSampleLength)},
		{"bytes behind the last record", sflowDatagram(1, flowSampleCount(1, rawRecord(1, tcpFrame()), words(1, 2))), NoDrop, one, 0, 0},
		{"record past its sample", sflowDatagram(2, flowSample(lengthOf(rawRecord(1, tcpFrame()), 80)), good), NoDrop, append(none, one...), 0, set(ProblemSampleLength)},
		{"record length not a multiple of four", sflowDatagram(1, flowSample(lengthOf(item(1002, words(1, 2)), 7), rawRecord(1, tcpFrame()))),
			NoDrop, none, 0, set(ProblemSampleLength)},
		{"records too short", sflowDatagram(1, flowSample(item(1, words(1, 2, 3)), item(2, words(1, 2, 3, 4)), item(3, words(1, 2, 3, 4, 5, 6, 7)),
			item(4, make([]byte, 52)), item(1001, words(5, 6, 7)), rawRecord(1, tcpFrame()))), NoDrop, one, 0, set(ProblemSampleLength)},
		{"bad 59: header size more than the record", sflowDatagram(1, flowSample(item(1, words(1, 1000, 4, 55), tcpFrame()), switchRecord(5))), NoDrop,
			[]Record{sampled(hasVLAN(5))}, 0, set(ProblemSampleLength)},
		{"bad 59: header size 0xffffffff", sflowDatagram(1, flowSample(item(1, words(1, 1000, 4, 0xffffffff), tcpFrame()))), NoDrop, none, 0, set(ProblemSampleLength)},
		{"header size 0", sflowDatagram(1, flowSample(rawRecord(1, nil))), NoDrop, []Record{sampled(length(996))}, 0, set(ProblemHeaderCut)},
		{"bad 60: AS path of 0x40000001", sflowDatagram(1, flowSample(
			item(1003, words(1, 0xc0000201, 1, 2, 3, 1, 2, 0x40000001, 4)), rawRecord(1, tcpFrame()))), NoDrop, one, 0, 0},
		{"bad 61: communities of 0xffffffff", sflowDatagram(1, flowSample(
			item(1003, words(1, 0xc0000201, 1, 2, 3, 0, 0xffffffff, 4)), rawRecord(1, tcpFrame()))), NoDrop, one, 0, 0},
		{"bad 62: MPLS without a bottom", sflowDatagram(1, flowSample(rawRecord(13, bytes.Repeat(raw("000100ee"), 20)), ipv4Record())), NoDrop,
			[]Record{sampled(asIPv4)}, 0, set(ProblemHeaderCut)},
		{"bad 63: header cut in the addresses", sflowDatagram(1, flowSample(rawRecord(1, tcpFrame()[:33]))), NoDrop,
			[]Record{sampled(hasMACs, without(without4(hasIPv4), HasDst), hasProto(6))}, 0, set(ProblemHeaderCut)},
		{"bad 63: 802.11", sflowDatagram(1, flowSample(rawRecord(15, raw("8842 eeee")))), NoDrop, []Record{sampled(length(996))}, 0, 0},

		// What the agent made of the packet.
		{"IPv4 data", sflowDatagram(1, flowSample(ipv4Record())), NoDrop, []Record{sampled(asIPv4)}, 0, 0},
		{"IPv6 data", sflowDatagram(1, flowSample(ipv6Record())), NoDrop, []Record{sampled(asIPv6)}, 0, 0},
		{"Ethernet data", sflowDatagram(1, flowSample(ethernetRecord())), NoDrop, []Record{sampled(hasMACs, length(100))}, 0, 0},
		{"Ethernet data without padding", sflowDatagram(1, flowSample(item(2, words(118), raw("020000000001 020000000002 00000800")))),
			NoDrop, []Record{sampled(hasMACs, length(100))}, 0, 0},
		{"Ethernet and IPv4 data, VLAN", sflowDatagram(1, flowSample(switchRecord(5), ethernetRecord(), ipv4Record())), NoDrop,
			[]Record{sampled(hasMACs, asIPv4, hasVLAN(5))}, 0, 0},
		{"the header counts first", sflowDatagram(1, flowSample(ipv4Record(), switchRecord(5), rawRecord(1, raw(macs+"8100 0064 0800"+v4("06")+tcp)))), NoDrop,
			[]Record{sampled(hasMACs, hasVLAN(100), hasIPv4, hasTCP)}, 0, 0},
		{"the data tells what a cut header does not", sflowDatagram(1, flowSample(rawRecord(1, tcpFrame()[:12]), ipv4Record())), NoDrop,
			[]Record{sampled(hasMACs, asIPv4)}, 0, set(ProblemHeaderCut)},
		{"the first header counts", sflowDatagram(1, flowSample(rawRecord(1, tcpFrame()), rawRecord(11, raw(v4("11")+udp)))), NoDrop, one, 0, 0},
		{"VLAN 0 and 4095 are none", sflowDatagram(2, flowSample(switchRecord(0)), flowSample(switchRecord(4095))), NoDrop, append(none, none...), 0, 0},
		{"VLAN 0xffffffff is none", sflowDatagram(1, flowSample(switchRecord(0xffffffff))), NoDrop, none, 0, 0},

		// Bytes of layer 3 where the packet does not tell them.
		{"length from the frame", sflowDatagram(1, flowSample(rawRecord(1, raw(macs+"8100 0064 0800"+strings.Replace(v4("11"), "0064", "0000", 1)+udp)))), NoDrop,
			[]Record{sampled(hasMACs, hasVLAN(100), without(hasIPv4, HasBytes), hasUDP, length(1000-4-18))}, 0, 0},
		{"length of what is not IP", sflowDatagram(1, flowSample(rawRecord(1, raw(macs+"0806")))), NoDrop,
			[]Record{sampled(hasMACs, length(1000-4-14))}, 0, 0},
		{"stripped more than the frame", sflowDatagram(1, flowSample(item(1, words(1, 10, 0xffffffff, 14), raw(macs+"0806 0000")))), NoDrop,
			[]Record{sampled(hasMACs)}, 0, 0},
	}
}

// without4 is hasIPv4 without its destination.
func without4(r Record) Record {
	r.Dst = [16]byte{}
	return r
}

func TestSFlow(t *testing.T) {
	d := NewDecoder(NewStreams(Limits{}))
	for _, s := range sflowSeeds() {
		t.Run(s.name, func(t *testing.T) {
			b, problems, drop := agreeSFlow(t, d, s.in)
			if drop != s.drop {
				t.Fatalf("drop %q, want %q", drop, s.drop)
			}
			if d := cmp.Diff(s.want, b.Records); d != "" && len(s.want)+len(b.Records) > 0 {
				t.Errorf("records (-want +got):\n%s", d)
			}
			if b.CounterSamples != s.counters || problems != s.problems {
				t.Errorf("%d counter samples, problems %b; want %d, %b", b.CounterSamples, problems, s.counters, s.problems)
			}
		})
	}
}

// Bad 63: a sampled header of 128 bytes, cut at each of them.
func TestSFlowHeaderCutAnywhere(t *testing.T) {
	frame := append(raw(macs+"8100 0064 86dd"+v6("00")+"0600 eeeeeeeeeeee"+tcp), make([]byte, 52)...)
	d := NewDecoder(NewStreams(Limits{}))
	for n := range 128 {
		b, problems, _ := agreeSFlow(t, d, sflowDatagram(1, flowSample(rawRecord(1, frame[:n]))))
		const whole = 14 + 4 + 40 + 8 + 14
		if len(b.Records) != 1 || problems.Has(ProblemHeaderCut) != (n < whole) {
			t.Errorf("%d bytes: %d records, problems %b", n, len(b.Records), problems)
		}
	}
}

// A datagram cut at each byte: never more than there is, and something said of
// each piece that is not whole.
func TestSFlowCutAnywhere(t *testing.T) {
	in := sflowDatagram(2, flowSample(rawRecord(1, tcpFrame()), switchRecord(5)), flowSample(ipv4Record()))
	d := NewDecoder(NewStreams(Limits{}))
	for n := range in {
		b, problems, drop := agreeSFlow(t, d, in[:n])
		if drop == NoDrop && (problems == 0 || len(b.Records) > 1) {
			t.Errorf("%d bytes: %d records, problems %b", n, len(b.Records), problems)
		}
	}
}

// FuzzSFlow holds the decoder against the slow one.
func FuzzSFlow(f *testing.F) {
	for _, s := range sflowSeeds() {
		if len(s.in) <= 4096 {
			f.Add(s.in)
		}
	}
	d := NewDecoder(NewStreams(Limits{}))
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) >= 2 {
			b = with(b, 0, 0)
		}
		agreeSFlow(t, d, b)
	})
}

// agreeSFlow decodes b, which stands amid other bytes, with both decoders.
func agreeSFlow(t *testing.T, d *Decoder, b []byte) (Batch, ProblemSet, Drop) {
	t.Helper()
	const margin, filler = 64, 0x01
	ring := bytes.Repeat([]byte{filler}, margin+len(b)+margin)
	in := ring[margin : margin+len(b)]
	copy(in, b)

	wantM, want, wantCounters, wantProblems, wantDrop := slowSFlow(b)
	// Old values in the records must not show through.
	old := oldRecord()
	places := min(MaxRecords, len(b)/(sflowFrame+flowSampleSize)+2)
	for i := range d.records[:places] {
		d.records[i] = old
	}
	batch, drop := decodeSFlow(d, in)
	if drop != wantDrop {
		t.Fatalf("drop %q, the slow decoder says %q", drop, wantDrop)
	}
	if len(want) != len(batch.Records) || len(want) > 0 && !slices.Equal(want, batch.Records) {
		t.Errorf("records (-slow +fast):\n%s", cmp.Diff(want, batch.Records))
	}
	if batch.CounterSamples != wantCounters || d.Problems() != wantProblems {
		t.Errorf("%d counter samples, problems %b; the slow decoder says %d, %b",
			batch.CounterSamples, d.Problems(), wantCounters, wantProblems)
	}
	for i := len(batch.Records); i < places; i++ {
		if d.records[i] != old {
			t.Fatalf("record %d is not one of the %d, but was written to", i, len(batch.Records))
		}
	}
	if !bytes.Equal(in, b) || bytes.Count(ring[:margin], []byte{filler}) != margin ||
		bytes.Count(ring[margin+len(b):], []byte{filler}) != margin {
		t.Error("the decoder wrote into the datagram or around it")
	}
	m := batch.Message
	m.body = nil
	if !reflect.DeepEqual(m, wantM) {
		t.Errorf("header: slow %+v, fast %+v", wantM, m)
	}
	return batch, d.Problems(), drop
}

// decodeSFlow decodes a datagram as Begin and Next do, without a stream.
func decodeSFlow(d *Decoder, in []byte) (b Batch, drop Drop) {
	drop = d.Begin([16]byte{}, 0, in)
	if drop == NoDrop {
		b.Message = d.next
		d.samples(&b)
	}
	return b, drop
}

func TestSFlowThroughDecoder(t *testing.T) {
	d := NewDecoder(NewStreams(Limits{}))
	source := [16]byte{10: 0xff, 11: 0xff, 12: 192, 14: 2, 15: 1}
	in := sflowDatagram(3, flowSample(rawRecord(1, tcpFrame())), item(2, words(1, 7, 0)), flowSample(ipv4Record()))
	for range 3 {
		if drop := d.Begin(source, 42, in); drop != NoDrop {
			t.Fatal(drop)
		}
		b := d.Next()
		if b == nil || b.Version != SFlow5 || b.Domain != 3 || b.Sequence != 256 || b.Uptime != 10_000 || b.Count != 3 ||
			b.Agent != source || b.ExportTime != 0 || b.Arrival != 42 || b.CounterSamples != 1 || len(b.Records) != 2 {
			t.Fatalf("batch %+v", b)
		}
		if d.Next() != nil || d.Problems() != 0 {
			t.Errorf("another batch, or problems %b", d.Problems())
		}
	}
}

// What AppendSFlow encodes comes back, as far as a sample holds it.
func TestSFlowRoundTrip(t *testing.T) {
	h := SFlowHeader{Agent: addressOf("2001:db8::9"), SubAgent: 7, Sequence: 8, Uptime: 9, Sampling: 64}
	for _, expanded := range []bool{false, true} {
		h.Expanded = expanded
		recs := []Record{
			{Src: addressOf("10.0.0.1"), Dst: addressOf("10.0.0.2"), SrcPort: 1024, DstPort: 443, Proto: 6, TCPFlags: 2, Bytes: 900, InIf: 1, OutIf: 2},
			{Src: addressOf("2001:db8::1"), Dst: addressOf("2001:db8::2"), SrcPort: 53, DstPort: 5353, Proto: 17, Bytes: 1200, InIf: 3},
			{Src: addressOf("10.0.0.1"), Dst: addressOf("10.0.0.2"), DstPort: 0x0800, Proto: 1, Bytes: 84, OutIf: 4},
		}
		d := NewDecoder(NewStreams(Limits{}))
		b, drop := decodeSFlow(d, AppendSFlow(nil, h, recs))
		if drop != NoDrop || d.Problems() != 0 || len(b.Records) != len(recs) {
			t.Fatalf("drop %q, problems %b, %d records", drop, d.Problems(), len(b.Records))
		}
		if b.Agent != h.Agent || b.Domain != 7 || b.Sequence != 8 || b.Uptime != 9 {
			t.Errorf("header %+v", b.Message)
		}
		for i, want := range recs {
			want.Packets, want.Sampling = 1, 64
			want.SrcMAC, want.DstMAC = hasMACs.SrcMAC, hasMACs.DstMAC
			got := b.Records[i]
			got.Direction, got.Present = NoDirection, 0
			if d := cmp.Diff(want, got); d != "" {
				t.Errorf("record %d (-want +got):\n%s", i, d)
			}
		}
	}
}

func TestSFlowNoAllocation(t *testing.T) {
	in := sflowDatagram(4, flowSample(rawRecord(1, tcpFrame()), switchRecord(5)), item(2, words(1, 7, 0)),
		flowSample(ethernetRecord(), ipv4Record()), flowSample(ipv6Record()))
	d := NewDecoder(NewStreams(Limits{}))
	if n := testing.AllocsPerRun(100, func() {
		d.Begin([16]byte{15: 1}, baseTime, in)
		if b := d.Next(); len(b.Records) != 3 || d.Next() != nil {
			t.Errorf("%d records", len(b.Records))
		}
	}); n != 0 {
		t.Errorf("decoding allocates %v times", n)
	}
}

// BenchmarkSFlow decodes a datagram of seven samples with headers of 128 bytes,
// which is what fits an Ethernet frame, from a cache-warm buffer.
func BenchmarkSFlow(b *testing.B) {
	const samples = 7
	recs := make([]Record, samples)
	for i := range recs {
		recs[i] = sampleRecord(i)
		recs[i].Proto = 6
	}
	in := AppendSFlow(nil, SFlowHeader{Agent: addressOf("192.0.2.1"), Sampling: 100}, recs)
	d := NewDecoder(NewStreams(Limits{}))
	b.ReportAllocs()
	b.SetBytes(int64(len(in)))
	for b.Loop() {
		d.Begin([16]byte{15: 1}, baseTime, in)
		for d.Next() != nil {
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/samples, "ns/record")
}
