// SPDX-License-Identifier: Apache-2.0

// Package capture owns the reading of recorded traffic: it turns capture files
// into the UDP datagrams that they hold, for `decode` and `replay`.
//
// A file is recognised by its content, never by its name: pcap, pcapng, a stream
// of IPFIX messages back to back, else one raw UDP payload. Files are streamed
// and fragments are held within a budget, so that memory does not grow with the
// file. A Reader and a Merged belong to one goroutine.
package capture

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"time"
)

var (
	// ErrTruncated: the file ends within a packet or message. Everything
	// before it was read.
	ErrTruncated = errors.New("the file ends in the middle of a packet")
	// ErrFormat: the file is of a kind that is not read here, or damaged.
	ErrFormat = errors.New("not a capture that can be read")
)

const (
	// maxPayload is the longest UDP payload there can be, over IPv6.
	maxPayload = 65535 - 8

	pcapMicros, pcapNanos = 0xa1b2c3d4, 0xa1b23c4d // in the writer's byte order
	pcapng                = 0x0a0d0d0a             // a palindrome
	gzipMagic             = 0x1f8b

	ipfixVersion    = 10
	ipfixHeaderSize = 16
)

// Datagram is one UDP datagram of a file.
type Datagram struct {
	// File is the path as given to Open, and Index the number of the datagram
	// among those of the file, from 1.
	File  string
	Index int
	// Time is when it was captured, UTC; of a datagram that came in fragments
	// when it was complete. It is zero where the file does not tell.
	Time time.Time
	// Source and Destination are zero where Raw.
	Source, Destination netip.AddrPort
	// Payload is valid until the next call of Next.
	Payload []byte
	// Missing is how many bytes of the payload's end were on the wire but not
	// captured (a snap length shorter than the packet).
	Missing int
	// Raw tells a payload or an IPFIX message that stood in the file by itself.
	Raw bool
}

// source is one kind of file. It fills everything but File and Index.
type source interface {
	next(*Datagram) error // io.EOF at the end
}

// Reader reads the datagrams of one file.
type Reader struct {
	path  string
	file  *os.File
	from  source
	index int
	err   error // what ended the reading
}

// Open opens a file and recognises what it is. The error names the file and
// wraps that of the operating system (errors.Is os.ErrNotExist and so on) or
// ErrFormat.
func Open(path string) (*Reader, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err // names operation and path
	}
	from, err := recognise(f)
	if err != nil {
		f.Close()
		return nil, named(path, err)
	}
	return &Reader{path: path, file: f, from: from}, nil
}

// named adds the path to an error that does not have it.
func named(path string, err error) error {
	if _, has := errors.AsType[*os.PathError](err); has {
		return err
	}
	return fmt.Errorf("%s: %w", path, err)
}

// Next returns the next UDP datagram; what else a capture holds is skipped. At
// the end it returns io.EOF. Another error names the file and ends it too:
// ErrTruncated where the file is cut off, ErrFormat where it is damaged or holds
// only links that are not read here, or the operating system's.
func (r *Reader) Next() (Datagram, error) {
	if r.err != nil {
		return Datagram{}, r.err
	}
	var d Datagram
	if err := r.from.next(&d); err != nil {
		if err != io.EOF {
			err = named(r.path, err)
		}
		r.err = err
		return Datagram{}, err
	}
	r.index++
	d.File, d.Index = r.path, r.index
	return d, nil
}

// Close closes the file. Payloads handed out stay valid until the memory goes.
func (r *Reader) Close() error {
	if r.err == nil {
		r.err = fmt.Errorf("%s: %w", r.path, os.ErrClosed)
	}
	return r.file.Close()
}

// recognise looks at the first bytes. It does not seek, so pipes work too.
func recognise(f io.Reader) (source, error) {
	in := bufio.NewReaderSize(f, 1<<16) // holds the longest payload and IPFIX message
	head, err := in.Peek(8)
	if err != nil && err != io.EOF {
		return nil, err
	}
	if len(head) >= 4 {
		switch le, be := binary.LittleEndian.Uint32(head), binary.BigEndian.Uint32(head); {
		case le == pcapMicros, le == pcapNanos, be == pcapMicros, be == pcapNanos:
			return newPcap(in)
		case be == pcapng:
			return newPcapng(in)
		case be>>16 == gzipMagic:
			return nil, fmt.Errorf("%w: it is compressed, gunzip it first", ErrFormat)
		}
	}
	all, err := in.Peek(maxPayload + 1) // is there more than one payload can have?
	switch {
	case err == nil && startsIPFIX(all):
		return &messages{in: in}, nil
	case err == nil:
		return nil, fmt.Errorf("%w: neither pcap nor pcapng nor IPFIX, and too long for one UDP payload", ErrFormat)
	case err != io.EOF:
		return nil, err
	case tiles(all):
		return &messages{in: in}, nil
	}
	return &payload{all: all}, nil
}

// startsIPFIX tells that b begins with the header of an IPFIX message, RFC 7011
// section 3.1: version, then the message's length.
func startsIPFIX(b []byte) bool {
	return len(b) >= ipfixHeaderSize && binary.BigEndian.Uint16(b) == ipfixVersion &&
		binary.BigEndian.Uint16(b[2:]) >= ipfixHeaderSize
}

// tiles tells that b is IPFIX messages back to back, with nothing left over.
func tiles(b []byte) bool {
	if len(b) == 0 {
		return false
	}
	for len(b) > 0 {
		if !startsIPFIX(b) {
			return false
		}
		n := int(binary.BigEndian.Uint16(b[2:]))
		if n > len(b) {
			return false
		}
		b = b[n:]
	}
	return true
}

// payload is a file that is one datagram. An empty file is an empty one.
type payload struct {
	all  []byte
	done bool
}

func (p *payload) next(d *Datagram) error {
	if p.done {
		return io.EOF
	}
	p.done = true
	d.Payload, d.Raw = p.all, true
	return nil
}

// messages is a stream of IPFIX messages, each as long as it says.
type messages struct {
	in  *bufio.Reader
	was int // length of the message handed out last, still in the buffer
}

func (m *messages) next(d *Datagram) error {
	if _, err := m.in.Discard(m.was); err != nil {
		return err
	}
	m.was = 0
	head, err := m.in.Peek(ipfixHeaderSize)
	switch {
	case err == io.EOF && len(head) == 0:
		return io.EOF
	case err == io.EOF:
		return ErrTruncated
	case err != nil:
		return err
	case !startsIPFIX(head):
		return fmt.Errorf("%w: no IPFIX message follows the one before", ErrFormat)
	}
	n := int(binary.BigEndian.Uint16(head[2:]))
	b, err := m.in.Peek(n)
	if err == io.EOF {
		return ErrTruncated
	}
	if err != nil {
		return err
	}
	m.was = n
	d.Payload, d.Raw = b[:n:n], true
	return nil
}
