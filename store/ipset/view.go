// SPDX-License-Identifier: Apache-2.0

package ipset

// Len counts the addresses of this view.
func (v *View) Len() int { return v.len }

// Member4 is 0 if no address of the /16 around a is known, so that a is
// external, and 1 if a has to be looked up. It touches nothing but the summary, and is a
// number so that a loop can compact its candidates without a branch. a is in
// host order.
func (v *View) Member4(a uint32) uint64 {
	return v.summary[a>>22] >> (a >> 16 & 63) & 1
}

// Lookup returns the binding of addr; false means external. IPv4 is written
// ::ffff:a.b.c.d.
func (v *View) Lookup(addr *[16]byte) (Binding, bool) {
	k := keyOf(addr)
	if k.is4() {
		return v.Lookup4(k.v4())
	}
	if v.over != nil {
		if b, known := v.over.find(k); known {
			return b.orNone()
		}
	}
	return v.base.find6(k)
}

// Lookup4 returns the binding of an IPv4 address in host order.
func (v *View) Lookup4(a uint32) (Binding, bool) {
	if v.over != nil && v.Member4(a) != 0 {
		if b, known := v.over.find(key4(a)); known {
			return b.orNone()
		}
	}
	return v.base.Lookup4(a)
}

// orNone makes nothing of a tombstone.
func (b Binding) orNone() (Binding, bool) {
	if b.Gen == 0 {
		return Binding{}, false
	}
	return b, true
}
