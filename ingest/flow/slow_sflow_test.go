// SPDX-License-Identifier: Apache-2.0

package flow

import "math"

// slowSFlow is the obvious decoder of sFlow, written from the structs of
// sflow.org's "sFlow Version 5", section 5, in their order.
func slowSFlow(b []byte) (m Message, recs []Record, counters int, p ProblemSet, drop Drop) {
	if len(b) == 0 {
		return m, nil, 0, 0, DropEmpty
	}
	x := &cursor{b: b}
	whole := attempt(func() {
		if x.u32() != 5 {
			drop = DropUnknownVersion
			return
		}
		switch x.u32() {
		case 0:
			p = p.With(ProblemAgentAddress)
		case 1:
			m.Agent = x.ip(4)
		case 2:
			m.Agent = x.ip(16)
			if m.Agent == ([16]byte{}) {
				p = p.With(ProblemAgentAddress)
			}
		default:
			drop = DropUnknownVersion
			return
		}
		m.Version = SFlow5
		m.Domain = uint32(x.u32())
		m.Sequence = uint32(x.u32())
		m.Uptime = uint32(x.u32())
		m.Count = min(x.u32(), math.MaxInt32)
	})
	if !whole {
		drop = DropShortHeader
	}
	if drop != NoDrop {
		return Message{}, nil, 0, 0, drop
	}
	if m.Count == 0 {
		p = p.With(ProblemCountZero)
	}
	for i := 0; i < m.Count; i++ {
		if x.left() < 8 {
			return m, recs, counters, p.With(ProblemCountPastEnd), NoDrop
		}
		format, length := x.u32(), x.u32()
		if length > x.left() {
			return m, recs, counters, p.With(ProblemSampleLength), NoDrop
		}
		sample := &cursor{b: x.take(length)}
		if length%4 != 0 {
			x.take(min(4-length%4, x.left()))
			p = p.With(ProblemSampleLength)
			continue
		}
		switch format {
		case 1, 3:
			if len(recs) == MaxRecords {
				return m, recs, counters, p.With(ProblemTooManyRecords), NoDrop
			}
			var f slowFlow
			if !attempt(func() { f.head(sample, format == 3) }) {
				p = p.With(ProblemSampleLength)
				break
			}
			f.records(sample)
			r, problems := f.record()
			recs = append(recs, r)
			p |= problems
		case 2:
			if attempt(func() { sample.take(3 * 4) }) { // sequence, source, counters
				counters++
			} else {
				p = p.With(ProblemSampleLength)
			}
		case 4:
			if attempt(func() { sample.take(4 * 4) }) { // sequence, class, index, counters
				counters++
			} else {
				p = p.With(ProblemSampleLength)
			}
		}
	}
	if x.left() > 0 {
		p = p.With(ProblemTrailingBytes)
	}
	return m, recs, counters, p, NoDrop
}

// slowFlow is a flow sample as it was sent.
type slowFlow struct {
	class, index, rate           int
	inFormat, in, outFormat, out int
	count                        int
	problems                     ProblemSet

	headers   []slowRaw
	ethernets []slowEthernet
	packets   []slowIP
	vlans     []int
}

type slowRaw struct {
	protocol, frame, stripped int
	header                    []byte
}

type slowEthernet struct {
	length   int
	src, dst [6]byte
}

type slowIP struct {
	length, protocol, srcPort, dstPort, flags int
	src, dst                                  [16]byte
}

func (f *slowFlow) head(x *cursor, expanded bool) {
	x.u32() // sequence
	if expanded {
		f.class, f.index = x.u32(), x.u32()
	} else {
		source := x.u32()
		f.class, f.index = source/(1<<24), source%(1<<24)
	}
	f.rate = x.u32()
	x.u32() // pool
	x.u32() // drops
	if expanded {
		f.inFormat, f.in = x.u32(), x.u32()
		f.outFormat, f.out = x.u32(), x.u32()
	} else {
		in, out := x.u32(), x.u32()
		f.inFormat, f.in = in/(1<<30), in%(1<<30)
		f.outFormat, f.out = out/(1<<30), out%(1<<30)
	}
	f.count = x.u32()
}

func (f *slowFlow) records(x *cursor) {
	bad := func() { f.problems = f.problems.With(ProblemSampleLength) }
	for i := 0; i < f.count; i++ {
		if x.left() < 8 {
			bad()
			return
		}
		format, length := x.u32(), x.u32()
		if length > x.left() || length%4 != 0 {
			bad()
			return
		}
		y := &cursor{b: x.take(length)}
		if !attempt(func() { f.flowData(format, y) }) {
			bad()
		}
	}
}

func (f *slowFlow) flowData(format int, y *cursor) {
	switch format {
	case 1:
		h := slowRaw{protocol: y.u32(), frame: y.u32(), stripped: y.u32()}
		h.header = y.take(y.u32())
		f.headers = append(f.headers, h)
	case 2:
		var e slowEthernet
		padding := 0
		if y.left() >= 24 {
			padding = 2
		}
		e.length = y.u32()
		copy(e.src[:], y.take(6))
		y.take(padding)
		copy(e.dst[:], y.take(6))
		y.take(padding)
		y.u32() // type
		f.ethernets = append(f.ethernets, e)
	case 3, 4:
		size := map[int]int{3: 4, 4: 16}[format]
		var ip slowIP
		ip.length, ip.protocol = y.u32(), y.u32()
		ip.src, ip.dst = y.ip(size), y.ip(size)
		ip.srcPort, ip.dstPort, ip.flags = y.u32(), y.u32(), y.u32()
		y.u32() // TOS or priority
		f.packets = append(f.packets, ip)
	case 1001:
		vlan := y.u32()
		y.take(12) // priority, and both of the way out
		f.vlans = append(f.vlans, vlan)
	}
}

// record puts together what the sample tells: the header first, what it lacks
// from the rest.
func (f *slowFlow) record() (Record, ProblemSet) {
	p := f.problems
	r := Record{Packets: 1, Present: HasPackets, Sampling: uint32(f.rate)}
	if f.rate == 0 {
		p = p.With(ProblemSamplingRate)
	}
	known := func(format, i int) bool {
		return format == 0 && i != 0 && i != 0x3fffffff && i != 0xffffffff
	}
	if known(f.outFormat, f.out) {
		r.OutIf = uint32(f.out)
		r.Present |= HasOutIf
		if f.class == 0 && f.index == f.out {
			r.Direction = Egress
		}
	}
	if known(f.inFormat, f.in) {
		r.InIf = uint32(f.in)
		r.Present |= HasInIf
		if f.class == 0 && f.index == f.in {
			r.Direction = Ingress
		}
	}
	frame := 0
	if len(f.headers) > 0 {
		h := f.headers[0]
		below, problems := slowHeader(h.protocol, h.header, &r)
		p |= problems
		frame = max(0, h.frame-h.stripped-below)
	}
	lacks := func(field Fields) bool {
		was := r.Present
		r.Present |= field
		return was != r.Present
	}
	for _, e := range f.ethernets {
		if lacks(HasSrcMAC) {
			r.SrcMAC = e.src
		}
		if lacks(HasDstMAC) {
			r.DstMAC = e.dst
		}
		if frame == 0 {
			frame = max(0, e.length-18)
		}
	}
	for _, ip := range f.packets {
		if ip.length > 0 && lacks(HasBytes) {
			r.Bytes = uint64(ip.length)
		}
		if lacks(HasProto) {
			r.Proto = uint8(ip.protocol)
		}
		if lacks(HasSrc) {
			r.Src = ip.src
		}
		if lacks(HasDst) {
			r.Dst = ip.dst
		}
		if lacks(HasSrcPort) {
			r.SrcPort = uint16(ip.srcPort)
		}
		if lacks(HasDstPort) {
			r.DstPort = uint16(ip.dstPort)
		}
		if lacks(HasTCPFlags) {
			r.TCPFlags = uint8(ip.flags)
		}
	}
	for _, v := range f.vlans {
		if v > 0 && v < 4095 && r.Present&HasVLAN == 0 {
			r.VLAN = uint16(v)
			r.Present |= HasVLAN
		}
	}
	if frame > 0 && lacks(HasBytes) {
		r.Bytes = uint64(frame)
	}
	return r, p
}
