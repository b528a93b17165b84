// SPDX-License-Identifier: Apache-2.0

package store

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/portolan/portolan/profiler"
)

// ErrCorrupt: a record that was read back is not one that this program wrote.
var ErrCorrupt = errors.New("the store holds a record that cannot be read")

func corrupt(what string, key []byte) error { return fmt.Errorf("%w: %s %x", ErrCorrupt, what, key) }

// A value begins with its version. A record whose shape changes gets another
// one; readers then know both, and what is written is the latest.
const (
	valueV1 = 1
	// valueV2 is of ports: counterparts, flows and the time of a withdrawal are
	// behind what there was before.
	valueV2 = 2
)

// identity is written once, when the store is made.
type identity struct {
	schema uint32
	id     uint64 // random; keeps an ipset file of another store apart
}

func (v identity) append(b []byte) []byte {
	b = binary.BigEndian.AppendUint32(append(b, valueV1), v.schema)
	return binary.BigEndian.AppendUint64(b, v.id)
}

func (v *identity) decode(b []byte) error {
	d := decoder{b: b}
	d.version(valueV1)
	v.schema, v.id = d.u32(), d.u64()
	return d.end("identity")
}

// counters are what is counted across the store, kept in the same batch as what
// they count.
type counters struct {
	nextEndpoint uint64 // the next internal number
	nextBinding  uint32 // the next number when none is free
	endpoints    uint64
	bindings     uint64
	ports        uint64
	seq          uint64 // changes of the bindings; an ipset file is made at one of them
}

func (v *counters) append(b []byte) []byte {
	b = binary.BigEndian.AppendUint64(append(b, valueV1), v.nextEndpoint)
	b = binary.BigEndian.AppendUint32(b, v.nextBinding)
	b = binary.BigEndian.AppendUint64(b, v.endpoints)
	b = binary.BigEndian.AppendUint64(b, v.bindings)
	b = binary.BigEndian.AppendUint64(b, v.ports)
	return binary.BigEndian.AppendUint64(b, v.seq)
}

func (v *counters) decode(b []byte) error {
	d := decoder{b: b}
	d.version(valueV1)
	*v = counters{d.u64(), d.u32(), d.u64(), d.u64(), d.u64(), d.u64()}
	return d.end("counters")
}

// binding is an address and whose it is. A free one has no endpoint and keeps
// the generation that its number will have next.
type binding struct {
	gen      uint32
	endpoint uint64 // 0: free
	since    int64  // Unix ns; 0: the first owner of the address, open to the past
	addr     address
}

func (v *binding) append(b []byte) []byte {
	b = binary.BigEndian.AppendUint32(append(b, valueV1), v.gen)
	b = binary.BigEndian.AppendUint64(b, v.endpoint)
	b = binary.BigEndian.AppendUint64(b, uint64(v.since))
	return append(b, v.addr[:]...)
}

func (v *binding) decode(b []byte) error {
	d := decoder{b: b}
	d.version(valueV1)
	*v = binding{gen: d.u32(), endpoint: d.u64(), since: int64(d.u64()), addr: d.addr()}
	return d.end("binding")
}

// decodeBinding reads a binding with its key.
func decodeBinding(k, v []byte) (id uint32, b binding, err error) {
	if len(k) != 5 {
		return 0, b, corrupt("binding key", k)
	}
	err = b.decode(v)
	return binary.BigEndian.Uint32(k[1:]), b, err
}

// appendNumber writes a reference to another record.
func appendNumber(b []byte, n uint64) []byte {
	return binary.BigEndian.AppendUint64(append(b, valueV1), n)
}

func decodeNumber(b []byte) (uint64, error) {
	d := decoder{b: b}
	d.version(valueV1)
	n := d.u64()
	return n, d.end("reference")
}

// portCount is what is counted of the ports of one endpoint.
type portCount struct {
	ports   uint32
	updated int64 // Unix ns, by this machine's clock
}

func (v *portCount) append(b []byte) []byte {
	b = binary.BigEndian.AppendUint32(append(b, valueV1), v.ports)
	return binary.BigEndian.AppendUint64(b, uint64(v.updated))
}

func (v *portCount) decode(b []byte) error {
	d := decoder{b: b}
	d.version(valueV1)
	*v = portCount{d.u32(), int64(d.u64())}
	return d.end("port count")
}

func appendPortState(b []byte, v *profiler.PortState) []byte {
	b = binary.BigEndian.AppendUint64(append(b, valueV2), uint64(v.First))
	b = binary.BigEndian.AppendUint64(b, uint64(v.Last))
	b = binary.BigEndian.AppendUint64(b, uint64(v.Posted))
	b = append(b, byte(v.Evidence))
	b = append(b, v.Exporter[:]...)
	b = binary.BigEndian.AppendUint32(b, v.Counterparts)
	b = binary.BigEndian.AppendUint64(b, v.Flows)
	b = binary.BigEndian.AppendUint64(b, uint64(v.Withdrawn))
	return append(b, byte(v.Vetoed))
}

// decodePortState reads both versions. What V1 did not count is 0, and nothing
// was withdrawn.
func decodePortState(b []byte, v *profiler.PortState) error {
	d := decoder{b: b}
	version := d.u8()
	*v = profiler.PortState{
		First: int64(d.u64()), Last: int64(d.u64()), Posted: int64(d.u64()),
		Evidence: profiler.Evidence(d.u8()), Exporter: d.addr(),
	}
	switch version {
	case valueV1:
	case valueV2:
		v.Counterparts, v.Flows, v.Withdrawn = d.u32(), d.u64(), int64(d.u64())
		v.Vetoed = profiler.Evidence(d.u8())
	default:
		d.bad = true
	}
	return d.end("port")
}

// endpoint is what an operator can set of a device, and when it came here.
type endpoint struct {
	id             uint64
	mac            profiler.MAC
	static         bool
	discovered     bool  // made of an address that was seen, and named by nobody since
	added, updated int64 // Unix ns
	hostname       string
	osType         string
	category       string
	family         string
	name           string
	tags           []string
}

// The flags of an endpoint.
const (
	flagStatic = 1 << iota
	flagDiscovered
)

func (v *endpoint) append(b []byte) []byte {
	b = append(append(b, valueV1), v.mac[:]...)
	flags := byte(0)
	if v.static {
		flags = flagStatic
	}
	if v.discovered {
		flags |= flagDiscovered
	}
	b = binary.BigEndian.AppendUint64(append(b, flags), uint64(v.added))
	b = binary.BigEndian.AppendUint64(b, uint64(v.updated))
	for _, s := range []string{v.hostname, v.osType, v.category, v.family, v.name} {
		b = appendString(b, s)
	}
	b = binary.AppendUvarint(b, uint64(len(v.tags)))
	for _, s := range v.tags {
		b = appendString(b, s)
	}
	return b
}

func (v *endpoint) decode(id uint64, b []byte) error {
	d := decoder{b: b}
	d.version(valueV1)
	mac, flags := d.mac(), d.u8()
	*v = endpoint{id: id, mac: mac, static: flags&flagStatic != 0, discovered: flags&flagDiscovered != 0,
		added: int64(d.u64()), updated: int64(d.u64()),
		hostname: d.str(), osType: d.str(), category: d.str(), family: d.str(), name: d.str()}
	for n := d.uvarint(); n > 0 && !d.bad; n-- {
		v.tags = append(v.tags, d.str())
	}
	return d.end("endpoint")
}

func appendString(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// decoder reads a value front to back. It never reads past the end; what is
// missing is noted once and reported by end.
type decoder struct {
	b   []byte
	bad bool
}

func (d *decoder) take(n int) []byte {
	if d.bad || len(d.b) < n {
		d.bad = true
		return nil
	}
	t := d.b[:n]
	d.b = d.b[n:]
	return t
}

func (d *decoder) version(want byte) {
	if d.u8() != want {
		d.bad = true
	}
}

func (d *decoder) u8() byte {
	if t := d.take(1); t != nil {
		return t[0]
	}
	return 0
}

func (d *decoder) u32() uint32 {
	if t := d.take(4); t != nil {
		return binary.BigEndian.Uint32(t)
	}
	return 0
}

func (d *decoder) u64() uint64 {
	if t := d.take(8); t != nil {
		return binary.BigEndian.Uint64(t)
	}
	return 0
}

func (d *decoder) addr() (a address) {
	copy(a[:], d.take(16))
	return a
}

func (d *decoder) mac() (m profiler.MAC) {
	copy(m[:], d.take(6))
	return m
}

func (d *decoder) uvarint() uint64 {
	n, used := binary.Uvarint(d.b)
	if used <= 0 {
		d.bad = true
		return 0
	}
	d.b = d.b[used:]
	return n
}

func (d *decoder) str() string {
	n := d.uvarint()
	if n > uint64(len(d.b)) {
		d.bad = true
		return ""
	}
	return string(d.take(int(n)))
}

// end reports whether the value was read to its end and no further.
func (d *decoder) end(what string) error {
	if d.bad || len(d.b) != 0 {
		return fmt.Errorf("%w: %s", ErrCorrupt, what)
	}
	return nil
}
