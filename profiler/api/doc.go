// SPDX-License-Identifier: Apache-2.0

// Package api is what the daemon says over HTTP, and the client that the
// command line says it to.
//
// It owns the routes under /api/v1, /metrics and /-/, the shapes of their
// answers, the one sentence that tells how the sensor is, and the local socket
// with its check of who is at the other end. It keeps no state of its own but
// two snapshots of a counter, from which it tells a rate. What it serves comes
// from two narrow interfaces: a [Repository] that is read (and, through the
// local socket only, an [Editor] that writes), and a [Sensor] that is asked for
// one snapshot per request.
//
// [Server.Public] is for the TCP listener and can only read. [Server.Local] is
// for the Unix socket, where the kernel tells who connects: the daemon's own
// user and root are administrators. Pages for people are package web's, which
// asks this package as any client would.
package api
