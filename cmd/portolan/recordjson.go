// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"bufio"
	"io"
	"net/netip"
	"strconv"
	"time"

	"github.com/portolan/portolan/ingest/capture"
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
	head []byte // the part that all records of one datagram share
	line []byte
}

func newRecordJSON(w io.Writer) *recordJSON {
	return &recordJSON{Writer: bufio.NewWriterSize(w, outputBuffer)}
}

func (p *recordJSON) print(d *capture.Datagram, m *flow.Message, records []flow.Record) error {
	p.head = appendDatagramJSON(p.head[:0], d, m)
	for i := range records {
		p.line = append(p.line[:0], p.head...)
		p.line = appendRecordJSON(p.line, &records[i], m)
		if _, err := p.Write(p.line); err != nil {
			return err
		}
	}
	return nil
}

// appendDatagramJSON begins an object with what is known of the datagram.
func appendDatagramJSON(b []byte, d *capture.Datagram, m *flow.Message) []byte {
	b = append(b, '{')
	if !d.Raw {
		b = append(b, `"exporter":"`...)
		b = d.Source.Addr().Unmap().WithZone("").AppendTo(b)
		b = append(b, `",`...)
	}
	b = append(b, `"domain":`...)
	b = strconv.AppendUint(b, uint64(m.Domain), 10)
	b = append(b, `,"version":"`...)
	b = append(b, m.Version.String()...)
	return append(b, '"')
}

// appendRecordJSON ends the object with the record. What has no value is left
// out: an interface that is 0, ports where the protocol has none, the TCP flags
// of another protocol, sampling where there is none, and a time that is 0 where
// the format does not have one in every record.
func appendRecordJSON(b []byte, r *flow.Record, m *flow.Message) []byte {
	b = append(b, `,"src":"`...)
	b = netip.AddrFrom16(r.Src).Unmap().AppendTo(b)
	b = append(b, `","dst":"`...)
	b = netip.AddrFrom16(r.Dst).Unmap().AppendTo(b)
	b = append(b, '"')
	ports := hasPorts(r.Proto)
	b = appendNumberJSON(b, `,"src_port":`, uint64(r.SrcPort), ports)
	b = appendNumberJSON(b, `,"dst_port":`, uint64(r.DstPort), ports)
	b = append(b, `,"proto":"`...)
	b = append(b, profiler.ProtoName(r.Proto)...)
	b = append(b, '"')
	if r.Proto == protoTCP {
		b = appendNumberJSON(b, `,"tcp_flags":`, uint64(r.TCPFlags), true)
	}
	b = appendNumberJSON(b, `,"packets":`, r.Packets, true)
	b = appendNumberJSON(b, `,"bytes":`, r.Bytes, true)
	b = appendTimeJSON(b, `,"start":"`, r.Start, hasTimes(m.Version))
	b = appendTimeJSON(b, `,"end":"`, r.End, hasTimes(m.Version))
	b = appendNumberJSON(b, `,"in_if":`, uint64(r.InIf), false)
	b = appendNumberJSON(b, `,"out_if":`, uint64(r.OutIf), false)
	b = appendNumberJSON(b, `,"sampling":`, uint64(m.Sampling), false)
	return append(b, "}\n"...)
}

// hasPorts tells that port 0 of the protocol is a port and not the lack of one.
func hasPorts(proto uint8) bool {
	return proto == protoTCP || proto == protoUDP || proto == protoSCTP
}

// hasTimes tells that every record of the format has a start and an end, so that
// a 0 of them is 1970 and not the lack of a time.
func hasTimes(v flow.Version) bool { return v == flow.V1 || v == flow.V5 || v == flow.V7 }

// appendNumberJSON appends a key and a number, 0 only if zero says so.
func appendNumberJSON(b []byte, key string, n uint64, zero bool) []byte {
	if n == 0 && !zero {
		return b
	}
	return strconv.AppendUint(append(b, key...), n, 10)
}

// appendTimeJSON appends a key and a time in Unix nanoseconds, 0 only if zero
// says so.
func appendTimeJSON(b []byte, key string, ns int64, zero bool) []byte {
	if ns == 0 && !zero {
		return b
	}
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
