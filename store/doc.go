// SPDX-License-Identifier: Apache-2.0

// Package store keeps the repository of endpoints: the devices, the addresses
// that are bound to them, and the ports that they were seen to use. It is the
// only place where Pebble exists; nobody else opens its files, and nobody but
// this package writes the endpoint-IP set that the sensors look addresses up
// in (package ipset).
//
// A directory holds one store and one process has it open at a time:
//
//	DIR/db/      Pebble: endpoints, bindings, ports, settings
//	DIR/ipset/   one file, made from the bindings; may be deleted at any time
//
// # What it promises
//
// What Post, Import, Delete and SetInterval have returned nil for survives
// kill -9 and a power cut: every one of them is one batch, written to the log
// and synced before it returns, and all of it is there afterwards or nothing.
// A log that was damaged is reported by Open, and nothing of it is dropped in
// silence, unless the damage is in its last 32 KiB: those look like a write that
// a crash cut off before it was synced, and Pebble ends the log there.
//
// After an error that leaves in doubt what is on the disk (a failed write or
// sync, a corrupt table), the store stops: [Store.Failed] tells, every call
// returns [ErrFailed], the process is not ended. What was acknowledged is found
// again at the next Open. There is no way back within the process, because
// after a failed fsync the kernel may have dropped the very pages that were to
// be written, and a second fsync would say nothing of it.
//
// Who may call: the daemon and, with no daemon running, the command line.
// Posts come from sensors through [Store.Post], which is the one-method Sink of
// package ingest.
package store
