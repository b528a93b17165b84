// SPDX-License-Identifier: Apache-2.0

package ipset

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math/bits"
	"net/netip"
)

// Why a file is refused. Open wraps these with the path; in every case the file
// is of no further use and is rebuilt from the store.
var (
	// ErrFormat: not an endpoint-IP file, cut short, or at odds with itself.
	ErrFormat = errors.New("not a whole endpoint-IP set")
	// ErrVersion: a layout that this build does not read.
	ErrVersion = errors.New("unsupported version of the endpoint-IP set")
	// ErrChecksum: bytes changed since the file was written.
	ErrChecksum = errors.New("checksum mismatch in the endpoint-IP set")
)

// Binding says to which endpoint an address belongs. ID is dense and stable:
// it never changes while the file is rebuilt around it. Gen counts the owners
// of that ID and is at least 1; the zero Binding stands for "external".
type Binding struct {
	ID  uint32
	Gen uint32
}

// Entry is one address with its binding. IPv4 is written ::ffff:a.b.c.d.
type Entry struct {
	Addr    [16]byte
	Binding Binding
}

const (
	magic      = "portoips"
	version    = 1
	headerSize = 192
	align      = 64

	bucketSlots = 4
	// maxProbe is the most buckets beyond its home that an address may lie in.
	// At a load of 0.7 and ten million addresses six are expected.
	maxProbe = 12
	maxLog   = 31
)

// The sections, in file order.
const (
	secSummary = iota
	secRank
	secGroups
	secCells
	secBind4
	secKeys6
	secBind6
	sections
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// cell is a bitmap of 64 things and the number of things before it.
type cell struct {
	bits uint64
	base uint64
}

// key is an address as two words, loaded little-endian.
type key struct {
	hi, lo uint64
}

type bucket [bucketSlots]key

// mapped are the low 32 bits of key.lo in an IPv4-mapped address.
const mapped = 0xffff0000

var emptyKey = key{0, mapped}

func keyOf(a *[16]byte) key {
	return key{binary.LittleEndian.Uint64(a[:8]), binary.LittleEndian.Uint64(a[8:])}
}

func key4(a uint32) key {
	return key{0, uint64(bits.ReverseBytes32(a))<<32 | mapped}
}

func (k key) is4() bool { return k.hi == 0 && uint32(k.lo) == mapped }

// v4 is the address of an IPv4-mapped key in host order.
func (k key) v4() uint32 { return bits.ReverseBytes32(uint32(k.lo >> 32)) }

func (k key) addr() netip.Addr {
	var a [16]byte
	binary.LittleEndian.PutUint64(a[:8], k.hi)
	binary.LittleEndian.PutUint64(a[8:], k.lo)
	return netip.AddrFrom16(a).Unmap()
}

// hasher is a keyed multiply-and-fold hash of an address. Both words of the
// key are unknown to whoever does not know the whole set, see seedOf.
type hasher struct {
	s0, s1 uint64
}

func newHasher(seed uint64) hasher {
	return hasher{mix(seed + 0x9e3779b97f4a7c15), mix(seed + 0x3c6ef372fe94f82a)}
}

// mix is the finaliser of SplitMix64.
func mix(x uint64) uint64 {
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

func (h hasher) sum(k key) uint64 {
	a, b := bits.Mul64(k.hi^h.s0, k.lo^h.s1)
	a, b = bits.Mul64(a^b^h.s1, 0x9e3779b97f4a7c15)
	return a ^ b
}

// header is the decoded head of a file.
type header struct {
	size    uint64
	n4, n6  uint64
	blocks  uint64
	cells   uint64
	log     uint32 // home buckets = 1<<log, if n6 > 0
	probe   uint32 // a lookup reads at most this many buckets
	seed    uint64
	sec     [sections]struct{ off, len uint64 }
	bodyCRC uint32
}

// buckets counts the buckets of the IPv6 table, tail included.
func (h *header) buckets() uint64 {
	if h.n6 == 0 {
		return 0
	}
	return 1<<h.log + maxProbe
}

// layout derives size and sections from the counts.
func (h *header) layout() {
	lengths := [sections]uint64{
		secSummary: 1024 * 8,
		secRank:    1024 * 4,
		secGroups:  h.blocks * 16 * 16,
		secCells:   h.cells * 16,
		secBind4:   h.n4 * 8,
		secKeys6:   h.buckets() * bucketSlots * 16,
		secBind6:   h.buckets() * bucketSlots * 8,
	}
	off := uint64(headerSize)
	for i, n := range lengths {
		h.sec[i].off, h.sec[i].len = off, n
		off += (n + align - 1) / align * align
	}
	h.size = off
}

func (h *header) encode() []byte {
	b := make([]byte, headerSize)
	le := binary.LittleEndian
	copy(b, magic)
	le.PutUint32(b[8:], version)
	le.PutUint64(b[16:], h.size)
	le.PutUint64(b[24:], h.n4)
	le.PutUint64(b[32:], h.n6)
	le.PutUint64(b[40:], h.blocks)
	le.PutUint64(b[48:], h.cells)
	le.PutUint32(b[56:], h.log)
	le.PutUint32(b[60:], h.probe)
	le.PutUint64(b[64:], h.seed)
	for i, s := range h.sec {
		le.PutUint64(b[72+16*i:], s.off)
		le.PutUint64(b[80+16*i:], s.len)
	}
	le.PutUint32(b[184:], h.bodyCRC)
	le.PutUint32(b[188:], crc32.Checksum(b[:188], castagnoli))
	return b
}

// decode reads a head and checks everything that can be checked without the
// body. size is the true size of the file.
func (h *header) decode(b []byte, size uint64) error {
	le := binary.LittleEndian
	if len(b) < headerSize {
		return fmt.Errorf("%d bytes are less than a header: %w", size, ErrFormat)
	}
	if string(b[:8]) != magic {
		return fmt.Errorf("it does not start with %q: %w", magic, ErrFormat)
	}
	if v := le.Uint32(b[8:]); v != version {
		return fmt.Errorf("version %d, this build reads %d: %w", v, version, ErrVersion)
	}
	if crc32.Checksum(b[:188], castagnoli) != le.Uint32(b[188:]) {
		return fmt.Errorf("header: %w", ErrChecksum)
	}
	*h = header{
		n4: le.Uint64(b[24:]), n6: le.Uint64(b[32:]),
		blocks: le.Uint64(b[40:]), cells: le.Uint64(b[48:]),
		log: le.Uint32(b[56:]), probe: le.Uint32(b[60:]),
		seed: le.Uint64(b[64:]), bodyCRC: le.Uint32(b[184:]),
	}
	if flags := le.Uint32(b[12:]); flags != 0 {
		return fmt.Errorf("unknown flags %#x: %w", flags, ErrFormat)
	}
	const most = 1<<32 - 1
	if h.n4 > most || h.n6 > most || h.blocks > 1<<16 || h.cells > h.blocks*1024 ||
		h.log > maxLog || h.probe > maxProbe+1 || (h.n6 == 0) != (h.probe == 0) {
		return fmt.Errorf("counts out of range: %w", ErrFormat)
	}
	h.layout()
	if h.size != size || h.size != le.Uint64(b[16:]) {
		return fmt.Errorf("%d bytes, the header says %d and its counts %d: %w", size, le.Uint64(b[16:]), h.size, ErrFormat)
	}
	for i, s := range h.sec {
		if le.Uint64(b[72+16*i:]) != s.off || le.Uint64(b[80+16*i:]) != s.len {
			return fmt.Errorf("section %d is not where it belongs: %w", i, ErrFormat)
		}
	}
	return nil
}
