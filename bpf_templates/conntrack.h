/* Flows that were allowed: which packets belong to one, and for how long.
 *
 * An entry belongs to one interface, so that what one pod was allowed serves no other, and to both directions of a flow.  It
 * remembers which way the flow was opened.  What opens a flow is judged by policy also where an entry exists: a TCP SYN, an
 * SCTP INIT, and an ICMP request that comes the other way.  Without an entry a packet is judged by policy: losing one, to the
 * clock or to the map's limit, opens nothing.
 */
#pragma once
#include "parse.h"

/* The clock.  Its ticks cost nothing to read; where libbpf finds no kernel configuration that says how long one is, the
 * clock counts nanoseconds.
 */
extern unsigned int CONFIG_HZ __kconfig __weak;
#define SECOND (CONFIG_HZ ? (__u64)CONFIG_HZ : 1000000000ULL)

static __always_inline __u64 clock(void)
{
	return CONFIG_HZ ? bpf_jiffies64() : bpf_ktime_get_coarse_ns();
}

/* How long a flow lives after its last packet, in seconds; tests shorten it. */
#ifndef NP_TCP_ESTABLISHED
#define NP_TCP_ESTABLISHED 432000
#endif
#ifndef NP_TCP_OPENING
#define NP_TCP_OPENING 60
#endif
#ifndef NP_TCP_CLOSING
#define NP_TCP_CLOSING 10
#endif
#ifndef NP_STREAM
#define NP_STREAM 180 /* other protocols, once both ends have sent */
#endif
#ifndef NP_OPENING
#define NP_OPENING 30 /* other protocols, before */
#endif
#ifndef NP_SHORTCUT
#define NP_SHORTCUT 1 /* 0, for tests: all packets take the long way */
#endif
#ifndef NP_INSERT
#define NP_INSERT 1 /* 0, for benchmarks: remember nothing */
#endif

/* States: bits. */
#define REPLIED 1
#define CONFIRMED 2 /* whoever opened it sent again after the reply */
#define CLOSED_OPENER 4
#define CLOSED_OTHER 8
#define RESET 16

static __always_inline __u64 lifetime(__u32 protocol, __u8 state)
{
	if (protocol != TCP)
		return (state & REPLIED ? NP_STREAM : NP_OPENING) * SECOND;
	if (state & RESET || (state & (CLOSED_OPENER | CLOSED_OTHER)) == (CLOSED_OPENER | CLOSED_OTHER))
		return NP_TCP_CLOSING * SECOND;
	return (state & CONFIRMED ? NP_TCP_ESTABLISHED : NP_TCP_OPENING) * SECOND;
}

static __always_inline __u8 next_state(const struct packet *p, __u8 state, bool reply)
{
	if (reply)
		state |= REPLIED;
	else if (state & REPLIED)
		state |= CONFIRMED;
	if (p->tcp_flags & FIN)
		state |= reply ? CLOSED_OTHER : CLOSED_OPENER;
	if (p->tcp_flags & RST)
		state |= RESET;
	return state;
}

/* Keep the flow for a while longer.  What is written is seen by other processors, so that is done once a second at most. */
static __always_inline void refresh(const struct packet *p, struct flow *flow, bool reply)
{
	__u8 state = next_state(p, flow->state, reply);
	__u64 expires = clock() + lifetime(p->protocol, state);

	if (state != flow->state)
		flow->state = state;
	else if (expires < flow->expires + SECOND)
		return;
	flow->expires = expires;
}

static __always_inline struct flow4_key key4(struct __sk_buff *skb, const struct packet *p)
{
	return (struct flow4_key){
		.ifindex = skb->ifindex,
		.pod = p->pod[0],
		.peer = p->peer[0],
		.pod_port = p->pod_port,
		.peer_port = p->peer_port,
		.protocol = p->protocol,
	};
}

#if NP_IPV6
static __always_inline struct flow6_key key6(struct __sk_buff *skb, const struct packet *p)
{
	return (struct flow6_key){
		.ifindex = skb->ifindex,
		.pod = { p->pod[0], p->pod[1], p->pod[2], p->pod[3] },
		.peer = { p->peer[0], p->peer[1], p->peer[2], p->peer[3] },
		.pod_port = p->pod_port,
		.peer_port = p->peer_port,
		.protocol = p->protocol,
	};
}
#endif

static __always_inline struct flow *find_flow(struct __sk_buff *skb, const struct packet *p)
{
#if NP_IPV6
	if (p->family == 6) {
		struct flow6_key key = key6(skb, p);

		return bpf_map_lookup_elem(&np_flows6, &key);
	}
#endif
	struct flow4_key key = key4(skb, p);

	return bpf_map_lookup_elem(&np_flows4, &key);
}

static __always_inline void add_flow(struct __sk_buff *skb, const struct packet *p, const struct flow *flow)
{
#if NP_INSERT
#if NP_IPV6
	if (p->family == 6) {
		struct flow6_key key = key6(skb, p);

		bpf_map_update_elem(&np_flows6, &key, flow, BPF_ANY);
		return;
	}
#endif
	struct flow4_key key = key4(skb, p);

	bpf_map_update_elem(&np_flows4, &key, flow, BPF_ANY);
#endif
}
