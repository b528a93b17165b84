// SPDX-License-Identifier: Apache-2.0

// Package flow owns the wire formats of flow export: it turns the bytes of one
// datagram into Records. It decodes NetFlow v5 today; Version names the formats
// that the type is shaped for.
//
// The package keeps no state, starts no goroutine and reads no clock, so every
// function may be called from any goroutine; a Message is a small value that
// belongs to the worker that parsed it and borrows the datagram's bytes until
// the worker gives them back.
//
// Three rules hold for every decoder here. Every turn of a loop consumes input.
// A number read from the wire never sizes an allocation or a loop: what the
// bytes hold bounds it. What is wrong is a named reason, a Drop for the whole
// datagram or a Problem inside it, counted by the caller and never formatted.
package flow
