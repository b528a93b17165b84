/* SPDX-License-Identifier: (LGPL-2.1 OR BSD-2-Clause) */
/* The few macros and helper declarations of libbpf 1.1.2 that steer.c needs,
 * from its bpf_helpers.h, bpf_helper_defs.h and bpf_endian.h. See README.md.
 */
#ifndef PORTOLAN_LIBBPF_H
#define PORTOLAN_LIBBPF_H

#define __uint(name, val) int(*name)[val]
#define __type(name, val) typeof(val) *name

#define SEC(name) __attribute__((section(name), used))

#define __always_inline inline __attribute__((always_inline))
#define __noinline __attribute__((noinline))

static void *(*const bpf_map_lookup_elem)(void *map, const void *key) = (void *)1;
static long (*const bpf_redirect_map)(void *map, __u32 key, __u64 flags) = (void *)51;
static __u64 (*const bpf_xdp_get_buff_len)(struct xdp_md *xdp_md) = (void *)188;

#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define bpf_htons(x) __builtin_bswap16(x)
#define bpf_htonl(x) __builtin_bswap32(x)
#else
#define bpf_htons(x) (x)
#define bpf_htonl(x) (x)
#endif
#define bpf_ntohs(x) bpf_htons(x)

#endif
