// SPDX-License-Identifier: (GPL-2.0-only OR MIT)
//go:build ignore

/* live.c turns copies of one frame, an Ethernet, IPv4 and UDP header with a
 * NetFlow v5 datagram behind them, into the datagrams of a Workload and sends
 * each through one device.
 *
 * It is never attached. The kernel runs it over live frames
 * (BPF_PROG_TEST_RUN), whose buffers come round again with what an earlier
 * run wrote in them: so every field that varies is written anew from the number
 * of the datagram, never from what it was.
 *
 * The number of datagrams sent, and when to stop, are in a map and not in
 * the caller's repeat count, because a signal makes the kernel start that count
 * again. workload.go computes the same records; a test holds the two together.
 */

#include "../bpf/headers/linux.h"
#include "../bpf/headers/libbpf.h"

static long (*const bpf_redirect)(__u32 ifindex, __u64 flags) = (void *)23;

#define MAX_RECORDS 30
#define GOLDEN 0x9e3779b97f4a7c15ULL

struct v5_header {
	__be16 version;
	__be16 count;
	__be32 uptime;
	__be32 seconds;
	__be32 nanoseconds;
	__be32 sequence;
	__be16 engine;
	__be16 sampling;
} __attribute__((packed));

struct v5_record {
	__be32 src;
	__be32 dst;
	__u8 constant[24];
	__be16 src_port;
	__be16 dst_port;
	__u8 pad;
	__u8 tcp_flags;
	__u8 proto;
	__u8 rest[9];
} __attribute__((packed));

/* The workload: what newPlan in workload.go derives from a Workload. */
volatile const __u64 seed = 0;
volatile const __u32 records = 0;
volatile const __u32 internal_base = 0;
volatile const __u32 internal_count = 0;
volatile const __u32 external_base = 0;
volatile const __u32 external_count = 0;
volatile const __u32 none_below = 0; /* of 65536 */
volatile const __u32 one_below = 0;
volatile const __u32 service_first = 0;
volatile const __u32 service_count = 0;
volatile const __u32 client_first = 0;
volatile const __u32 client_count = 0;

/* The device to send through. */
volatile const __u32 ifindex = 0;

/* Written by the caller between runs only. */
struct control {
	__u64 next; /* number of the next datagram */
	__u64 limit; /* send none from this number on */
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct control);
} controls SEC(".maps");

/* The finaliser of splitmix64. */
static __always_inline __u64 mix(__u64 x)
{
	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9ULL;
	x = (x ^ x >> 27) * 0x94d049bb133111ebULL;
	return x ^ x >> 31;
}

/* Scale random bits to 0 .. n-1. */
static __always_inline __u32 scale32(__u64 bits, __u32 n)
{
	return (bits & 0xffffffff) * n >> 32;
}

static __always_inline __u32 scale16(__u64 bits, __u32 n)
{
	return (bits & 0xffff) * n >> 16;
}

/* Exchanges are made by arithmetic: BPF has no conditional move, and branches on
 * random bits would be mispredicted half of the time.
 */
static __always_inline void fill(struct v5_record *r, __u64 number)
{
	__u64 a = mix(seed + number * GOLDEN);
	__u64 b = mix(a + GOLDEN);

	__u32 draw = a & 0xffff;
	__u32 one, other;
	__u32 i = scale32(a >> 32, internal_count);
	if (draw < none_below)
		one = external_base + scale32(a >> 32, external_count);
	else
		one = internal_base + i;
	if (draw < one_below) {
		other = external_base + scale32(b, external_count);
	} else {
		/* Another endpoint than the first, so that no flow goes to itself. */
		__u32 j = i + 1 + scale32(b, internal_count - 1);
		other = internal_base + (j >= internal_count ? j - internal_count : j);
	}
	__u32 swap = (one ^ other) & -(__u32)(a >> 16 & 1);
	__u32 server = one ^ swap, client = other ^ swap;
	__u32 service = service_first + scale16(b >> 32, service_count);
	__u32 port = client_first + scale16(b >> 48, client_count);

	__u32 answer = -(__u32)(a >> 17 & 1);
	swap = (server ^ client) & answer;
	r->src = bpf_htonl(client ^ swap);
	r->dst = bpf_htonl(server ^ swap);
	swap = (service ^ port) & answer;
	r->src_port = bpf_htons((__u16)(port ^ swap));
	r->dst_port = bpf_htons((__u16)(service ^ swap));
	__u32 is_tcp = (a >> 18 & 3) != 0;
	r->proto = IPPROTO_UDP - 11 * is_tcp;
	r->tcp_flags = 0x1b * is_tcp;
}

SEC("xdp")
int portolan_live(struct xdp_md *ctx)
{
	void *end = (void *)(long)ctx->data_end;
	__u32 zero = 0;
	struct control *c = bpf_map_lookup_elem(&controls, &zero);
	if (!c || c->next >= c->limit)
		return XDP_DROP;

	struct v5_header *h = (void *)(long)ctx->data + sizeof(struct ethhdr) + sizeof(struct iphdr) + sizeof(struct udphdr);
	if ((void *)(h + 1) > end)
		return XDP_ABORTED;
	__u64 number = c->next * records;
	h->sequence = bpf_htonl((__u32)number);
	struct v5_record *r = (void *)(h + 1);
	for (__u32 i = 0; i < MAX_RECORDS; i++) {
		if (i >= records || (void *)(r + 1) > end)
			break;
		fill(r, number + i);
		r++;
	}
	c->next++;
	return bpf_redirect(ifindex, 0);
}

char __license[] SEC("license") = "Dual MIT/GPL";
