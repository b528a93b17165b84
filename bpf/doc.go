// SPDX-License-Identifier: Apache-2.0

//go:build linux

// Package bpf owns steer.c, the XDP program that redirects flow exports into
// AF_XDP sockets, and everything the kernel holds for it: the loaded program,
// its maps and its link to one interface. All of that ends with Close or with
// the process; nothing is pinned. Nobody else attaches, detaches or writes these
// maps. The ingest package opens the sockets and registers them here; it is the
// only user apart from `doctor`, which asks Probe and Attached.
//
// Whatever happens to the sockets, a packet is never lost in here: it passes to
// the kernel, and thus to the UDP sockets, unless a socket's slot is filled, or its
// exporter is denied. A process that dies takes its link along, and packets pass.
//
// The object is committed, so that building needs no C compiler. It was made by
// Debian clang 19.1.7 (3~deb12u1) and the matching llvm-strip-19 with
// `go generate ./bpf`, which gives the same bytes again. It runs on kernel 5.15
// and later, its frags form on 5.18 and later, on little-endian machines. The memory
// cgroup pays for the maps there (since 5.11), so RLIMIT_MEMLOCK is left as it is.
package bpf

//go:generate go tool bpf2go -cc clang-19 -strip llvm-strip-19 -target bpfel -tags linux steer steer.c -- -O2 -mcpu=v3 -nostdinc -Wall -Wextra -Werror
