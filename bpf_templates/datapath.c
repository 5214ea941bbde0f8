/* Two programs for the host's side of a pod's interface: `np_from_pod` at tc ingress, which is the pod's egress, and
 * `np_to_pod` at tc egress, which is its ingress.
 *
 * What is allowed goes on to whatever else is attached; everything else is dropped.  A packet sees one generation of the maps:
 * the word is read once.
 */
#include "conntrack.h"
#include "events.h"
#include "policy.h"

#if NP_IPV6
static __always_inline bool link_local(const __be32 *address)
{
	return (address[0] & bpf_htonl(0xFFC00000)) == bpf_htonl(0xFE800000);
}

/* Whether a packet to this address ends at the node or at one of its pods: what a router takes further carries data to
 * anybody.
 */
static __always_inline bool on_link(const struct context *c, const __be32 *address)
{
	if (link_local(address) || (address[0] & bpf_htonl(0xFF0F0000)) == bpf_htonl(0xFF020000))
		return true;
	return find(&np_addresses6, c->state, ADDRESSES6, c->slot, address, 4);
}

/* RFC 4861, 4.4: whose link-layer address an advertisement tells. */
static __always_inline bool advertises_own(struct __sk_buff *skb, const struct packet *p, const struct endpoint_slot *own)
{
	__be32 target[4] = {};

	if (p->offset + 24 > p->end || !LOAD(skb, p->offset + 8, target, sizeof(target)))
		return false;
	return link_local(target) || (same6(target, own->address6) && !unspecified(target));
}

/* What IPv6 needs to work at all.  0: it is none of that, and is judged as any other packet. */
static __always_inline int link_message(struct __sk_buff *skb, const struct context *c, enum direction direction)
{
	const struct packet *p = &c->packet;
	const struct endpoint_slot *own = c->own;
	bool unproven = link_local(p->source) || unspecified(p->source);

	if (p->own_protocol != ICMP6 || p->offset + 8 > p->end)
		return 0;
	if (direction == EGRESS && !unproven && !same6(p->source, own->address6))
		return SPOOFED_SOURCE;
	switch (p->transport.icmp.type) {
	case 130: /* RFC 2710, RFC 3810: from a link-local address, or none yet, over one hop */
	case 131:
	case 132:
	case 143:
		return p->hop_limit == 1 && unproven ? MULTICAST_LISTENER : 0;
	case 134: /* a pod is no router (CVE-2020-10749) */
		if (direction == EGRESS)
			return FORGED_NEIGHBOUR;
	case 133:
	case 135:
	case 136: /* RFC 4861, 6.1 and 7.1: none that a router has forwarded */
		if (p->hop_limit != 255 || p->transport.icmp.code)
			return FORGED_NEIGHBOUR;
		if (direction == EGRESS && !on_link(c, p->destination))
			return 0;
		if (direction == EGRESS && p->transport.icmp.type == 136 && !advertises_own(skb, p, own))
			return FORGED_NEIGHBOUR;
		return NEIGHBOUR_DISCOVERY;
	case 137: /* a redirect tells others where to send what they have for a third */
		return FORGED_NEIGHBOUR;
	default:
		return 0;
	}
}
#endif

static __always_inline bool is_own(const struct packet *p, const __be32 *address, const struct endpoint_slot *own)
{
	if (p->family == 6)
		return same6(address, own->address6) && !unspecified(address);
	return address[0] == own->address4 && address[0];
}

/* By policy: of a flow that was opened in `direction`, which may not be the packet's. */
static __always_inline int judge(struct context *c, enum direction direction, bool own_node)
{
	const struct packet *p = &c->packet;
	__u32 ruleset = c->own->ruleset[direction];

	if (direction == INGRESS && own_node)
		return FROM_OWN_NODE;
	c->peer_identity = identity_of(c->state, p, c->slot);
	if (direction == INGRESS && c->peer_identity & OWN_NODE)
		return FROM_OWN_NODE;
	if (!ruleset)
		return NOT_ISOLATED;
	c->rule = deciding_rule(c->state, ruleset, c->peer_identity & ~OWN_NODE, p->protocol,
				direction == EGRESS ? p->peer_port : p->pod_port, c->own->flags & (1 << direction), c->slot);
	if (c->rule == MIXED) {
		c->rule = 0;
		return SERVICE_MIXED;
	}
	return c->rule ? ALLOWED_BY_RULE : NO_RULE;
}

static __always_inline int find_endpoint(struct __sk_buff *skb, struct context *c)
{
	__u32 zero = 0;
	struct state *state = bpf_map_lookup_elem(&np_state, &zero);
	struct endpoint *endpoint = state ? endpoint_at(state, skb->ifindex) : NULL;

	if (!endpoint)
		return NO_ENDPOINT;
	c->state = state;
	c->generation = *(volatile __u64 *)&state->generation;
	c->slot = c->generation & 1;
	c->own = c->slot ? &endpoint->slot[1] : &endpoint->slot[0];
	return c->own->id ? 0 : NO_ENDPOINT;
}

/* What opens a flow whatever is known of it: one that has ended may be opened again. */
static __always_inline bool reopens(const struct packet *p)
{
	return p->opens && has_ports(p->protocol);
}

/* Whether a flow that was allowed answers for the packet.  What opens a flow is no reply to another. */
static __always_inline bool answers(const struct packet *p, const struct flow *flow, bool reply)
{
	return flow->expires > clock() && !(p->opens && reply);
}

/* What is neither from nor to the pod's own address, and what needs no policy; 0: it is to be judged. */
static __always_inline int check_addresses(struct __sk_buff *skb, const struct context *c, enum direction direction)
{
	const struct packet *p = &c->packet;

#if NP_IPV6
	if (p->family == 6) {
		int reason = link_message(skb, c, direction);

		if (reason)
			return reason;
	}
#endif
	if (direction == EGRESS && !is_own(p, p->source, c->own))
		return SPOOFED_SOURCE;
	if (direction == INGRESS && !is_own(p, p->destination, c->own))
		return FOREIGN_DESTINATION;
	return is_own(p, direction == EGRESS ? p->destination : p->source, c->own) ? SAME_POD : 0;
}

/* A pod claims no address but its own (RFC 826), and none while it looks whether that is free (RFC 5227). */
static __always_inline int sent_arp(struct __sk_buff *skb, struct context *c)
{
	struct arp arp = {};
	__be32 sender;
	int reason = find_endpoint(skb, c);

	if (reason)
		return reason;
	if (!LOAD(skb, ETHERNET, &arp, sizeof(arp)))
		return TRUNCATED_FRAME;
	__builtin_memcpy(&sender, arp.sender_address, sizeof(sender));
	if (arp.hardware != bpf_htons(1) || arp.protocol != bpf_htons(TYPE_IPV4) || arp.hardware_size != 6 ||
	    arp.protocol_size != sizeof(sender))
		return FORGED_NEIGHBOUR;
	return !sender || sender == c->own->address4 ? ARP : FORGED_NEIGHBOUR;
}

/* A packet whose IP header is read.  It is compiled for each family apart, so that addresses of one word stay short. */
static __always_inline int inspect_packet(struct __sk_buff *skb, struct context *c, enum direction direction)
{
	struct packet *p = &c->packet;
	bool own_node = direction == INGRESS && !skb->ingress_ifindex;
	struct flow *flow;
	int unread, reason;

	__builtin_memcpy(p->pod, direction == EGRESS ? p->source : p->destination, sizeof(p->pod));
	__builtin_memcpy(p->peer, direction == EGRESS ? p->destination : p->source, sizeof(p->peer));
	unread = read_transport(skb, p, direction);

	/* A flow is the interface's, so that its packets need no further proof of where they are from. */
	flow = unread || !p->tracked || reopens(p) ? NULL : c->sought ? c->flow : find_flow(skb, p);
	if (flow) {
		bool reply = (flow->direction & 1) != direction;

		if (answers(p, flow, reply)) {
#if NP_RECHECK
			reason = find_endpoint(skb, c);
			if (!reason && flow->generation != c->generation)
				reason = judge(c, flow->direction & 1, flow->own_node);
			if (reason >= FIRST_DROP)
				return reason;
			flow->generation = c->generation;
#endif
			if (p->error)
				return RELATED;
			refresh(p, flow, reply);
			return reply ? REPLY : ESTABLISHED;
		}
	}

	reason = find_endpoint(skb, c);
	if (!reason)
		reason = check_addresses(skb, c, direction);
	if (reason)
		return reason;
	if (unread)
		return unread;
	if (p->error)
		return ICMP_ERROR;
	reason = judge(c, direction, own_node);
	if (reason < FIRST_DROP && p->tracked) {
		struct flow fresh = {
			.expires = clock() + lifetime(p->protocol, 0),
			.generation = c->generation,
			.rule = c->rule,
			.direction = direction,
			.own_node = reason == FROM_OWN_NODE,
		};

		add_flow(skb, p, &fresh);
	}
	return reason;
}

/* The way of most packets: TCP and UDP over IPv4 in the middle of a flow in which both ends have sent, so that neither port
 * is 0, as each has been a destination.  Such a packet passes here as it would on the long way, which tests compare; 0: that
 * one is to decide, and need not look for the flow again.
 */
static __always_inline int shortcut(struct __sk_buff *skb, struct context *c, const struct head *head,
				    enum direction direction)
{
	const struct ipv4 *ip = &head->v4.ip;
	const union transport *transport = &head->v4.transport;
	__u32 length = bpf_ntohs(ip->length), header = UDP_HEADER;
	__u64 lifetime = NP_STREAM * SECOND;

	if (ip->version_and_words != 0x45 || ip->fragment & bpf_htons(0x3FFF) || ETHERNET + length > skb->len)
		return 0;
	if (ip->protocol == TCP) {
		header = (transport->ports.words >> 4) * 4;
		lifetime = NP_TCP_ESTABLISHED * SECOND;
		if (header < 20 || transport->ports.flags & (SYN | FIN | RST))
			return 0;
	} else if (ip->protocol != UDP) {
		return 0;
	}
	if (sizeof(*ip) + header > length)
		return 0;
	struct flow4_key key = {
		.ifindex = skb->ifindex,
		.pod = direction == EGRESS ? ip->source : ip->destination,
		.peer = direction == EGRESS ? ip->destination : ip->source,
		.pod_port = direction == EGRESS ? transport->ports.source : transport->ports.destination,
		.peer_port = direction == EGRESS ? transport->ports.destination : transport->ports.source,
		.protocol = ip->protocol,
	};
	struct flow *flow = bpf_map_lookup_elem(&np_flows4, &key);
	__u64 now = clock();

	c->sought = true;
	c->flow = flow;
	if (!flow || flow->state != (REPLIED | CONFIRMED) || flow->expires <= now)
		return 0;
#if NP_RECHECK
	__u32 zero = 0;
	const struct state *state = bpf_map_lookup_elem(&np_state, &zero);

	if (!state || flow->generation != state->generation)
		return 0;
#endif
	if (now + lifetime >= flow->expires + SECOND)
		flow->expires = now + lifetime;
	return (flow->direction & 1) == direction ? ESTABLISHED : REPLY;
}

static __always_inline int inspect(struct __sk_buff *skb, struct context *c, enum direction direction)
{
	struct packet *p = &c->packet;
	struct head copy = {};
	const struct head *v4 = NULL, *v6 = NULL;
	int reason = read_head(skb, &copy, &v4, &v6);

	if (reason == ARP && direction == EGRESS)
		return sent_arp(skb, c);
	if (reason)
		return reason;
#if NP_IPV6
	if (v6) {
		p->transport = v6->v6.transport;
		reason = read_ipv6(skb, p, &v6->v6.ip);
		return reason ? reason : inspect_packet(skb, c, direction);
	}
#endif
	if (!v4)
		return ETHERTYPE;
	reason = NP_SHORTCUT ? shortcut(skb, c, v4, direction) : 0;
	if (reason)
		return reason;
	p->transport = v4->v4.transport;
	reason = read_ipv4(skb, p, &v4->v4.ip);
	return reason ? reason : inspect_packet(skb, c, direction);
}

static __always_inline int decide(struct __sk_buff *skb, enum direction direction)
{
	struct context c = {};
	int reason = inspect(skb, &c, direction);

	if (reason != ESTABLISHED && reason != REPLY)
		tell(skb, &c, direction, reason);
	return reason < FIRST_DROP ? TC_ACT_UNSPEC : TC_ACT_SHOT;
}

SEC("tc")
int np_from_pod(struct __sk_buff *skb)
{
	return decide(skb, EGRESS);
}

SEC("tc")
int np_to_pod(struct __sk_buff *skb)
{
	return decide(skb, INGRESS);
}

char _license[] SEC("license") = "GPL";
