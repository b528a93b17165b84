// SPDX-License-Identifier: Apache-2.0

// Package ipset answers, for every record of every flow, whether an IP address
// belongs to a known endpoint and to which one. It owns the endpoint-IP file,
// its memory mapping, and the changes that are newer than the file.
//
// The store builds the file with [Write], maps it with [Open] and hands the
// [Set] to a [Live], which from then on owns it: nobody else closes it. Workers
// read through a [Reader] each and never see a lock, an allocation or a disk.
//
// # The file
//
// All integers are little-endian and used in place, so a big-endian host cannot
// open the file. Sections follow one another in this order, each padded with
// zeroes to a multiple of 64 bytes, so that no cell or bucket straddles a cache
// line more often than it must. Addresses are kept in network byte order.
//
//	  0  +--------------------------------------------------------------+
//	     | magic "portoips"                                        8    |
//	  8  | version u32 = 1              | flags u32 = 0                 |
//	 16  | size of the whole file, bytes                           u64  |
//	 24  | IPv4 addresses               u64, < 2^32                     |
//	 32  | IPv6 addresses               u64, < 2^32                     |
//	 40  | blocks: present IPv4 /16s    u64, <= 65,536                  |
//	 48  | cells: present IPv4 /26s     u64                             |
//	 56  | IPv6 home buckets, log2 u32  | buckets a lookup reads u32    |
//	 64  | seed of the IPv6 hash                                   u64  |
//	 72  | 7 x { offset u64, length u64 }: the sections below           |
//	184  | CRC-32C of bytes 192 to end  | CRC-32C of bytes 0 to 188     |
//	192  +--------------------------------------------------------------+
//	     | summary  1024 x u64: bit h%64 of word h/64 is set if some    |
//	     |          address of the /16 number h is present (8 KiB, L1)  |
//	     | rank     1024 x u32: blocks before summary word i            |
//	     | groups   blocks x 16 x {bits u64, base u64}: one for each    |
//	     |          /20; bit c: its /26 number c is present; base: the  |
//	     |          number of its first cell                            |
//	     | cells    {bits u64, base u64}: one for each present /26;     |
//	     |          bit i: address i is present; base: its first rank   |
//	     | bind4    {id u32, gen u32} by rank                           |
//	     | keys6    buckets of 4 x 16-byte address                      |
//	     | bind6    {id u32, gen u32} by slot of keys6                  |
//	     +--------------------------------------------------------------+
//
// An IPv4 lookup is summary -> group -> cell -> binding. An external address
// nearly always ends at the summary. The group level is what lets one layout
// serve both shapes of network: a full /16 costs 16 KiB of cells and a /16 with
// a hundred addresses costs 256 bytes and a cell for each /26 in use.
//
// The IPv6 table has 2^k home buckets at a load of at most 0.7, and a tail of
// [maxProbe] buckets. Entries lie in the order of their hash, each in the first
// free slot at or after its home bucket; a lookup therefore ends at the first
// bucket that is not full, and in any case after the number of buckets in the
// header. Write picks the seed so that this number is at most maxProbe, so
// nobody can choose addresses that make lookups long. An empty slot holds
// ::ffff:0.0.0.0, which as an IPv4 address can never be a key here.
//
// The layout is canonical: the same entries in any order give the same bytes,
// and Open refuses whatever Write would not have written.
//
// # Replacing a file
//
// A mapped file must never be truncated or written to: the kernel would answer
// the next lookup with SIGBUS. The file is only ever replaced by rename, which
// is what Write does; the old mapping keeps the old inode alive until the last
// reader has passed.
package ipset
