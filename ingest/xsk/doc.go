// SPDX-License-Identifier: Apache-2.0

//go:build linux

// Package xsk owns one AF_XDP receive socket: its UMEM, its rings, and the
// frames that it lends for as long as a lease lasts. It knows nothing of what
// is in a frame, of XDP programs or of maps.
//
// One goroutine, the worker of the queue, may call Receive, Wait and Close and
// use the leases; Wake, Stats, FD, Mode and Queue may be called from anywhere
// at any time.
//
// The caller joins the socket to the traffic and takes it out again:
//
//	Open            bound, all frames with the kernel, no traffic yet
//	insert in map   XSKMAP[queue] = FD(): frames arrive
//	delete from map frames go where the program's fallback sends them
//	drain           Receive until it lends nothing
//	Close           the queue is free for another socket
//
// A socket that is closed while it is still in the map loses the frames in its
// ring; nothing else breaks.
package xsk
