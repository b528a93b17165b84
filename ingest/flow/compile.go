// SPDX-License-Identifier: Apache-2.0

package flow

import "unsafe"

// Offsets of Record's fields that an op writes to. Every one is below 128.
const (
	toSrc             = uint8(unsafe.Offsetof(Record{}.Src))
	toDst             = uint8(unsafe.Offsetof(Record{}.Dst))
	toSrcPort         = uint8(unsafe.Offsetof(Record{}.SrcPort))
	toDstPort         = uint8(unsafe.Offsetof(Record{}.DstPort))
	toProto           = uint8(unsafe.Offsetof(Record{}.Proto))
	toTCPFlags        = uint8(unsafe.Offsetof(Record{}.TCPFlags))
	toDirection       = uint8(unsafe.Offsetof(Record{}.Direction))
	toInitiator       = uint8(unsafe.Offsetof(Record{}.Initiator))
	toSampling        = uint8(unsafe.Offsetof(Record{}.Sampling))
	toStart           = uint8(unsafe.Offsetof(Record{}.Start))
	toEnd             = uint8(unsafe.Offsetof(Record{}.End))
	toPackets         = uint8(unsafe.Offsetof(Record{}.Packets))
	toBytes           = uint8(unsafe.Offsetof(Record{}.Bytes))
	toReversePackets  = uint8(unsafe.Offsetof(Record{}.ReversePackets))
	toReverseBytes    = uint8(unsafe.Offsetof(Record{}.ReverseBytes))
	toInIf            = uint8(unsafe.Offsetof(Record{}.InIf))
	toOutIf           = uint8(unsafe.Offsetof(Record{}.OutIf))
	toSrcMAC          = uint8(unsafe.Offsetof(Record{}.SrcMAC))
	toDstMAC          = uint8(unsafe.Offsetof(Record{}.DstMAC))
	toVLAN            = uint8(unsafe.Offsetof(Record{}.VLAN))
	toReverseTCPFlags = uint8(unsafe.Offsetof(Record{}.ReverseTCPFlags))
	toEvent           = uint8(unsafe.Offsetof(Record{}.Event))
)

// numbers are the wants that are a whole number which is stored as it comes.
var numbers = []struct {
	want want
	to   uint8
	size uint8 // of the field, in bytes
	has  Fields
}{
	{wantSrcPort, toSrcPort, 2, HasSrcPort},
	{wantDstPort, toDstPort, 2, HasDstPort},
	{wantProto, toProto, 1, HasProto},
	{wantTCPFlags, toTCPFlags, 1, HasTCPFlags},
	{wantPackets, toPackets, 8, HasPackets},
	{wantBytes, toBytes, 8, HasBytes},
	{wantReversePackets, toReversePackets, 8, HasReverse},
	{wantReverseBytes, toReverseBytes, 8, HasReverse},
	{wantReverseTCPFlags, toReverseTCPFlags, 1, HasReverse},
	{wantInIf, toInIf, 4, HasInIf},
	{wantOutIf, toOutIf, 4, HasOutIf},
	{wantVLAN, toVLAN, 2, HasVLAN},
	{wantEvent, toEvent, 1, HasEvent},
}

// plan orders the reading of what was chosen: what depends on another value
// comes after it.
func (c *compiler) plan() plan {
	served := 0
	for i := range c.chosen {
		if c.chosen[i].rank != 0 {
			served++
		}
	}
	c.made.ops = make([]op, 0, served) // a want takes one op at most
	c.addresses(wantSrc4, wantSrc6, toSrc, HasSrc)
	c.addresses(wantDst4, wantDst6, toDst, HasDst)
	for _, n := range numbers {
		if s := c.get(n.want); s != nil {
			c.number(op{to: n.to, has: n.has}, s, n.size)
		}
	}
	c.direct(wantSrcMAC, op{do: opMAC, to: toSrcMAC, has: HasSrcMAC})
	c.direct(wantDstMAC, op{do: opMAC, to: toDstMAC, has: HasDstMAC})
	c.direct(wantDirection, op{do: opDirection})
	c.icmp()
	c.times()
	c.sampling()
	c.direct(wantFrame, op{do: opFrame})
	c.direct(wantPacket, op{do: opPacket})
	c.initiator()
	return c.made
}

// get is what was chosen for a want, nil where nothing was.
func (c *compiler) get(w want) *serving {
	if s := &c.chosen[w]; s.rank != 0 {
		return s
	}
	return nil
}

// add appends an op that reads s.
func (c *compiler) add(o op, s *serving) {
	o.at, o.width, o.field = s.at, s.width, s.index
	c.made.present |= o.has
	c.made.ops = append(c.made.ops, o)
}

// number appends an op that stores a whole number in size bytes. Of a wider one
// the low bits are kept, as of tcpControlBits, which mostly take two.
func (c *compiler) number(o op, s *serving, size uint8) {
	narrow := *s
	if narrow.width > uint16(size) {
		o.skip = uint8(narrow.width) - size
		narrow.width = uint16(size)
		narrow.at += uint16(o.skip)
	}
	o.do = numberOp(narrow.width, size)
	c.add(o, &narrow)
}

// direct appends an op where its want is served.
func (c *compiler) direct(w want, o op) {
	if s := c.get(w); s != nil {
		c.add(o, s)
	}
}

// pair appends an op that reads two fields.
func (c *compiler) pair(o op, s, second *serving) {
	o.at2, o.width2, o.field2 = second.at, uint8(second.width), second.index
	c.add(o, s)
}

// addresses reads one end's address. A template may have a place for either
// family; then the one that stands later counts unless it is zero.
func (c *compiler) addresses(w4, w6 want, to uint8, has Fields) {
	v4, v6 := c.get(w4), c.get(w6)
	switch {
	case v4 != nil && v6 != nil && v4.index > v6.index:
		c.add(op{do: opIPv6, to: to, has: has}, v6)
		c.add(op{do: opIPv4IfSet, to: to, has: has}, v4)
	case v4 != nil && v6 != nil:
		c.add(op{do: opIPv4, to: to, has: has}, v4)
		c.add(op{do: opIPv6IfSet, to: to, has: has}, v6)
	case v4 != nil:
		c.add(op{do: opIPv4, to: to, has: has}, v4)
	case v6 != nil:
		c.add(op{do: opIPv6, to: to, has: has}, v6)
	}
}

// icmp puts type and code where v5 has them.
func (c *compiler) icmp() {
	c.direct(wantICMP, op{do: opICMP})
	kind, code := c.get(wantICMPType), c.get(wantICMPCode)
	if kind != nil && code != nil {
		c.pair(op{do: opICMPPair}, kind, code)
	}
}

// times reads start, end and what makes up for one that is missing.
func (c *compiler) times() {
	c.time(wantStart, toStart, HasStart)
	c.time(wantEnd, toEnd, HasEnd)
	d := c.get(wantDuration)
	if d == nil {
		return
	}
	o := op{do: opDuration, scale: nsPerMs}
	if d.id == ieFlowDurationMicroseconds {
		o.scale = nsPerUs
	}
	c.add(o, d)
}

func (c *compiler) time(w want, to uint8, has Fields) {
	s := c.get(w)
	if s == nil {
		return
	}
	o := op{to: to, has: has}
	switch {
	case s.ntp():
		o.do, o.scale = opNTP, timeScale(s.id)
	case s.id == ieFlowStartDeltaMicroseconds || s.id == ieFlowEndDeltaMicroseconds:
		o.do = opBeforeExport
	case s.id == ieFlowStartSysUpTime || s.id == ieFlowEndSysUpTime:
		o.do = opUptime
		if init := c.get(wantInit); init != nil && c.version == IPFIX {
			o.do = opUptimeSince
			c.pair(o, s, init)
			return
		}
	default:
		o.do, o.scale = opTime, timeScale(s.id)
	}
	c.add(o, s)
}

// timeScale is how many nanoseconds the unit of a time has.
func timeScale(id uint16) uint32 {
	switch elementType(id) {
	case typeDateTimeSeconds:
		return nsPerSecond
	case typeDateTimeMicroseconds:
		return nsPerUs
	case typeDateTimeNanoseconds:
		return 1
	}
	return nsPerMs
}

// sampling finds the rate in the record, or the sampler that it was told of.
func (c *compiler) sampling() {
	rate, population := c.get(wantRate), c.get(wantPopulation)
	space, size := c.get(wantSpace), c.get(wantSize)
	switch {
	case rate != nil && rate.id == ieSamplingPacketInterval && space != nil:
		c.pair(op{do: opRateSpace}, rate, space)
	case rate != nil:
		c.number(op{to: toSampling}, rate, 4)
	case population != nil && size != nil:
		c.pair(op{do: opRatePopulation}, population, size)
	}
	// A rate of 0 in the record says nothing, so the options still count.
	c.direct(wantSampler, op{do: opSampler})
	c.made.rated = rate != nil || population != nil || c.get(wantSampler) != nil
}

// initiator finds who the exporter says opened the connection.
func (c *compiler) initiator() {
	switch {
	case c.get(wantBiflow) != nil:
		c.direct(wantBiflow, op{do: opBiflow})
	case c.uses(wantBytes, ieInitiatorOctets) || c.uses(wantPackets, ieInitiatorPackets) ||
		c.uses(wantReverseBytes, ieResponderOctets) || c.uses(wantReversePackets, ieResponderPackets):
		// Counters named after the initiator make the source of the record one.
		c.made.initiator = SourceEnd
	case c.get(wantReverseStart) != nil && c.get(wantReversePackets) != nil:
		s := c.get(wantReverseStart)
		o := op{do: opReverseStart, scale: timeScale(s.id)}
		if s.ntp() {
			o.do = opReverseStartNTP
		}
		c.add(o, s)
	}
}

// uses tells whether a want is served by an element of the registry.
func (c *compiler) uses(w want, id uint16) bool {
	s := c.get(w)
	return s != nil && s.enterprise == 0 && s.id == id
}
