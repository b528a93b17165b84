// SPDX-License-Identifier: Apache-2.0

package ipset

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math/bits"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Open maps the set in path. The file is first read and checked whole, so that
// a truncated, corrupt or foreign one is refused before it is mapped; then its
// structure is checked, so that no lookup can leave the mapping. Errors wrap
// [ErrFormat], [ErrVersion], [ErrChecksum] or the error of the system.
//
// The set is read-only and may be used by any number of goroutines until Close.
func Open(path string) (*Set, error) {
	s, err := open(path)
	switch {
	case err == nil:
		return s, nil
	case errors.Is(err, ErrFormat), errors.Is(err, ErrVersion), errors.Is(err, ErrChecksum):
		return nil, fmt.Errorf("endpoint-IP set %s refused, it will be rebuilt from the store: %w", path, err)
	default:
		return nil, fmt.Errorf("open the endpoint-IP set: %w", err)
	}
}

func open(path string) (*Set, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if binary.NativeEndian.Uint16([]byte{1, 0}) != 1 {
		return nil, fmt.Errorf("this host is big-endian: %w", ErrVersion)
	}
	st, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !st.Mode().IsRegular() {
		return nil, fmt.Errorf("not a regular file: %w", ErrFormat)
	}
	var h header
	head := make([]byte, min(headerSize, st.Size()))
	if _, err := io.ReadFull(f, head); err != nil {
		return nil, err
	}
	if err := h.decode(head, uint64(st.Size())); err != nil {
		return nil, err
	}
	if err := checkBody(f, &h); err != nil {
		return nil, err
	}
	// MAP_POPULATE: the page faults happen here, not on the data path.
	data, err := unix.Mmap(int(f.Fd()), 0, int(h.size), unix.PROT_READ, unix.MAP_SHARED|unix.MAP_POPULATE)
	if err != nil {
		return nil, os.NewSyscallError("mmap", err)
	}
	s := newSet(&h, data)
	if err := s.check(&h); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// checkBody reads instead of mapping: on a bad disk or a file that shrinks
// meanwhile a read returns an error where a mapping would kill the process.
func checkBody(f *os.File, h *header) error {
	buf := make([]byte, min(1<<20, h.size))
	sum := uint32(0)
	for left := h.size - headerSize; left > 0; {
		b := buf[:min(left, uint64(len(buf)))]
		if _, err := io.ReadFull(f, b); errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return fmt.Errorf("it shrank while it was read: %w", ErrFormat)
		} else if err != nil {
			return err
		}
		sum = crc32.Update(sum, castagnoli, b)
		left -= uint64(len(b))
	}
	if sum != h.bodyCRC {
		return ErrChecksum
	}
	return nil
}

// raw is the memory of a slice of fixed-size integers.
func raw[T uint32 | uint64 | cell](s []T) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(s))), len(s)*int(unsafe.Sizeof(*new(T))))
}

// view is section i of a mapping as a slice. Sections are 64-byte aligned and
// within data: header.layout made them so and header.decode compared sizes.
func view[T uint32 | uint64 | cell | bucket | Binding](h *header, data []byte, i int) []T {
	b := data[h.sec[i].off:][:h.sec[i].len]
	if len(b) == 0 {
		return nil
	}
	return unsafe.Slice((*T)(unsafe.Pointer(unsafe.SliceData(b))), len(b)/int(unsafe.Sizeof(*new(T))))
}

func newSet(h *header, data []byte) *Set {
	return &Set{
		summary: (*[1024]uint64)(view[uint64](h, data, secSummary)),
		rank:    (*[1024]uint32)(view[uint32](h, data, secRank)),
		groups:  view[cell](h, data, secGroups),
		cells:   view[cell](h, data, secCells),
		bind4:   view[Binding](h, data, secBind4),
		keys6:   view[bucket](h, data, secKeys6),
		bind6:   view[Binding](h, data, secBind6),
		hash:    newHasher(h.seed),
		shift:   64 - h.log,
		probe:   h.probe,
		n6:      int(h.n6),
		data:    data,
		unmap:   unix.Munmap,
	}
}

// check holds the structure against the counts. After it, every index that a
// lookup computes is in range, whoever wrote the file.
func (s *Set) check(h *header) error {
	blocks := uint64(0)
	for i, w := range s.summary {
		if uint64(s.rank[i]) != blocks {
			return fmt.Errorf("rank %d: %w", i, ErrFormat)
		}
		blocks += uint64(bits.OnesCount64(w))
	}
	if blocks != h.blocks {
		return fmt.Errorf("%d blocks, the header says %d: %w", blocks, h.blocks, ErrFormat)
	}
	if err := checkBases(s.groups, h.cells, "group"); err != nil {
		return err
	}
	if err := checkBases(s.cells, h.n4, "cell"); err != nil {
		return err
	}
	for i := range s.cells {
		if s.cells[i].bits == 0 {
			return fmt.Errorf("cell %d is empty: %w", i, ErrFormat)
		}
	}
	for i := range s.bind4 {
		if s.bind4[i].Gen == 0 {
			return fmt.Errorf("binding %d has generation 0: %w", i, ErrFormat)
		}
	}
	return s.check6(h)
}

// checkBases wants every base to be the number of bits before it.
func checkBases(cells []cell, total uint64, what string) error {
	n := uint64(0)
	for i := range cells {
		if cells[i].base != n {
			return fmt.Errorf("%s %d starts at %d instead of %d: %w", what, i, cells[i].base, n, ErrFormat)
		}
		n += uint64(bits.OnesCount64(cells[i].bits))
	}
	if n != total {
		return fmt.Errorf("%d below %ss, the header says %d: %w", n, what, total, ErrFormat)
	}
	return nil
}

// check6 wants every address in the first free slot at or after its home, in
// the order of hashes, and nothing but empty slots between.
func (s *Set) check6(h *header) error {
	var n, last, next, probe uint64
	for b := range s.keys6 {
		for j, k := range s.keys6[b] {
			slot := uint64(b)*bucketSlots + uint64(j)
			bound := s.bind6[slot].Gen != 0
			if k == emptyKey && !bound {
				continue
			}
			sum := s.hash.sum(k)
			home := sum >> s.shift
			if !bound || k.is4() || n > 0 && sum < last || slot != max(next, home*bucketSlots) {
				return fmt.Errorf("slot %d: %w", slot, ErrFormat)
			}
			probe = max(probe, uint64(b)-home+1)
			n, last, next = n+1, sum, slot+1
		}
	}
	if n != h.n6 || probe != uint64(h.probe) {
		return fmt.Errorf("%d IPv6 addresses within %d buckets, the header says %d within %d: %w", n, probe, h.n6, h.probe, ErrFormat)
	}
	return nil
}
