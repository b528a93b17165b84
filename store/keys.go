// SPDX-License-Identifier: Apache-2.0

package store

import (
	"encoding/binary"

	"github.com/portolan/portolan/profiler"
)

// # The layout
//
// A key is one letter and fixed-size parts, big-endian, so that keys sort by
// number. An address has 16 bytes, IPv4 as ::ffff:a.b.c.d. Every value begins
// with a byte that tells its version; see values.go.
//
//	key                                        value
//	m NAME                                     identity, counters, settings
//	e ENDPOINT:8                               endpoint: MAC, hostname, tags, …
//	h MAC:6                                    → ENDPOINT
//	a ADDRESS:16                               → BINDING
//	b BINDING:4                                binding: generation, endpoint, since,
//	                                           address; or free: generation
//	n ENDPOINT:8 BINDING:4                     → ADDRESS, the addresses of an endpoint
//	p ENDPOINT:8 ROLE:1 PROTO:1 PORT:2         port: first, last, posted, evidence, exporter,
//	                                           counterparts, flows, withdrawn
//	d ENDPOINT:8                               device: what the rules were last accepted to say
//	c ENDPOINT:8                               how many ports, when one last changed
//
// ENDPOINT is an internal number, counted up from 1 and never used again, so
// that ports never come under another device, whatever becomes of its MAC and
// its addresses.
//
// BINDING numbers are dense, because a sensor indexes arrays with them: they
// too count up from 1 (0 is "no binding"), but the number of a binding that is
// deleted is used again, for another address. What keeps the two apart is the
// generation, from 1: it grows by one when an address moves to another endpoint
// and when a binding is deleted, so that a pair (number, generation) never
// means two things. An observation carries both and is refused when they are no
// longer current.
const (
	keyMeta     = 'm'
	keyEndpoint = 'e'
	keyMAC      = 'h'
	keyAddress  = 'a'
	keyBinding  = 'b'
	keyOwned    = 'n'
	keyPort     = 'p'
	keyPorts    = 'c'
	keyDevice   = 'd'
)

var (
	metaIdentity = []byte("midentity")
	metaCounters = []byte("mcounters")
	metaInterval = []byte("minterval")
	// metaDiscovered is how many endpoints are discovered ones.
	metaDiscovered = []byte("mdiscovered")
)

// address is an IP address as keys and the wire between sensor and store have
// it: 16 bytes, IPv4 as ::ffff:a.b.c.d.
type address = [16]byte

func appendEndpointKey(k []byte, id uint64) []byte {
	return binary.BigEndian.AppendUint64(append(k, keyEndpoint), id)
}

func appendMACKey(k []byte, m profiler.MAC) []byte { return append(append(k, keyMAC), m[:]...) }

func appendAddressKey(k []byte, a *address) []byte { return append(append(k, keyAddress), a[:]...) }

func appendBindingKey(k []byte, id uint32) []byte {
	return binary.BigEndian.AppendUint32(append(k, keyBinding), id)
}

func appendOwnedKey(k []byte, endpoint uint64, binding uint32) []byte {
	return binary.BigEndian.AppendUint32(appendOwnedPrefix(k, endpoint), binding)
}

func appendOwnedPrefix(k []byte, endpoint uint64) []byte {
	return binary.BigEndian.AppendUint64(append(k, keyOwned), endpoint)
}

func appendPortsKey(k []byte, endpoint uint64) []byte {
	return binary.BigEndian.AppendUint64(append(k, keyPorts), endpoint)
}

func appendDeviceKey(k []byte, endpoint uint64) []byte {
	return binary.BigEndian.AppendUint64(append(k, keyDevice), endpoint)
}

func appendPortPrefix(k []byte, endpoint uint64) []byte {
	return binary.BigEndian.AppendUint64(append(k, keyPort), endpoint)
}

// portKey is (endpoint, role, proto, port); it is comparable, for maps.
type portKey struct {
	endpoint uint64
	role     profiler.Role
	proto    uint8
	port     uint16
}

func (p portKey) append(k []byte) []byte {
	k = append(appendPortPrefix(k, p.endpoint), byte(p.role), p.proto)
	return binary.BigEndian.AppendUint16(k, p.port)
}

// parsePortKey is the inverse of append.
func parsePortKey(k []byte) (portKey, error) {
	if len(k) != 13 || k[0] != keyPort || k[9] > byte(profiler.Contacted) {
		return portKey{}, corrupt("port key", k)
	}
	return portKey{
		endpoint: binary.BigEndian.Uint64(k[1:]),
		role:     profiler.Role(k[9]),
		proto:    k[10],
		port:     binary.BigEndian.Uint16(k[11:]),
	}, nil
}

// after is the first key behind all that begin with prefix.
func after(prefix []byte) []byte {
	end := append([]byte(nil), prefix...)
	for i := len(end) - 1; i >= 0; i-- {
		if end[i]++; end[i] != 0 {
			return end[:i+1]
		}
	}
	return nil
}
