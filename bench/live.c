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
#define IPPROTO_TCP 6
#define TCP_FLAGS 0x1b /* SYN, ACK, PSH and FIN were seen */
#define GOLDEN 0x9e3779b97f4a7c15ULL
#define SPREAD 0xd6e8feb86659fd93ULL

/* Nothing is packed: what is naturally aligned is written in one piece. */
struct v5_header {
	__be16 version;
	__be16 count;
	__be32 uptime;
	__be32 seconds;
	__be32 nanoseconds;
	__be32 sequence;
	__be16 engine;
	__be16 sampling;
};

struct v5_record {
	__be32 src;
	__be32 dst;
	__be32 next_hop;
	__be16 in_if;
	__be16 out_if;
	__be32 packets;
	__be32 bytes;
	__be32 first;
	__be32 last;
	__be16 src_port;
	__be16 dst_port;
	__u8 pad;
	__u8 tcp_flags;
	__u8 proto;
	__u8 rest[9];
};

/* The workload, as newPlan in workload.go derives it. */
struct plan {
	__u64 seed;
	__u32 records; /* per datagram */
	__u32 internal_base;
	__u32 internal_count;
	__u32 external_base;
	__u32 external_count;
	__u32 none_below; /* of 65536 */
	__u32 one_below;
	__u32 service_base;
	__u32 service_count;
	__u32 client_base;
	__u32 client_count;
	__u32 ifindex; /* of the device to send through */
};

volatile const struct plan plan = {};

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
static __always_inline __u64 scale32(__u64 bits, __u64 n)
{
	return (bits & 0xffffffff) * n >> 32;
}

static __always_inline __u32 scale16(__u64 bits, __u32 n)
{
	return (bits & 0xffff) * n >> 16;
}

/* All ones if a < b, else 0, for numbers of up to 63 bits. The compiler is kept
 * from seeing that it is a comparison, of which it would make a branch.
 */
static __always_inline __u64 below(__u64 a, __u64 b)
{
	long long difference = a - b;
	asm("" : "+r"(difference));
	difference >>= 63;
	asm("" : "+r"(difference));
	return difference;
}

static __always_inline __u64 choose(__u64 mask, __u64 yes, __u64 no)
{
	return no ^ ((yes ^ no) & mask);
}

/* Choices are made by arithmetic: BPF has no conditional move, and branches on
 * random bits are mispredicted. Both sides are exchanged by rotation: a bit of
 * the hash is worth half the width of what it rotates.
 */
static __always_inline __u64 rotate64(__u64 x, __u64 bit)
{
	bit = (bit & 1) << 5;
	return x << bit | x >> (-bit & 63);
}

static __always_inline __u32 rotate32(__u32 x, __u64 bit)
{
	bit = (bit & 1) << 4;
	return x << bit | x >> (-bit & 31);
}

static __always_inline void fill(struct v5_record *r, __u64 state)
{
	__u64 a = mix(state);
	__u64 b = a * SPREAD;

	__u64 draw = a & 0xffff;
	__u64 none = below(draw, plan.none_below);
	__u64 both = ~below(draw, plan.one_below);
	__u64 n = plan.internal_count;
	__u64 internal = plan.internal_base;
	__u64 external = plan.external_base;
	__u64 externals = plan.external_count;
	__u64 one = scale32(a >> 32, choose(none, externals, n));
	/* With two endpoints, another than the first, so that no flow goes to itself. */
	__u64 other = scale32(b >> 32, choose(both, n - 1, externals));
	__u64 next = one + 1 + other;
	next -= n & ~below(next, n);
	one += choose(none, external, internal);
	other = choose(both, internal + next, external + other);
	/* Client and server; either may be the one. Then source and destination. */
	__u64 addresses = rotate64(other << 32 | one, (a >> 16) + (a >> 17));
	__u32 ports = plan.service_base + scale16(b, plan.service_count);
	ports |= (plan.client_base + scale16(b >> 16, plan.client_count)) << 16;
	ports = rotate32(ports, a >> 17);

	r->src = bpf_htonl((__u32)(addresses >> 32));
	r->dst = bpf_htonl((__u32)addresses);
	r->src_port = bpf_htons((__u16)(ports >> 16));
	r->dst_port = bpf_htons((__u16)ports);
	__u64 is_udp = below(a >> 18 & 3, 1);
	r->proto = choose(is_udp, IPPROTO_UDP, IPPROTO_TCP);
	r->tcp_flags = TCP_FLAGS & ~is_udp;
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
	__u32 records = plan.records;
	__u64 number = c->next * records;
	h->sequence = bpf_htonl((__u32)number);
	__u64 state = plan.seed + number * GOLDEN;
	struct v5_record *r = (void *)(h + 1);
	for (__u32 i = 0; i < MAX_RECORDS; i++) {
		if (i >= records || (void *)(r + 1) > end)
			break;
		fill(r, state);
		state += GOLDEN;
		r++;
	}
	c->next++;
	return bpf_redirect(plan.ifindex, 0);
}

char __license[] SEC("license") = "Dual MIT/GPL";
