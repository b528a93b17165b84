// SPDX-License-Identifier: Apache-2.0

package profiler

import (
	_ "embed"
	"math/bits"
)

//go:generate go run registry/generate.go

// Listed says what the service table knows of a port.
type Listed uint8

const (
	// NotListed is a port that neither list has.
	NotListed Listed = iota
	// Registered is a port that IANA has assigned to a service, and no more is
	// known of it.
	Registered
	// Curated is a port of the curated list: real devices are known to serve it,
	// whether IANA has assigned it to that service, to another or to none.
	Curated
)

// String gives the word for l, in snake_case.
func (l Listed) String() string {
	switch l {
	case NotListed:
		return "not_listed"
	case Registered:
		return "registered"
	case Curated:
		return "curated"
	}
	return "unknown"
}

// ServiceName gives the name of the service that is found at a port of TCP (6),
// UDP (17) or SCTP (132): the curated list's, else that of IANA's Service Name
// and Transport Protocol Port Number Registry, "" if neither list has the port or
// the protocol is another. It says what a port is for, not what serves it. It
// takes the same short time for every port and allocates nothing.
func ServiceName(proto uint8, port uint16) string {
	e := serviceEntry(proto, port)
	start, length := e>>8, e>>1&0x7f
	return services[serviceNames:][start : start+length]
}

// Listing says which list has a port of TCP (6), UDP (17) or SCTP (132); of
// another protocol none has. It costs what [ServiceName] does.
func Listing(proto uint8, port uint16) Listed {
	e := serviceEntry(proto, port)
	switch {
	case e == 0:
		return NotListed
	case e&1 != 0:
		return Curated
	}
	return Registered
}

// services is the table, which registry/generate.go writes from the two lists. It
// is read where it lies in the program, so that it costs nothing at the start and
// no memory for what is not looked up. Numbers are little-endian. In it are:
//
//   - for TCP, UDP and SCTP, for each 64 ports, ten bytes: a bit for each port
//     that is listed, the lowest port in the lowest bit; then, in two bytes, how
//     many entries there are before those of these ports;
//   - serviceCount entries of four bytes, in the order of protocol and port: where
//     in the names the name starts (from bit 8), how long it is (bits 1 to 7), and
//     whether the curated list has it (bit 0);
//   - at serviceNames, the names, each once.
//
// A map from port to name was rejected: it is built at every start and takes ten
// times the memory. So was an array for every port: most of 65,536 have no name.
//
//go:embed registry/services.bin
var services string

const (
	blockSize      = 10
	protoSize      = 65536 / 64 * blockSize
	serviceEntries = 3 * protoSize
	serviceNames   = serviceEntries + 4*serviceCount
)

// serviceEntry finds the entry of a port, 0 if there is none. No entry is 0,
// because no name is empty.
func serviceEntry(proto uint8, port uint16) uint32 {
	block := int(port) / 64 * blockSize
	switch proto {
	case 6:
	case 17:
		block += protoSize
	case 132:
		block += 2 * protoSize
	default:
		return 0
	}
	listed := uint64(word(block)) | uint64(word(block+4))<<32
	bit := uint64(1) << (port % 64)
	if listed&bit == 0 {
		return 0
	}
	before := int(services[block+8]) | int(services[block+9])<<8
	return word(serviceEntries + 4*(before+bits.OnesCount64(listed&(bit-1))))
}

// word reads four bytes of the table.
func word(at int) uint32 {
	b := services[at : at+4]
	return uint32(b[0]) | uint32(b[1])<<8 | uint32(b[2])<<16 | uint32(b[3])<<24
}
