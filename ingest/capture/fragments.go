// SPDX-License-Identifier: Apache-2.0

package capture

import (
	"bytes"
	"container/list"
	"encoding/binary"
	"net/netip"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/ip4defrag"
	"github.com/gopacket/gopacket/ip6defrag"
	"github.com/gopacket/gopacket/layers"
)

const (
	fragmentHeader = 8 // of IPv6

	// fragmentLife is how long fragments wait for the rest, in capture time: the
	// 30 s of Linux for IPv4 and half the minute of RFC 8200 for IPv6. The number
	// that holds the fragments of an IPv4 datagram together has 16 bits and comes
	// round fast.
	fragmentLife = 30 * time.Second
	// fragmentBudget bounds the bytes of fragments that wait, each counted with
	// fragmentCost for the library's own. Over it, those waiting longest go.
	fragmentBudget = 16 << 20
	fragmentCost   = 512
)

// defragmenter puts the fragments of IP packets together. The library does the
// work, one instance of it per packet: its instances know neither a limit nor,
// for IPv6, another clock than the machine's, and so both are here.
type defragmenter struct {
	waiting map[fragmentKey]*incomplete
	order   list.List // of fragmentKey, the one that got no fragment for longest first
	held    int       // the sum of their bytes
}

// fragmentKey is what the fragments of one packet have in common.
type fragmentKey struct {
	src, dst netip.Addr
	id       uint32
}

// incomplete is a packet of which fragments are missing.
type incomplete struct {
	v4    *ip4defrag.IPv4Defragmenter
	v6    *ip6defrag.IPv6Defragmenter
	bytes int
	last  time.Time
	place *list.Element
}

// insert4 takes in the fragment b, which is the whole of segment s, and returns
// the packet if that completes it. Fragments that were captured in part or
// contradict each other end the packet.
func (f *defragmenter) insert4(s segment, b []byte, now time.Time) *layers.IPv4 {
	var ip layers.IPv4
	// The library keeps what it gets, and the frame's buffer is used again.
	if s.missing > 0 || ip.DecodeFromBytes(bytes.Clone(b), gopacket.NilDecodeFeedback) != nil {
		return nil
	}
	key := fragmentKey{s.src, s.dst, uint32(ip.Id)}
	p := f.packet(key, len(b), now)
	if p.v4 == nil {
		p.v4 = ip4defrag.NewIPv4Defragmenter()
	}
	whole, err := p.v4.DefragIPv4WithTimestamp(&ip, now)
	if err != nil || whole != nil {
		f.forget(key)
	}
	if err != nil {
		return nil
	}
	return whole
}

// insert6 is insert4 for a segment that begins with a fragment header, RFC 8200
// section 4.5.
func (f *defragmenter) insert6(s segment, now time.Time) *layers.IPv6 {
	if len(s.body) < fragmentHeader || s.missing > 0 {
		return nil
	}
	be := binary.BigEndian
	offset := be.Uint16(s.body[2:])
	header := &layers.IPv6Fragment{
		NextHeader:     layers.IPProtocol(s.body[0]),
		FragmentOffset: offset >> 3,
		MoreFragments:  offset&1 != 0,
		Identification: be.Uint32(s.body[4:]),
	}
	header.Payload = bytes.Clone(s.body[fragmentHeader:])
	key := fragmentKey{s.src, s.dst, header.Identification}
	p := f.packet(key, len(s.body), now)
	if p.v6 == nil {
		p.v6 = ip6defrag.NewIPv6Defragmenter()
	}
	whole := p.v6.DefragIPv6(&layers.IPv6{SrcIP: s.src.AsSlice(), DstIP: s.dst.AsSlice()}, header)
	if whole != nil {
		f.forget(key)
	}
	return whole
}

// packet finds or starts the packet of a fragment of n bytes and makes room for it.
func (f *defragmenter) packet(key fragmentKey, n int, now time.Time) *incomplete {
	f.expire(now)
	n += fragmentCost
	for f.held+n > fragmentBudget && len(f.waiting) > 0 {
		f.forget(f.order.Front().Value.(fragmentKey))
	}
	p := f.waiting[key]
	if p == nil {
		if f.waiting == nil {
			f.waiting = make(map[fragmentKey]*incomplete)
		}
		p = &incomplete{place: f.order.PushBack(key)}
		f.waiting[key] = p
	}
	p.bytes += n
	p.last = now
	f.order.MoveToBack(p.place)
	f.held += n
	return p
}

// expire forgets what waited too long.
func (f *defragmenter) expire(now time.Time) {
	for e := f.order.Front(); e != nil; e = f.order.Front() {
		key := e.Value.(fragmentKey)
		if now.Sub(f.waiting[key].last) < fragmentLife {
			return
		}
		f.forget(key)
	}
}

func (f *defragmenter) forget(key fragmentKey) {
	if p := f.waiting[key]; p != nil {
		f.held -= p.bytes
		f.order.Remove(p.place)
		delete(f.waiting, key)
	}
}
