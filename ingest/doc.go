// SPDX-License-Identifier: Apache-2.0

// Package ingest is the sensor: it receives flow export datagrams, keeps the
// flows of known endpoints and hands what it learns about their ports to a
// Sink. It owns the receive paths, the workers, the memory of posted pairs and the
// ledger; what is known of exporters is package flow's. It never imports a store:
// the one method of Sink is all that it knows of where posts are kept.
//
// # The path
//
//	packet       steer.c redirects it to an AF_XDP ring or passes it to the kernel
//	datagram     a frame or a socket buffer, borrowed until the burst is released
//	batch        flow.Batch, a message of the datagram with its records, or records
//	             of a former one whose template this one brought
//	record       flow.Record, in the scratch of the worker's flow.Decoder
//	candidate    a side of a record whose address is in the endpoint set
//	observation  a candidate with a port that is not remembered as posted
//	post         observations of one endpoint, batched, acknowledged by the Sink
//
// # Who owns what
//
// One source (an AF_XDP socket or a UDP socket) has one worker, which is one
// locked operating-system thread. A worker owns its source, its decoder, its
// scratch, its counts and the producing end of its queue. Shared between workers
// are the endpoint set (read through a Reader of their own), the table of pairs
// and the exporters' streams with their templates; each is described where it is
// defined. The batcher, one goroutine, owns the consuming ends of all queues and
// alone calls the Sink. The keeper, another, has the streams forget what is out of
// use and writes their templates to a file.
//
// A full queue drops the observation and counts it; nothing ever blocks a
// worker but its own source.
package ingest
