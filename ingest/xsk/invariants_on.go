// SPDX-License-Identifier: Apache-2.0

//go:build linux && invariants

package xsk

// invariants switches on checks that cost too much for production.
const invariants = true

// mangle overwrites a frame on its way back to the kernel, so that whoever still
// reads it sees rubbish at once instead of another packet some day.
func mangle(b []byte) {
	for i := range b {
		b[i] = 0xCC
	}
}
