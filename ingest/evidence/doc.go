// SPDX-License-Identifier: Apache-2.0

// Package evidence decides which port of an endpoint is open: which end of a
// flow serves. It looks at one record at a time, joins none to another, and
// keeps 256 bytes for an endpoint that has ports under observation.
//
// # What is certain at once
//
// An exporter that declares who initiated; a packet of SYN and ACK alone; many
// distinct counterparts; a well-known port that answered. Judge tells so.
//
// # What has to settle
//
// A listed port against one that is not, the same UDP port at both ends, a far
// port that is known to be a client's, and the ranges of the two ports. Settle
// tells so after five minutes, and withdraws what is contradicted later. Over a
// long time every fluke happens, so that the weakest of these count only of an
// endpoint that was seen for less than an hour, when no more records come; and
// an endpoint with more weak ports than weakPorts has none of them.
//
// # Who writes, who reads
//
// All workers at once call Judge, and one goroutine Settle. Everything is atomic
// words, and what records do to them is commutative: bits that are only set, a
// minimum, bits of a set of counterparts. So the state that records leave does
// not depend on their order or on which worker had them, as long as no slot had
// to make room for another; what Settle makes of a state depends on nothing
// else. A place of an endpoint belongs to a generation of its binding: when the
// address moves, whoever comes first empties it.
//
// Rejected: joining the two directions of a conversation (a table of all flows,
// and nothing to join under sampling or behind a one-way exporter), counting how
// often a port was source or destination (patented, and wrong for whoever scans),
// a lock per endpoint (two atomic writes for every record), and exact sets of
// counterparts (unbounded).
//
// Who may touch it: package ingest.
package evidence
