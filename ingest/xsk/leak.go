// SPDX-License-Identifier: Apache-2.0

//go:build linux

package xsk

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The library maps three rings and unmaps none, neither when it closes a socket
// nor when opening fails. A mapping of a socket is a reference to it, so the
// queue would stay bound, and the kernel go on writing into the UMEM, until the
// process ends. After a success we have the addresses. After a failure nobody
// has, and the kernel is asked: it lists each mapping of a socket in
// /proc/self/maps with the socket's inode and the ring that it shows.

// mapping is a piece of memory that the library mapped with syscall.Mmap.
type mapping struct {
	base unsafe.Pointer
	size int // exactly as it was given to Mmap
}

// unmap undoes the library's Mmap, with its own package: syscall remembers each
// mapping and would keep the record of one that is unmapped behind its back.
func (m mapping) unmap() error {
	return syscall.Munmap(unsafe.Slice((*byte)(m.base), m.size))
}

// ringSizes are the lengths in bytes of the mappings that opening makes.
type ringSizes struct{ fill, rx, completion int }

func (c Config) ringSizes(o unix.XDPMmapOffsets) ringSizes {
	const addr, desc = int(unsafe.Sizeof(uint64(0))), int(unsafe.Sizeof(unix.XDPDesc{}))
	return ringSizes{
		fill:       int(o.Fr.Desc) + c.Frames*addr,
		rx:         int(o.Rx.Desc) + c.Frames*desc,
		completion: int(o.Cr.Desc) + completions*addr,
	}
}

// of returns the size of the ring that is mapped at an offset, 0 for none of ours.
func (r ringSizes) of(offset uint64) int {
	switch offset {
	case unix.XDP_PGOFF_RX_RING:
		return r.rx
	case unix.XDP_UMEM_PGOFF_FILL_RING:
		return r.fill
	case unix.XDP_UMEM_PGOFF_COMPLETION_RING:
		return r.completion
	}
	return 0
}

// socketMapping is a line of /proc/self/maps that shows a socket.
type socketMapping struct {
	start, end uintptr
	offset     uint64
	name       string // socket:[inode]
}

// unmapOrphans removes what a failed try left: ring mappings of a socket that
// was not there before and that no descriptor refers to any more. Mappings of
// sockets that anybody else in the process has open are none of them.
func unmapOrphans(before []socketMapping, rings ringSizes) error {
	after, err := socketMappings()
	if err != nil || len(after) == 0 {
		return err
	}
	known, err := openSockets()
	if err != nil {
		return err
	}
	for _, m := range before {
		known[m.name] = true
	}
	page := unix.Getpagesize()
	var errs []error
	for _, m := range after {
		size := rings.of(m.offset)
		if known[m.name] || int(m.end-m.start) != (size+page-1)/page*page {
			continue
		}
		// The address is a number from the kernel. Reading it as a pointer, instead of
		// converting it, is what vet accepts for memory that Go has not allocated.
		base := *(*unsafe.Pointer)(unsafe.Pointer(&m.start))
		if err := (mapping{base, size}).unmap(); err != nil {
			errs = append(errs, fmt.Errorf("unmap a ring of an AF_XDP socket that did not open: %w", err))
		}
	}
	return errors.Join(errs...)
}

// socketMappings lists the mappings of sockets in this process.
func socketMappings() ([]socketMapping, error) {
	f, err := os.Open("/proc/self/maps")
	if err != nil {
		return nil, fmt.Errorf("list the process's mappings: %w", err)
	}
	defer f.Close()
	var list []socketMapping
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		// start-end rw-s offset major:minor inode socket:[inode]
		fields := strings.Fields(lines.Text())
		if len(fields) != 6 || !strings.HasPrefix(fields[5], "socket:[") {
			continue
		}
		from, to, _ := strings.Cut(fields[0], "-")
		start, err1 := strconv.ParseUint(from, 16, 64)
		end, err2 := strconv.ParseUint(to, 16, 64)
		offset, err3 := strconv.ParseUint(fields[2], 16, 64)
		if err := errors.Join(err1, err2, err3); err != nil {
			return nil, fmt.Errorf("read /proc/self/maps: %w", err)
		}
		list = append(list, socketMapping{uintptr(start), uintptr(end), offset, fields[5]})
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("list the process's mappings: %w", err)
	}
	return list, nil
}

// openSockets returns the names of the sockets that this process has open.
func openSockets() (map[string]bool, error) {
	const dir = "/proc/self/fd"
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("list the process's open files: %w", err)
	}
	names := make(map[string]bool)
	for _, e := range entries {
		// A file that another goroutine has just closed is not there to be read.
		if name, err := os.Readlink(dir + "/" + e.Name()); err == nil {
			names[name] = true
		}
	}
	return names, nil
}
