// SPDX-License-Identifier: Apache-2.0

//go:build linux

package xsk

import (
	"fmt"
	"reflect"
	"sync"
	"unsafe"

	"github.com/asavie/xdp"
	"golang.org/x/sys/unix"
)

// The library keeps the rings in unexported fields. Reflection hands out their
// addresses; these are the names and types that this package was written for.
// They are checked once, before anything is opened.
var libraryFits = sync.OnceValue(func() error {
	t := reflect.TypeFor[xdp.Socket]()
	index, desc := reflect.TypeFor[*uint32](), reflect.TypeFor[xdp.Desc]()
	for ring, slot := range map[string]reflect.Type{
		"fillRing": reflect.TypeFor[uint64](), "completionRing": reflect.TypeFor[uint64](), "rxRing": desc,
	} {
		field, ok := t.FieldByName(ring)
		if !ok || field.Type.Kind() != reflect.Struct {
			return misfit("has no struct " + ring)
		}
		for name, want := range map[string]reflect.Type{"Producer": index, "Consumer": index, "Descs": reflect.SliceOf(slot)} {
			if got, ok := field.Type.FieldByName(name); !ok || got.Type != want {
				return misfit(fmt.Sprintf("has no %s.%s of type %s", ring, name, want))
			}
		}
	}
	if desc.Size() != unsafe.Sizeof(unix.XDPDesc{}) {
		return misfit(fmt.Sprintf("has descriptors of %d bytes", desc.Size()))
	}
	return nil
})

func misfit(what string) error {
	return fmt.Errorf("xsk: the AF_XDP library is not the version that this program was written for: its socket %s; build with github.com/asavie/xdp v0.3.3", what)
}

// ringBase returns the start of a ring's mapping. All three pointers that the
// library holds have to agree on it.
func ringBase(ring reflect.Value, o unix.XDPRingOffset, slots int) (unsafe.Pointer, error) {
	producer := ring.FieldByName("Producer").UnsafePointer()
	consumer := ring.FieldByName("Consumer").UnsafePointer()
	descs := ring.FieldByName("Descs")
	if producer == nil || descs.Len() != slots {
		return nil, misfit("has a ring that is not set up")
	}
	base := unsafe.Add(producer, -int(o.Producer))
	if consumer != unsafe.Add(base, o.Consumer) || descs.UnsafePointer() != unsafe.Add(base, o.Desc) ||
		uintptr(base)%uintptr(unix.Getpagesize()) != 0 {
		return nil, misfit("has a ring that does not lie where the kernel put it")
	}
	return base, nil
}
