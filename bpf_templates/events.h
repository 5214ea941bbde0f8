/* What is told about packets: counters, and an event for each verdict but those by conntrack. */
#pragma once
#include "parse.h"

/* Everything about a packet that its verdict depends on, and what became of it. */
struct context {
	struct packet packet;
	const struct endpoint_slot *own;
	const struct state *state;
	__u64 generation;
	struct flow *flow; /* if it was sought already */
	bool sought;
	__u32 slot;
	__u32 peer_identity;
	__u32 rule;
};

static __always_inline void count(void *map, __u32 index)
{
	__u64 *hits = bpf_map_lookup_elem(map, &index);

	if (hits)
		*hits += 1; /* a processor's own */
}

static __always_inline void tell(struct __sk_buff *skb, const struct context *c, enum direction direction, int reason)
{
	count(&np_reason_hits, reason);
	if (reason == ALLOWED_BY_RULE)
		count(&np_rule_hits, c->rule * SLOTS + c->slot);
#if NP_EVENTS
	const struct packet *p = &c->packet;
	struct event *event = bpf_ringbuf_reserve(&np_events, sizeof(*event), 0);

	if (!event) {
		count(&np_reason_hits, EVENTS_LOST);
		return;
	}
	event->time = bpf_ktime_get_ns();
	event->generation = c->generation;
	event->ifindex = skb->ifindex;
	event->endpoint = c->own ? c->own->id : 0;
	event->identity = !c->own ? 0 : p->family == 6 ? c->own->identity6 : c->own->identity4;
	event->peer_identity = c->peer_identity & ~OWN_NODE;
	event->ruleset = c->own ? c->own->ruleset[direction] : 0;
	event->rule = c->rule;
	__builtin_memcpy(event->source, p->source, sizeof(event->source));
	__builtin_memcpy(event->destination, p->destination, sizeof(event->destination));
	event->source_port = p->source_port;
	event->destination_port = p->destination_port;
	event->protocol = p->own_protocol;
	event->family = p->family;
	event->direction = direction;
	event->allowed = reason < FIRST_DROP;
	event->reason = reason;
	event->zero = 0;
	bpf_ringbuf_submit(event, 0);
#endif
}
