// SPDX-License-Identifier: Apache-2.0

package flow

import (
	"math"
	"math/big"
	"net/netip"
	"time"
)

// slowKind is what the values of an element are, as far as a Record needs them.
type slowKind int

const (
	slowUnused slowKind = iota
	slowUnsigned
	slowIPv4
	slowIPv6
	slowMAC
	slowNTP   // dateTimeMicroseconds and dateTimeNanoseconds, RFC 7011 section 6.1.9 and 6.1.10
	slowFrame // bytes of a packet
)

// slowKinds are the elements that make a Record, by IANA's registry.
var slowKinds = map[uint16]slowKind{
	8: slowIPv4, 12: slowIPv4, 27: slowIPv6, 28: slowIPv6,
	7: slowUnsigned, 11: slowUnsigned, 180: slowUnsigned, 181: slowUnsigned, 182: slowUnsigned, 183: slowUnsigned,
	32: slowUnsigned, 139: slowUnsigned, 176: slowUnsigned, 177: slowUnsigned, 178: slowUnsigned, 179: slowUnsigned,
	4: slowUnsigned, 6: slowUnsigned,
	2: slowUnsigned, 86: slowUnsigned, 298: slowUnsigned, 24: slowUnsigned, 299: slowUnsigned,
	1: slowUnsigned, 85: slowUnsigned, 231: slowUnsigned, 23: slowUnsigned, 352: slowUnsigned, 232: slowUnsigned,
	10: slowUnsigned, 252: slowUnsigned, 14: slowUnsigned, 253: slowUnsigned,
	56: slowMAC, 81: slowMAC, 80: slowMAC, 57: slowMAC,
	58: slowUnsigned, 243: slowUnsigned, 59: slowUnsigned, 254: slowUnsigned,
	61: slowUnsigned, 233: slowUnsigned, 239: slowUnsigned,
	152: slowUnsigned, 150: slowUnsigned, 154: slowNTP, 156: slowNTP, 22: slowUnsigned, 158: slowUnsigned,
	153: slowUnsigned, 151: slowUnsigned, 155: slowNTP, 157: slowNTP, 21: slowUnsigned, 159: slowUnsigned,
	322: slowUnsigned, 323: slowUnsigned, 324: slowNTP, 325: slowNTP, 160: slowUnsigned,
	161: slowUnsigned, 162: slowUnsigned,
	34: slowUnsigned, 50: slowUnsigned, 48: slowUnsigned, 302: slowUnsigned,
	305: slowUnsigned, 306: slowUnsigned, 309: slowUnsigned, 310: slowUnsigned,
	104: slowFrame, 313: slowFrame, 315: slowFrame,
}

// slowReverseKinds are those of enterprise 29305, RFC 5103 section 6.1.
var slowReverseKinds = map[uint16]slowKind{
	1: slowUnsigned, 2: slowUnsigned, 6: slowUnsigned, 85: slowUnsigned, 86: slowUnsigned,
	150: slowUnsigned, 152: slowUnsigned, 154: slowNTP, 156: slowNTP,
}

// slowWidthOK tells whether a field can be what its element is. What is not
// used may be anything.
func slowWidthOK(v Version, f slowField) bool {
	var kind slowKind
	switch {
	case f.element.enterprise == 0 && f.element.id == 40005 && v == V9:
		kind = slowUnsigned // NF_F_FW_EVENT of the ASA, later firewallEvent
	case f.element.enterprise == 0:
		kind = slowKinds[f.element.id]
	case f.element.enterprise == 29305:
		kind = slowReverseKinds[f.element.id]
	}
	switch kind {
	case slowUnsigned:
		return 1 <= f.width && f.width <= 8
	case slowIPv4:
		return f.width == 4
	case slowIPv6:
		return f.width == 16
	case slowMAC:
		return f.width == 6
	case slowNTP:
		return f.width == 8
	}
	return true
}

// slowValues are those of one record, asked by element. Of an element that
// occurs several times the last one counts: they stand in the order of the
// packet's treatment (RFC 7011 section 8).
type slowValues []slowValue

func (v slowValues) find(enterprise uint32, id uint16) (b []byte, at int) {
	for i := len(v) - 1; i >= 0; i-- {
		if v[i].element == (slowElement{enterprise, id}) {
			return v[i].bytes, i
		}
	}
	return nil, -1
}

func (v slowValues) has(id uint16) bool { _, at := v.find(0, id); return at >= 0 }

// number is the value of the first of the elements that the record has.
func (v slowValues) number(ids ...uint16) (n uint64, ok bool) { return v.numberOf(0, ids...) }

func (v slowValues) numberOf(enterprise uint32, ids ...uint16) (n uint64, ok bool) {
	for _, id := range ids {
		if b, at := v.find(enterprise, id); at >= 0 {
			return slowNumber(b), true
		}
	}
	return 0, false
}

func slowNumber(b []byte) uint64 { return new(big.Int).SetBytes(b).Uint64() }

// slowRecord makes a Record of a data record.
func slowRecord(h Message, told *slowTold, v slowValues) (r Record, p ProblemSet) {
	give := func(has Fields, ok bool) bool {
		if ok {
			r.Present |= has
		}
		return ok
	}
	src, ok := v.address(8, 27)
	if give(HasSrc, ok) {
		r.Src = src
	}
	dst, ok := v.address(12, 28)
	if give(HasDst, ok) {
		r.Dst = dst
	}
	if n, ok := v.number(4); give(HasProto, ok) {
		r.Proto = uint8(n)
	}
	if n, ok := v.number(6); give(HasTCPFlags, ok) {
		r.TCPFlags = uint8(n)
	}
	if n, ok := v.number(2, 86, 298, 24); give(HasPackets, ok) {
		r.Packets = n
	}
	if n, ok := v.number(1, 85, 231, 23, 352); give(HasBytes, ok) {
		r.Bytes = n
	}
	if n, ok := v.number(10, 252); give(HasInIf, ok) {
		r.InIf = uint32(n)
	}
	if n, ok := v.number(14, 253); give(HasOutIf, ok) {
		r.OutIf = uint32(n)
	}
	if n, ok := v.number(58, 243, 59, 254); give(HasVLAN, ok) {
		r.VLAN = uint16(n)
	}
	event, ok := v.number(233)
	if !ok && h.Version == V9 {
		event, ok = v.number(40005)
	}
	if give(HasEvent, ok) {
		r.Event = uint8(event)
	}
	if n, ok := v.number(61); ok && n <= 1 {
		r.Direction = Direction(n + 1)
	}
	if a, ok := v.mac(56, 81); give(HasSrcMAC, ok) {
		r.SrcMAC = a
	}
	if a, ok := v.mac(80, 57); give(HasDstMAC, ok) {
		r.DstMAC = a
	}
	v.ports(&r)
	v.reverse(&r)
	v.times(&r, h, told)
	v.initiator(&r)
	r.Sampling = v.sampling(told)
	return r, v.packet(&r)
}

// address takes an address from the IPv4 and the IPv6 element. Where a record
// has both, the later one counts, unless it is the address of no one.
func (v slowValues) address(ip4, ip6 uint16) (a [16]byte, ok bool) {
	b4, at4 := v.find(0, ip4)
	b6, at6 := v.find(0, ip6)
	var a4, a6 netip.Addr
	if at4 >= 0 {
		a4, _ = netip.AddrFromSlice(b4)
	}
	if at6 >= 0 {
		a6, _ = netip.AddrFromSlice(b6)
	}
	switch {
	case at4 < 0 && at6 < 0:
		return a, false
	case at4 < 0:
		return a6.As16(), true
	case at6 < 0:
		return a4.As16(), true
	case at6 > at4 && !a6.IsUnspecified(), at4 > at6 && a4.IsUnspecified():
		return a6.As16(), true
	}
	return a4.As16(), true
}

func (v slowValues) mac(ids ...uint16) (a [6]byte, ok bool) {
	id, ok := v.firstOf(ids...)
	if ok {
		b, _ := v.find(0, id)
		a = [6]byte(b)
	}
	return a, ok
}

// ports takes the ports. Of ICMP, type and code stand in the place of the
// destination port, where it is not told otherwise.
func (v slowValues) ports(r *Record) {
	if n, ok := v.number(7, 182, 180); ok {
		r.SrcPort, r.Present = uint16(n), r.Present|HasSrcPort
	}
	if n, ok := v.number(11, 183, 181); ok {
		r.DstPort, r.Present = uint16(n), r.Present|HasDstPort
	}
	if r.DstPort != 0 || r.Proto != 1 && r.Proto != 58 {
		return
	}
	if n, ok := v.number(32, 139); ok {
		r.DstPort, r.Present = uint16(n), r.Present|HasDstPort
	}
	if r.DstPort != 0 {
		return
	}
	kind, ok := v.number(176, 178)
	code, okCode := v.number(177, 179)
	if ok && okCode {
		r.DstPort, r.Present = uint16(uint8(kind))<<8|uint16(uint8(code)), r.Present|HasDstPort
	}
}

// reverse takes the counters of the way back, RFC 5103.
func (v slowValues) reverse(r *Record) {
	if n, ok := v.number(299); ok {
		r.ReversePackets, r.Present = n, r.Present|HasReverse
	} else if n, ok := v.numberOf(29305, 2, 86); ok {
		r.ReversePackets, r.Present = n, r.Present|HasReverse
	}
	if n, ok := v.number(232); ok {
		r.ReverseBytes, r.Present = n, r.Present|HasReverse
	} else if n, ok := v.numberOf(29305, 1, 85); ok {
		r.ReverseBytes, r.Present = n, r.Present|HasReverse
	}
	if n, ok := v.numberOf(29305, 6); ok {
		r.ReverseTCPFlags, r.Present = uint8(n), r.Present|HasReverse
	}
}

// times takes start and end from the first kind of time that the record has.
func (v slowValues) times(r *Record, h Message, told *slowTold) {
	start, hasStart := v.time(h, told, 152, 150, 154, 156, 22, 158)
	end, hasEnd := v.time(h, told, 153, 151, 155, 157, 21, 159)
	if _, ok := v.firstOf(152, 150, 154, 156, 22, 158); !ok {
		// The moment at which all of it was observed.
		start, hasStart = v.time(h, told, 323, 322, 324, 325)
		if _, ok := v.firstOf(153, 151, 155, 157, 21, 159); !ok {
			end, hasEnd = start, hasStart
		}
	}
	for _, unit := range []struct {
		id   uint16
		long time.Duration
	}{{161, time.Millisecond}, {162, time.Microsecond}} {
		n, ok := v.number(unit.id)
		if !ok {
			continue
		}
		length := new(big.Int).Mul(new(big.Int).SetUint64(n), big.NewInt(int64(unit.long)))
		if !length.IsInt64() {
			break // longer than times reach
		}
		switch {
		case hasStart && !hasEnd:
			end, hasEnd = slowFits(length.Add(length, big.NewInt(start)))
		case hasEnd && !hasStart:
			start, hasStart = slowFits(length.Sub(big.NewInt(end), length))
		}
		break
	}
	if hasStart {
		r.Start, r.Present = start, r.Present|HasStart
	}
	if hasEnd {
		r.End, r.Present = end, r.Present|HasEnd
	}
}

// firstOf is the first of the elements that the record has.
func (v slowValues) firstOf(ids ...uint16) (id uint16, ok bool) {
	for _, id := range ids {
		if v.has(id) {
			return id, true
		}
	}
	return 0, false
}

// time is the value of the first of the elements that the record has, in
// nanoseconds since 1970, where it can be told.
func (v slowValues) time(h Message, told *slowTold, ids ...uint16) (ns int64, ok bool) {
	id, ok := v.firstOf(ids...)
	if !ok {
		return 0, false
	}
	b, _ := v.find(0, id)
	n := new(big.Int).SetBytes(b)
	times := func(unit time.Duration) *big.Int { return new(big.Int).Mul(n, big.NewInt(int64(unit))) }
	switch id {
	case 150, 151, 322:
		return slowFits(times(time.Second))
	case 152, 153, 323:
		return slowFits(times(time.Millisecond))
	case 154, 155, 324:
		return slowNTPTime(b, true)
	case 156, 157, 325:
		return slowNTPTime(b, false)
	case 158, 159:
		before := time.Duration(uint32(n.Uint64())) * time.Microsecond
		return time.Unix(0, h.ExportTime).Add(-before).UnixNano(), true
	}
	// Milliseconds of the exporter's uptime, which is a count of 32 bits.
	if h.Version == V9 {
		return slowUptime(time.Unix(0, h.ExportTime), h.Uptime, uint32(n.Uint64())).UnixNano(), true
	}
	boot, ok := v.number(160)
	if !ok {
		boot, ok = told.boot, told.hasBoot
	}
	if !ok {
		return 0, false
	}
	if boot > math.MaxInt64/uint64(time.Millisecond) {
		return 0, false
	}
	up := h.ExportTime/int64(time.Millisecond) - int64(boot)
	return slowUptime(time.Unix(0, h.ExportTime), uint32(up), uint32(n.Uint64())).UnixNano(), true
}

func slowFits(n *big.Int) (int64, bool) {
	if !n.IsInt64() {
		return 0, false
	}
	return n.Int64(), true
}

// slowNTPTime reads a timestamp of RFC 7011 section 6.1.9 or 6.1.10: seconds
// since 1900 and a fraction of a second, of which microseconds ignore 11 bits.
// 0 is no time (RFC 5905 section 6).
func slowNTPTime(b []byte, micro bool) (ns int64, ok bool) {
	seconds, fraction := slowNumber(b[:4]), slowNumber(b[4:])
	if micro {
		fraction -= fraction % 2048
	}
	from := time.Date(1900, 1, 1, 0, 0, 0, 0, time.UTC).Unix()
	part := fraction * uint64(time.Second) >> 32
	return time.Unix(from+int64(seconds), int64(part)).UnixNano(), seconds != 0 || fraction != 0
}

// packet reads the bytes of a packet that the record holds, from Ethernet or from
// IP on, for what the record does not tell itself.
func (v slowValues) packet(r *Record) (p ProblemSet) {
	if id, ok := v.firstOf(315, 104); ok {
		frame, _ := v.find(0, id)
		p = v.section(r, 1, frame)
	}
	packet, at := v.find(0, 313)
	switch {
	case at < 0:
	case len(packet) == 0:
		p |= v.section(r, 0, nil).With(ProblemHeaderCut)
	case packet[0]/16 == 4:
		p |= v.section(r, 11, packet)
	case packet[0]/16 == 6:
		p |= v.section(r, 12, packet)
	default:
		p |= v.section(r, 0, packet)
	}
	return p
}

// section gives the record what it lacks of what the beginning of a packet tells.
func (slowValues) section(r *Record, protocol int, b []byte) ProblemSet {
	var held Record
	_, p := slowHeader(protocol, b, &held)
	for has, take := range map[Fields]func(){
		HasSrc: func() { r.Src = held.Src }, HasDst: func() { r.Dst = held.Dst },
		HasSrcPort: func() { r.SrcPort = held.SrcPort }, HasDstPort: func() { r.DstPort = held.DstPort },
		HasProto: func() { r.Proto = held.Proto }, HasTCPFlags: func() { r.TCPFlags = held.TCPFlags },
		HasSrcMAC: func() { r.SrcMAC = held.SrcMAC }, HasDstMAC: func() { r.DstMAC = held.DstMAC },
		HasVLAN: func() { r.VLAN = held.VLAN }, HasPackets: func() { r.Packets = held.Packets },
		HasBytes: func() { r.Bytes = held.Bytes },
	} {
		if held.Present&has != 0 && r.Present&has == 0 {
			take()
			r.Present |= has
		}
	}
	return p
}

// initiator tells which end opened the connection, where the record does.
func (v slowValues) initiator(r *Record) {
	if n, ok := v.number(239); ok {
		switch n {
		case 1:
			r.Initiator = SourceEnd
		case 2:
			r.Initiator = DestinationEnd
		}
		return
	}
	packets, _ := v.firstOf(2, 86, 298, 24)
	bytes, _ := v.firstOf(1, 85, 231, 23, 352)
	if packets == 298 || bytes == 231 || v.has(299) || v.has(232) {
		r.Initiator = SourceEnd
		return
	}
	if r.ReversePackets == 0 || r.Present&HasStart == 0 {
		return
	}
	back, ok := v.reverseStart()
	switch {
	case !ok:
	case back > r.Start:
		r.Initiator = SourceEnd
	case back < r.Start:
		r.Initiator = DestinationEnd
	}
}

// reverseStart is when the first packet of the way back came.
func (v slowValues) reverseStart() (int64, bool) {
	for _, id := range []uint16{152, 150, 154, 156} {
		b, at := v.find(29305, id)
		if at < 0 {
			continue
		}
		n := new(big.Int).SetBytes(b)
		switch id {
		case 152:
			return slowFits(n.Mul(n, big.NewInt(int64(time.Millisecond))))
		case 150:
			return slowFits(n.Mul(n, big.NewInt(int64(time.Second))))
		}
		return slowNTPTime(b, id == 154)
	}
	return 0, false
}

// sampling is the rate of the record: its own, or that of the sampler that it
// names, or that of all of the stream. 0 says nothing.
func (v slowValues) sampling(told *slowTold) uint32 {
	var own uint32
	rate, ok := v.number(34, 50)
	switch {
	case ok:
		own = uint32(rate)
	case v.has(305) && !v.has(306):
		interval, _ := v.number(305)
		own = uint32(interval)
	case v.has(305):
		own = v.packetRate()
	case v.has(309) && v.has(310):
		own = v.populationRate()
	}
	if own != 0 {
		return own
	}
	if id, ok := v.number(48, 302); ok && told.samplers[id] != 0 {
		return told.samplers[id]
	}
	return told.all()
}

// packetRate is the rate of so many packets taken and so many left out, RFC
// 5477 section 8.2.
func (v slowValues) packetRate() uint32 {
	interval, _ := v.number(305)
	space, _ := v.number(306)
	sum := new(big.Int).Add(new(big.Int).SetUint64(interval), new(big.Int).SetUint64(space))
	return slowRate(sum, interval)
}

// populationRate is that of so many packets taken out of so many.
func (v slowValues) populationRate() uint32 {
	size, _ := v.number(309)
	population, _ := v.number(310)
	return slowRate(new(big.Int).SetUint64(population), size)
}

// slowRate is of/taken to the nearest whole number, 0 where there is none of 32 bits.
func slowRate(of *big.Int, taken uint64) uint32 {
	if taken == 0 {
		return 0
	}
	// 2 × of + taken, over 2 × taken, cut.
	by := new(big.Int).SetUint64(taken)
	n := new(big.Int).Lsh(of, 1)
	n.Add(n, by).Div(n, by.Lsh(by, 1))
	if !n.IsUint64() || n.Uint64() > math.MaxUint32 {
		return 0
	}
	return uint32(n.Uint64())
}
