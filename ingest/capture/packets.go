// SPDX-License-Identifier: Apache-2.0

package capture

import (
	"errors"
	"fmt"
	"io"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"
)

// packets is a pcap or pcapng file.
type packets struct {
	read func() ([]byte, gopacket.CaptureInfo, error)
	link layers.LinkType // where the file has one for all

	defrag  defragmenter
	count   int // packets read
	foreign int // of them, on links that are not read here
	last    layers.LinkType
}

func newPcap(in io.Reader) (source, error) {
	r, err := pcapgo.NewReader(in)
	if err != nil {
		return nil, headerError(err)
	}
	if !linkKnown(r.LinkType()) {
		return nil, linkError(r.LinkType())
	}
	return &packets{read: r.ZeroCopyReadPacketData, link: r.LinkType()}, nil
}

func newPcapng(in io.Reader) (source, error) {
	r, err := pcapgo.NewNgReader(in, pcapgo.NgReaderOptions{WantMixedLinkType: true, SkipUnknownVersion: true})
	if err != nil {
		return nil, headerError(err)
	}
	return &packets{read: r.ZeroCopyReadPacketData}, nil
}

func headerError(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("%w: cut off within the file header", ErrTruncated)
	}
	return fmt.Errorf("%w: %w", ErrFormat, err)
}

func linkError(l layers.LinkType) error {
	return fmt.Errorf("%w: packets of link type %d (%v); read are Ethernet, Linux cooked, raw IP and loopback", ErrFormat, int(l), l)
}

func (p *packets) next(d *Datagram) error {
	for {
		frame, info, err := p.read()
		if err != nil {
			return p.end(info, err)
		}
		p.count++
		link := p.link
		if len(info.AncillaryData) > 0 { // pcapng: per interface
			if l, ok := info.AncillaryData[0].(layers.LinkType); ok {
				link = l
			}
		}
		if !linkKnown(link) {
			p.foreign++
			p.last = link
			continue
		}
		d.Time = info.Timestamp
		if p.defrag.datagram(networkLayer(link, frame), d) {
			return nil
		}
	}
}

// end turns the library's error at the end of a file into ours.
func (p *packets) end(info gopacket.CaptureInfo, err error) error {
	switch {
	// io.EOF with a length is the end right behind a packet's header.
	case errors.Is(err, io.ErrUnexpectedEOF), err == io.EOF && info.CaptureLength > 0:
		return fmt.Errorf("packet %d: %w", p.count+1, ErrTruncated)
	case err == io.EOF && p.foreign > 0 && p.foreign == p.count:
		return linkError(p.last)
	case err == io.EOF:
		return io.EOF
	}
	return fmt.Errorf("packet %d: %w: %w", p.count+1, ErrFormat, err)
}
