// SPDX-License-Identifier: (GPL-2.0-only OR MIT)
//go:build ignore

/* steer.c redirects the flow exports that are addressed to this machine into
 * AF_XDP sockets and leaves every other packet alone.
 *
 * What is redirected bypasses the kernel's IP stack and its firewall, so only a
 * packet that is plainly for our UDP port is: the destination address is one
 * of ours, there is nothing to reassemble, no option to interpret, and the lengths
 * of Ethernet, IP and UDP agree. Whoever reads the socket may rely on that.
 * Checksums are not verified here, and neither the destination MAC nor the VLAN is
 * compared: on a port in promiscuous mode, a mirrored copy of an export to us is
 * an export. A packet in doubt passes: the UDP sockets behind the kernel are
 * always open.
 *
 * The order of the checks gives the counters their meaning. What cannot be UDP
 * to one of our addresses leaves first, so options, fragments and extension
 * headers are counted for packets to us only; of these, only a sound packet
 * to one of our ports can be denied, be too long, or find no socket.
 *
 * No byte of a packet is ever written.
 */

#include "headers/linux.h"
#include "headers/libbpf.h"

/* Why the program let go of a packet. exit.go has the same list; a test holds
 * the two together.
 */
enum exit {
	EXIT_REDIRECT,
	EXIT_PASS_NOT_IP,
	EXIT_PASS_VLAN,
	EXIT_PASS_SHORT,
	EXIT_PASS_MALFORMED,
	EXIT_PASS_NOT_UDP,
	EXIT_PASS_NOT_LOCAL,
	EXIT_PASS_OPTIONS,
	EXIT_PASS_FRAGMENT,
	EXIT_PASS_EXTENSION,
	EXIT_PASS_PORT,
	EXIT_DENY,
	EXIT_PASS_LONG,
	EXIT_PASS_NO_SOCKET,
	EXITS,
};

/* An IPv6 address, or an IPv4 address as ::ffff:a.b.c.d. */
struct address {
	__be32 word[4];
};

struct prefix4 {
	__u32 bits;
	__be32 word;
};

struct prefix6 {
	__u32 bits;
	__be32 word[4];
};

/* The longest frame, Ethernet header included, that one UMEM chunk holds. */
volatile const __u32 max_frame = 0;

/* Whether the kernel has bpf_xdp_get_buff_len (5.18). Where it is, the program needs
 * no CAP_PERFMON, which subtracting packet pointers does. The verifier knows the
 * value and never looks at the other branch.
 */
volatile const __u8 length_helper = 0;

/* Local addresses. Twice what program.go admits: a change adds before it removes. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__type(key, struct address);
	__type(value, __u8);
} locals SEC(".maps");

/* UDP ports, a bit each. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1024);
	__type(key, __u32);
	__type(value, __u64);
} ports SEC(".maps");

/* Exporters that are let in. While nobody has named any, the default routes of
 * both families are in here, so that switching the filter on and off is one
 * insertion or deletion and there is no flag to be out of step with the lists.
 */
struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 65536);
	__type(key, struct prefix4);
	__type(value, __u8);
} exporters4 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 65536);
	__type(key, struct prefix6);
	__type(value, __u8);
} exporters6 SEC(".maps");

/* AF_XDP sockets by receive queue; sized when the program is loaded. */
struct {
	__uint(type, BPF_MAP_TYPE_XSKMAP);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} xsks SEC(".maps");

/* Packets by exit. An entry each: an index into one large entry would be pointer
 * arithmetic that needs CAP_PERFMON.
 */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, EXITS);
	__type(key, __u32);
	__type(value, __u64);
} counters SEC(".maps");

static __always_inline int is_local(const struct address *a)
{
	return bpf_map_lookup_elem(&locals, a) != 0;
}

/* Whether an IPv6 next header may still lead to UDP. */
static __always_inline int is_extension(__u8 next)
{
	switch (next) {
	case IPPROTO_HOPOPTS:
	case IPPROTO_ROUTING:
	case IPPROTO_AH:
	case IPPROTO_DSTOPTS:
	case IPPROTO_MH:
	case IPPROTO_HIP:
	case IPPROTO_SHIM6:
		return 1;
	}
	return 0;
}

/* ::ffff:a.b.c.d is how programs write an IPv4 address. No IPv6 packet carries it,
 * and one that does must not be taken for that IPv4 host: the kernel drops it.
 */
static __always_inline int is_mapped(const __be32 *a)
{
	return !a[0] && !a[1] && a[2] == bpf_htonl(0xffff);
}

/* What follows the IP header: udp points there, have counts the frame's bytes
 * from there on, and want is how many of them the IP header claims.
 */
static __always_inline enum exit check_udp(struct udphdr *udp, void *end, __u32 have, __u32 want)
{
	if ((void *)(udp + 1) > end)
		return EXIT_PASS_SHORT;
	__u32 port = bpf_ntohs(udp->dest);
	__u32 word = port >> 6;
	__u64 *open = bpf_map_lookup_elem(&ports, &word);
	if (!open || !(*open >> (port & 63) & 1))
		return EXIT_PASS_PORT;

	/* The frame may be longer than the IP packet: Ethernet pads to 60 bytes. */
	if (have < want)
		return EXIT_PASS_SHORT;
	/* The kernel also takes a datagram that is shorter than its packet. It
	 * may have this one: equal lengths leave readers nothing to choose.
	 */
	if (want < sizeof(*udp) || bpf_ntohs(udp->len) != want)
		return EXIT_PASS_MALFORMED;
	return EXIT_REDIRECT;
}

static __always_inline enum exit check_ipv4(struct iphdr *ip, void *end, __u32 have)
{
	if ((void *)(ip + 1) > end)
		return EXIT_PASS_SHORT;
	if (ip->version_ihl >> 4 != 4 || (ip->version_ihl & 15) < 5)
		return EXIT_PASS_MALFORMED;
	if (ip->protocol != IPPROTO_UDP)
		return EXIT_PASS_NOT_UDP;
	struct address to = { .word = { 0, 0, bpf_htonl(0xffff), ip->daddr } };
	if (!is_local(&to))
		return EXIT_PASS_NOT_LOCAL;
	if ((ip->version_ihl & 15) != 5)
		return EXIT_PASS_OPTIONS;
	/* More fragments follow, or this is not the first. */
	if (ip->frag_off & bpf_htons(0x3fff))
		return EXIT_PASS_FRAGMENT;

	__u32 total = bpf_ntohs(ip->tot_len);
	__u32 want = total < sizeof(*ip) ? 0 : total - sizeof(*ip);
	enum exit why = check_udp((void *)(ip + 1), end, have - sizeof(*ip), want);
	if (why != EXIT_REDIRECT)
		return why;
	struct prefix4 from = { .bits = 32, .word = ip->saddr };
	return bpf_map_lookup_elem(&exporters4, &from) ? EXIT_REDIRECT : EXIT_DENY;
}

static __always_inline enum exit check_ipv6(struct ipv6hdr *ip, void *end, __u32 have)
{
	if ((void *)(ip + 1) > end)
		return EXIT_PASS_SHORT;
	if (ip->version_priority >> 4 != 6)
		return EXIT_PASS_MALFORMED;
	__u8 next = ip->nexthdr;
	if (next != IPPROTO_UDP && next != IPPROTO_FRAGMENT && !is_extension(next))
		return EXIT_PASS_NOT_UDP;
	struct address to = { .word = { ip->daddr[0], ip->daddr[1], ip->daddr[2], ip->daddr[3] } };
	if (is_mapped(ip->daddr) || !is_local(&to))
		return EXIT_PASS_NOT_LOCAL;
	if (next == IPPROTO_FRAGMENT)
		return EXIT_PASS_FRAGMENT;
	if (next != IPPROTO_UDP)
		return EXIT_PASS_EXTENSION;

	enum exit why = check_udp((void *)(ip + 1), end, have - sizeof(*ip), bpf_ntohs(ip->payload_len));
	if (why != EXIT_REDIRECT)
		return why;
	if (is_mapped(ip->saddr))
		return EXIT_PASS_MALFORMED;
	struct prefix6 from = { .bits = 128,
				.word = { ip->saddr[0], ip->saddr[1], ip->saddr[2], ip->saddr[3] } };
	return bpf_map_lookup_elem(&exporters6, &from) ? EXIT_REDIRECT : EXIT_DENY;
}

static __always_inline int is_vlan(__be16 proto)
{
	return proto == bpf_htons(ETH_P_8021Q) || proto == bpf_htons(ETH_P_8021AD);
}

/* The decision, apart from whether a socket is there. length is the whole
 * frame's; a frame in several buffers has more bytes than data to data_end.
 * Not inlined, so that the type information of the object names the exits.
 */
static __noinline enum exit classify(struct xdp_md *ctx, __u32 length)
{
	void *data = (void *)(long)ctx->data;
	void *end = (void *)(long)ctx->data_end;

	struct ethhdr *eth = data;
	if ((void *)(eth + 1) > end)
		return EXIT_PASS_SHORT;
	__be16 proto = eth->h_proto;
	void *next = eth + 1;
	__u32 have = length - sizeof(*eth);

#pragma unroll
	for (int tag = 0; tag < 2; tag++) {
		if (!is_vlan(proto))
			break;
		struct vlan_hdr *vlan = next;
		if ((void *)(vlan + 1) > end)
			return EXIT_PASS_SHORT;
		proto = vlan->h_vlan_encapsulated_proto;
		next = vlan + 1;
		have -= sizeof(*vlan);
	}

	enum exit why;
	if (proto == bpf_htons(ETH_P_IP))
		why = check_ipv4(next, end, have);
	else if (proto == bpf_htons(ETH_P_IPV6))
		why = check_ipv6(next, end, have);
	else
		return is_vlan(proto) ? EXIT_PASS_VLAN : EXIT_PASS_NOT_IP;

	if (why == EXIT_REDIRECT && length > max_frame)
		return EXIT_PASS_LONG;
	return why;
}

static __always_inline int steer(struct xdp_md *ctx, __u32 length)
{
	__u32 why = classify(ctx, length);
	int action = XDP_PASS;

	if (why == EXIT_REDIRECT) {
		/* The action in the flags is what an empty slot, or a queue
		 * beyond the map, is answered with.
		 */
		action = bpf_redirect_map(&xsks, ctx->rx_queue_index, XDP_PASS);
		if (action != XDP_REDIRECT)
			why = EXIT_PASS_NO_SOCKET;
	} else if (why == EXIT_DENY) {
		action = XDP_DROP;
	}

	__u64 *packets = bpf_map_lookup_elem(&counters, &why);
	if (packets)
		++*packets;
	return action;
}

SEC("xdp")
int portolan_steer(struct xdp_md *ctx)
{
	if (length_helper)
		return steer(ctx, bpf_xdp_get_buff_len(ctx));
	return steer(ctx, (void *)(long)ctx->data_end - (void *)(long)ctx->data);
}

/* For devices whose MTU asks for frames of several buffers (kernel 5.18). */
SEC("xdp.frags")
int portolan_frags(struct xdp_md *ctx)
{
	return steer(ctx, bpf_xdp_get_buff_len(ctx));
}

char __license[] SEC("license") = "Dual MIT/GPL";
