// SPDX-License-Identifier: Apache-2.0

//go:build linux

// Package bench owns the load that Portolan is tested and measured with: a
// Workload that says which flows there are, two Generators that send it as
// NetFlow v5 (Live in the kernel, UDP through a socket), a Rig to send it
// across, and a Quota that holds a receiver's CPU down. It also makes a Day: the
// NetFlow of a whole network with the truth of what listens in it, and the Score
// of whoever tries to tell. Tests and cmd/portolan-bench use it; the product
// never does.
//
// Nothing here is global: each value keeps its own sockets, programs, namespaces
// and control groups, and its Close removes them. Every run of a generator is
// bounded in datagrams and in time.
//
// The object of live.c is committed, so that building needs no C compiler. It
// was made by Debian clang 19.1.7 (3~deb12u1) and the matching llvm-strip-19
// with `go generate ./bench`, which gives the same bytes again.
package bench

//go:generate go tool bpf2go -cc clang-19 -strip llvm-strip-19 -target bpfel -tags linux live live.c -- -O2 -mcpu=v3 -nostdinc -Wall -Wextra -Werror
