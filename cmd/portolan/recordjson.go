// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"bufio"
	"io"
	"net/netip"
	"strconv"
	"time"

	"github.com/portolan/portolan/ingest/flow"
	"github.com/portolan/portolan/profiler"
)

const (
	protoTCP  = 6
	protoUDP  = 17
	protoSCTP = 132
)

// outputBuffer is how much is gathered before it is written, in bytes.
const outputBuffer = 256 << 10

// recordJSON writes each record as one JSON object on a line of its own. The
// text is put together by hand: no value in it needs escaping, and a file of a
// million records takes a second this way, where encoding/json takes several.
type recordJSON struct {
	*bufio.Writer
	head []byte // the part that all records of one message share
	line []byte
}

func newRecordJSON(w io.Writer) *recordJSON {
	return &recordJSON{Writer: bufio.NewWriterSize(w, outputBuffer)}
}

func (p *recordJSON) print(b *flow.Batch) error {
	p.head = appendBatchJSON(p.head[:0], b)
	for i := range b.Records {
		p.line = append(p.line[:0], p.head...)
		p.line = appendRecordJSON(p.line, &b.Records[i])
		if _, err := p.Write(p.line); err != nil {
			return err
		}
	}
	return nil
}

// appendBatchJSON begins an object with what is known of the message.
func appendBatchJSON(b []byte, m *flow.Batch) []byte {
	b = append(b, '{')
	if a := exporterAddr(m); !a.IsUnspecified() {
		b = append(b, `"exporter":"`...)
		b = a.AppendTo(b)
		b = append(b, `",`...)
	}
	b = append(b, `"domain":`...)
	b = strconv.AppendUint(b, uint64(m.Domain), 10)
	b = append(b, `,"version":"`...)
	b = append(b, m.Version.String()...)
	return append(b, '"')
}

// exporterAddr is who sent a message, unspecified where the file does not tell.
func exporterAddr(b *flow.Batch) netip.Addr {
	return netip.AddrFrom16(b.Stream.ID.Exporter).Unmap()
}

// appendRecordJSON ends the object with the record. What has no value is left
// out: what the record's template lacks, an interface or a VLAN that is 0, ports
// where the protocol has none, the TCP flags of another protocol.
func appendRecordJSON(b []byte, r *flow.Record) []byte {
	has := func(f flow.Fields) bool { return r.Present&f != 0 }
	if has(flow.HasSrc) {
		b = appendAddrJSON(b, `,"src":"`, r.Src)
	}
	if has(flow.HasDst) {
		b = appendAddrJSON(b, `,"dst":"`, r.Dst)
	}
	ported := has(flow.HasProto) && hasPorts(r.Proto)
	b = appendNumberJSON(b, `,"src_port":`, uint64(r.SrcPort), ported && has(flow.HasSrcPort))
	b = appendNumberJSON(b, `,"dst_port":`, uint64(r.DstPort), ported && has(flow.HasDstPort))
	if has(flow.HasProto) {
		b = append(b, `,"proto":"`...)
		b = append(b, profiler.ProtoName(r.Proto)...)
		b = append(b, '"')
	}
	if r.Proto == protoTCP && has(flow.HasTCPFlags) {
		b = appendNumberJSON(b, `,"tcp_flags":`, uint64(r.TCPFlags), true)
	}
	if has(flow.HasPackets) {
		b = appendNumberJSON(b, `,"packets":`, r.Packets, true)
	}
	if has(flow.HasBytes) {
		b = appendNumberJSON(b, `,"bytes":`, r.Bytes, true)
	}
	if has(flow.HasStart) {
		b = appendTimeJSON(b, `,"start":"`, r.Start)
	}
	if has(flow.HasEnd) {
		b = appendTimeJSON(b, `,"end":"`, r.End)
	}
	b = appendNumberJSON(b, `,"in_if":`, uint64(r.InIf), false)
	b = appendNumberJSON(b, `,"out_if":`, uint64(r.OutIf), false)
	if has(flow.HasSrcMAC) {
		b = appendMACJSON(b, `,"src_mac":"`, r.SrcMAC)
	}
	if has(flow.HasDstMAC) {
		b = appendMACJSON(b, `,"dst_mac":"`, r.DstMAC)
	}
	b = appendNumberJSON(b, `,"vlan":`, uint64(r.VLAN), false)
	b = appendNumberJSON(b, `,"sampling":`, uint64(r.Sampling), false)
	b = append(b, directionJSON[r.Direction]...)
	b = append(b, initiatorJSON[r.Initiator]...)
	b = appendReverseJSON(b, r)
	return append(b, "}\n"...)
}

// appendReverseJSON appends what only some exporters tell: of the way back, where
// that is not 0, and what a firewall did with the flow, in the numbers of element
// 233.
func appendReverseJSON(b []byte, r *flow.Record) []byte {
	if r.Present&flow.HasReverse != 0 {
		b = appendNumberJSON(b, `,"reverse_packets":`, r.ReversePackets, false)
		b = appendNumberJSON(b, `,"reverse_bytes":`, r.ReverseBytes, false)
		if r.Proto == protoTCP {
			b = appendNumberJSON(b, `,"reverse_tcp_flags":`, uint64(r.ReverseTCPFlags), false)
		}
	}
	if r.Present&flow.HasEvent != 0 {
		b = appendNumberJSON(b, `,"firewall_event":`, uint64(r.Event), true)
	}
	return b
}

var (
	directionJSON = [...]string{flow.NoDirection: "", flow.Ingress: `,"direction":"ingress"`, flow.Egress: `,"direction":"egress"`}
	initiatorJSON = [...]string{flow.NoEnd: "", flow.SourceEnd: `,"initiator":"src"`, flow.DestinationEnd: `,"initiator":"dst"`}
)

func appendAddrJSON(b []byte, key string, a [16]byte) []byte {
	return append(netip.AddrFrom16(a).Unmap().AppendTo(append(b, key...)), '"')
}

// appendMACJSON appends a key and a MAC, in lower case with colons.
func appendMACJSON(b []byte, key string, mac [6]byte) []byte {
	const digits = "0123456789abcdef"
	b = append(b, key...)
	for i, c := range mac {
		if i > 0 {
			b = append(b, ':')
		}
		b = append(b, digits[c>>4], digits[c&15])
	}
	return append(b, '"')
}

// hasPorts tells that port 0 of the protocol is a port and not the lack of one.
func hasPorts(proto uint8) bool {
	return proto == protoTCP || proto == protoUDP || proto == protoSCTP
}

// appendNumberJSON appends a key and a number, 0 only if zero says so.
func appendNumberJSON(b []byte, key string, n uint64, zero bool) []byte {
	if n == 0 && !zero {
		return b
	}
	return strconv.AppendUint(append(b, key...), n, 10)
}

// appendTimeJSON appends a key and a time in Unix nanoseconds.
func appendTimeJSON(b []byte, key string, ns int64) []byte {
	return append(appendTime(append(b, key...), ns), '"')
}

// appendTime appends a time of RFC 3339 in UTC, with milliseconds unless they
// are 0. Exporters count in milliseconds; the digits behind come of adding such
// counts to a header's time and mean nothing.
func appendTime(b []byte, ns int64) []byte {
	t := time.Unix(0, ns).UTC()
	ms := t.Nanosecond() / int(time.Millisecond)
	b = t.AppendFormat(b, time.RFC3339)
	if ms == 0 {
		return b
	}
	b[len(b)-1] = '.' // was the Z
	return append(b, '0'+byte(ms/100), '0'+byte(ms/10%10), '0'+byte(ms%10), 'Z')
}
