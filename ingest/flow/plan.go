// SPDX-License-Identifier: Apache-2.0

package flow

// plan is how a data record becomes a Record: which of its fields are read, how,
// and where they go. It is made once, when the template arrives, so that a
// record costs no decision.
type plan struct {
	ops     []op
	present Fields // what every record of the template has
	// initiator is what the template itself declares.
	initiator End
	// rated: the record has a sampling rate of its own or names a sampler.
	rated bool
}

// want is something that a Record, or the computation of one, has a single place
// for. Several elements can serve the same want.
type want uint8

const (
	wantSrc4 want = iota
	wantSrc6
	wantDst4
	wantDst6
	wantSrcPort
	wantDstPort
	wantProto
	wantTCPFlags
	wantICMP     // type<<8 | code
	wantICMPType // with wantICMPCode
	wantICMPCode
	wantPackets
	wantBytes
	wantReversePackets
	wantReverseBytes
	wantReverseTCPFlags
	wantInIf
	wantOutIf
	wantSrcMAC
	wantDstMAC
	wantVLAN
	wantDirection
	wantEvent
	wantBiflow // biflowDirection
	wantStart
	wantEnd
	wantReverseStart
	wantInit // systemInitTimeMilliseconds, the base of uptimes in IPFIX
	wantDuration
	wantRate       // a sampling rate in the record
	wantSpace      // samplingPacketSpace, which with samplingPacketInterval makes a rate
	wantSize       // samplingSize, which with samplingPopulation makes a rate
	wantPopulation // samplingPopulation
	wantSampler    // the id of a sampler whose rate was told in options
	wantFrame      // a sampled Ethernet frame
	wantPacket     // a sampled IP packet

	wants
)

// ciscoFirewallEvent is firewallEvent before it was one, in v9 of the ASA.
const ciscoFirewallEvent = 40005

// source is an element that can serve a want. Among several that a template
// has, the lowest rank counts; of a repeated element the last one, which is the
// innermost (RFC 7011 section 8).
type source struct {
	want want
	rank uint8 // 1 is the best
}

// sources are the elements of IANA's registry, and of v9, that serve a want.
// An observation time serves both ends of the time, see choose.
var sources = [...]source{
	ieSourceIPv4Address:           {wantSrc4, 1},
	ieSourceIPv6Address:           {wantSrc6, 1},
	ieDestinationIPv4Address:      {wantDst4, 1},
	ieDestinationIPv6Address:      {wantDst6, 1},
	ieSourceTransportPort:         {wantSrcPort, 1},
	ieTcpSourcePort:               {wantSrcPort, 2},
	ieUdpSourcePort:               {wantSrcPort, 3},
	ieDestinationTransportPort:    {wantDstPort, 1},
	ieTcpDestinationPort:          {wantDstPort, 2},
	ieUdpDestinationPort:          {wantDstPort, 3},
	ieProtocolIdentifier:          {wantProto, 1},
	ieTcpControlBits:              {wantTCPFlags, 1},
	ieIcmpTypeCodeIPv4:            {wantICMP, 1},
	ieIcmpTypeCodeIPv6:            {wantICMP, 2},
	ieIcmpTypeIPv4:                {wantICMPType, 1},
	ieIcmpTypeIPv6:                {wantICMPType, 2},
	ieIcmpCodeIPv4:                {wantICMPCode, 1},
	ieIcmpCodeIPv6:                {wantICMPCode, 2},
	iePacketDeltaCount:            {wantPackets, 1},
	iePacketTotalCount:            {wantPackets, 2},
	ieInitiatorPackets:            {wantPackets, 3},
	iePostPacketDeltaCount:        {wantPackets, 4},
	ieOctetDeltaCount:             {wantBytes, 1},
	ieOctetTotalCount:             {wantBytes, 2},
	ieInitiatorOctets:             {wantBytes, 3},
	iePostOctetDeltaCount:         {wantBytes, 4},
	ieLayer2OctetDeltaCount:       {wantBytes, 5},
	ieResponderPackets:            {wantReversePackets, 1},
	ieResponderOctets:             {wantReverseBytes, 1},
	ieIngressInterface:            {wantInIf, 1},
	ieIngressPhysicalInterface:    {wantInIf, 2},
	ieEgressInterface:             {wantOutIf, 1},
	ieEgressPhysicalInterface:     {wantOutIf, 2},
	ieSourceMacAddress:            {wantSrcMAC, 1},
	iePostSourceMacAddress:        {wantSrcMAC, 2},
	ieDestinationMacAddress:       {wantDstMAC, 1},
	iePostDestinationMacAddress:   {wantDstMAC, 2},
	ieVlanId:                      {wantVLAN, 1},
	ieDot1qVlanId:                 {wantVLAN, 2},
	iePostVlanId:                  {wantVLAN, 3},
	iePostDot1qVlanId:             {wantVLAN, 4},
	ieFlowDirection:               {wantDirection, 1},
	ieFirewallEvent:               {wantEvent, 1},
	ieBiflowDirection:             {wantBiflow, 1},
	ieFlowStartMilliseconds:       {wantStart, 1},
	ieFlowStartSeconds:            {wantStart, 2},
	ieFlowStartMicroseconds:       {wantStart, 3},
	ieFlowStartNanoseconds:        {wantStart, 4},
	ieFlowStartSysUpTime:          {wantStart, 5},
	ieFlowStartDeltaMicroseconds:  {wantStart, 6},
	ieObservationTimeMilliseconds: {wantStart, 7},
	ieObservationTimeSeconds:      {wantStart, 8},
	ieObservationTimeMicroseconds: {wantStart, 9},
	ieObservationTimeNanoseconds:  {wantStart, 10},
	ieFlowEndMilliseconds:         {wantEnd, 1},
	ieFlowEndSeconds:              {wantEnd, 2},
	ieFlowEndMicroseconds:         {wantEnd, 3},
	ieFlowEndNanoseconds:          {wantEnd, 4},
	ieFlowEndSysUpTime:            {wantEnd, 5},
	ieFlowEndDeltaMicroseconds:    {wantEnd, 6},
	ieSystemInitTimeMilliseconds:  {wantInit, 1},
	ieFlowDurationMilliseconds:    {wantDuration, 1},
	ieFlowDurationMicroseconds:    {wantDuration, 2},
	ieSamplingInterval:            {wantRate, 1},
	ieSamplerRandomInterval:       {wantRate, 2},
	ieSamplingPacketInterval:      {wantRate, 3},
	ieSamplingPacketSpace:         {wantSpace, 1},
	ieSamplingSize:                {wantSize, 1},
	ieSamplingPopulation:          {wantPopulation, 1},
	ieSamplerId:                   {wantSampler, 1},
	ieSelectorId:                  {wantSampler, 2},
	ieDataLinkFrameSection:        {wantFrame, 1},
	ieLayer2packetSectionData:     {wantFrame, 2},
	ieIpHeaderPacketSection:       {wantPacket, 1},
}

// reverseSources are those of the second direction of a biflow, RFC 5103.
var reverseSources = map[uint16]source{
	iePacketDeltaCount:      {wantReversePackets, 2},
	iePacketTotalCount:      {wantReversePackets, 3},
	ieOctetDeltaCount:       {wantReverseBytes, 2},
	ieOctetTotalCount:       {wantReverseBytes, 3},
	ieTcpControlBits:        {wantReverseTCPFlags, 1},
	ieFlowStartMilliseconds: {wantReverseStart, 1},
	ieFlowStartSeconds:      {wantReverseStart, 2},
	ieFlowStartMicroseconds: {wantReverseStart, 3},
	ieFlowStartNanoseconds:  {wantReverseStart, 4},
}

// serves tells what a field is good for; rank 0: nothing.
func (f field) serves(version Version) source {
	switch {
	case f.enterprise == reversePEN:
		return reverseSources[f.id]
	case f.enterprise != 0:
		return source{}
	case version == V9 && f.id == ciscoFirewallEvent:
		return source{wantEvent, 2}
	case int(f.id) < len(sources):
		return sources[f.id]
	}
	return source{}
}

// serving is the field that was chosen for a want.
type serving struct {
	field
	rank  uint8 // 0: none
	index uint8 // among the template's fields
	at    uint16
}

// compiler chooses the fields of a template that serve each want, and makes the
// plan of them.
type compiler struct {
	version  Version
	chosen   [wants]serving
	made     plan
	problems ProblemSet
}

// choose looks for the best field for each want. No field has the width 0, and
// there are at most MaxFields.
func (c *compiler) choose(fields []field) {
	at := 0
	for i, f := range fields {
		s := f.serves(c.version)
		switch best := &c.chosen[s.want]; {
		case s.rank == 0:
		case !f.fits(s.want):
			c.problems = c.problems.With(ProblemFieldWidth)
		case best.rank == 0 || s.rank <= best.rank:
			*best = serving{f, s.rank, uint8(i), uint16(at)}
		}
		if f.width != varWidth {
			at += int(f.width)
		}
	}
	// A moment of observation is both ends of a flow that has no end.
	if start := c.chosen[wantStart]; start.enterprise == 0 && start.rank >= sources[ieObservationTimeMilliseconds].rank && c.chosen[wantEnd].rank == 0 {
		c.chosen[wantEnd] = start
	}
}

// fits tells whether an element can have the width in a template. Whole numbers
// may have any up to 8 bytes: reduced-size encoding makes them narrower (RFC
// 7011 section 6.2), and v9 leaves the widths to the exporter.
func (f field) fits(w want) bool {
	switch w {
	case wantSrc4, wantDst4:
		return f.width == 4
	case wantSrc6, wantDst6:
		return f.width == 16
	case wantSrcMAC, wantDstMAC:
		return f.width == 6
	case wantFrame, wantPacket:
		return true
	}
	if f.ntp() {
		return f.width == 8
	}
	return f.width <= 8
}

// ntp tells whether the element's value is a time in NTP's 64-bit format.
func (f field) ntp() bool {
	t := elementType(f.id)
	return t == typeDateTimeMicroseconds || t == typeDateTimeNanoseconds
}
