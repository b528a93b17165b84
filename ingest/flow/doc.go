// SPDX-License-Identifier: Apache-2.0

// Package flow owns the wire formats of flow export: it turns the bytes of
// datagrams into Records. It decodes NetFlow v1, v5, v7 and v9, IPFIX and sFlow
// v5, and it owns what v9 and IPFIX make a collector remember of each exporter:
// its templates, its options, the sets that came before their template, and
// where its sequence stands.
//
// # The path
//
//	datagram   Decoder.Begin parses the header of its first message
//	message    Decoder.Next: one Batch each; the stream is looked up in Streams
//	set        a template is validated and compiled to a plan, once
//	record     data sets are read by the plan, field by field for all records
//
// # Who may touch what
//
// A Decoder belongs to one goroutine. Streams is shared by all of them: what
// they read of it per message they read without a lock, as streams.go explains.
// Nothing here starts a goroutine or reads a clock.
//
// # Rules
//
// Every turn of a loop consumes input. A number read from the wire never sizes
// an allocation or a loop: what the bytes hold bounds it. A template is
// validated when it comes and immutable afterwards. All that is remembered is
// bounded, for one exporter and for all together. What is wrong is a named
// reason, a Drop for the whole datagram or a Problem inside it, counted by the
// caller and never formatted.
//
// Beside each decoder its test has a slow and obvious one, written from the
// format's description, that gives the same answer to every input.
package flow
