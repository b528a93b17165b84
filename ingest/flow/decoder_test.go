// SPDX-License-Identifier: Apache-2.0

package flow

import (
	"encoding/binary"
	"testing"
)

// TestOverdueIsBounded: whoever sends sets before their template and the template
// behind them in every datagram makes a Decoder neither hold more and more of
// them nor decode more than its share per datagram.
func TestOverdueIsBounded(t *testing.T) {
	be := binary.BigEndian
	datagram := func(id uint16) []byte {
		b := make([]byte, v9HeaderSize)
		be.PutUint16(b, 9)
		for range 64 {
			b = be.AppendUint16(b, id)
			b = be.AppendUint16(b, 4+100)
			b = append(b, make([]byte, 100)...) // 100 records of one byte
		}
		b = be.AppendUint16(b, v9TemplateSet)
		b = be.AppendUint16(b, 4+8)
		return append(b, byte(id>>8), byte(id), 0, 1, 0, 4, 0, 1) // one field: protocol
	}
	streams := NewStreams(Limits{})
	d := NewDecoder(streams)
	given := false
	for i := range 500 {
		if drop := d.Begin([16]byte{15: 1}, int64(i+1), datagram(uint16(256+i))); drop != NoDrop {
			t.Fatal(drop)
		}
		records := 0
		for b := d.Next(); b != nil; b = d.Next() {
			records += len(b.Records)
		}
		if records > 2*MaxRecords {
			t.Fatalf("datagram %d decoded %d records", i, records)
		}
		if len(d.ready) > maxReady {
			t.Fatalf("%d sets are held after datagram %d", len(d.ready), i)
		}
		given = given || d.Problems().Has(ProblemTooManyRecords)
	}
	if !given {
		t.Error("nothing was given up, so nothing was bounded")
	}
	if n := streams.Waiting(); n != 0 {
		t.Errorf("%d sets still wait", n)
	}
}

// TestPatientDecodesAll: a file's Decoder decodes all that waited, however much
// that is.
func TestPatientDecodesAll(t *testing.T) {
	be := binary.BigEndian
	b := make([]byte, v9HeaderSize)
	be.PutUint16(b, 9)
	for range 64 {
		b = append(be.AppendUint16(be.AppendUint16(b, 300), 4+500), make([]byte, 500)...)
	}
	b = append(b, 0, 0, 0, 12, 300>>8, 300&0xff, 0, 1, 0, 4, 0, 1)
	d := NewDecoder(NewStreams(Limits{}))
	d.Patient = true
	if drop := d.Begin([16]byte{15: 1}, 1, b); drop != NoDrop {
		t.Fatal(drop)
	}
	records := 0
	for b := d.Next(); b != nil; b = d.Next() {
		records += len(b.Records)
	}
	if records != 64*500 {
		t.Errorf("%d records, want %d", records, 64*500)
	}
}
