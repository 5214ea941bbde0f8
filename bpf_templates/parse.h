/* From the bytes of a frame to the flow that it belongs to.
 *
 * The start of a frame is read where it lies, and all else with bpf_skb_load_bytes into the stack.  A length is checked
 * before what lies behind it is believed: a port is one only if the packet's own length covers it.
 */
#pragma once
#include "layout.h"
#include "reasons.h"

#define ETHERNET 14 /* bytes */
#define ETHERTYPE_OFFSET 12
#define TYPE_IPV4 0x0800
#define TYPE_ARP 0x0806
#define TYPE_IPV6 0x86DD
#define TYPE_VLAN 0x8100
#define TYPE_SERVICE_VLAN 0x88A8

#define TCP 6
#define UDP 17
#define SCTP 132
#define ICMP4 1
#define ICMP6 58
#define HOP_BY_HOP 0
#define ROUTING 43
#define FRAGMENT 44
#define NO_NEXT_HEADER 59
#define DESTINATION_OPTIONS 60
#define MOBILITY 135
#define HOST_IDENTITY 139
#define SHIM6 140
#define EXPERIMENT_1 253
#define EXPERIMENT_2 254

#define FIN 0x01
#define SYN 0x02
#define RST 0x04
#define ACK 0x10
#define SCTP_INIT 1
#define UDP_HEADER 8 /* bytes */

/* RFC 826, for Ethernet and IPv4. */
struct arp {
	__be16 hardware;
	__be16 protocol;
	__u8 hardware_size;
	__u8 protocol_size;
	__be16 operation;
	__u8 sender[6];
	__u8 sender_address[4];
	__u8 target[6];
	__u8 target_address[4];
};

/* RFC 791. */
struct ipv4 {
	__u8 version_and_words;
	__u8 tos;
	__be16 length;
	__be16 id;
	__be16 fragment; /* flags and offset */
	__u8 ttl;
	__u8 protocol;
	__be16 checksum;
	__be32 source;
	__be32 destination;
};

/* RFC 8200. */
struct ipv6 {
	__be32 version_class_label;
	__be16 length; /* of what follows */
	__u8 next;
	__u8 hop_limit;
	__be32 source[4];
	__be32 destination[4];
};

/* What is read of a transport header: the start of RFC 9293, 768, 9260, 792 and 4443, as far as the flow depends on it. */
union transport {
	struct {
		__be16 source;
		__be16 destination;
		__u8 skipped[8];
		__u8 words; /* TCP: data offset; SCTP: type of the first chunk */
		__u8 flags;
	} ports;
	struct {
		__u8 type;
		__u8 code;
		__be16 checksum;
		__be16 id;
		__be16 sequence;
	} icmp;
};

/* One packet, and the flow that it belongs to: its own, or, of an ICMP error, the one that it quotes. */
struct packet {
	__be32 source[4]; /* IPv4: the first word */
	__be32 destination[4];
	__be32 pod[4]; /* the flow's */
	__be32 peer[4];
	union transport transport; /* the start of it; of what came with the IP header, as far as the packet goes */
	__u32 loaded; /* where that is from */
	__u32 offset; /* of the header behind IP's, from the start of the frame */
	__u32 end; /* of the packet */
	__be16 source_port; /* 0 where there are no ports */
	__be16 destination_port;
	__be16 pod_port; /* the flow's */
	__be16 peer_port;
	__u32 protocol; /* the flow's */
	__u8 family; /* 4, 6; 0: not read so far */
	__u8 own_protocol; /* the packet's */
	__u8 hop_limit;
	__u8 tcp_flags;
	bool opens; /* never a reply */
	bool error; /* it quotes another packet */
	bool tracked; /* it belongs to a flow that may have replies */
};

#define LOAD(skb, offset, to, size) (bpf_skb_load_bytes(skb, offset, to, size) == 0)

/* --- ICMP --- */

/* The type of the request that an answer is for; a request is its own; -1 for what has no identifier. */
static __always_inline int request_of(__u32 protocol, __u8 type)
{
	if (protocol == ICMP6)
		return type == 128 || type == 129 ? 128 : -1;
	if (type == 8 || type == 0) /* echo */
		return 8;
	if (type == 13 || type == 14) /* timestamp */
		return 13;
	return -1;
}

static __always_inline bool is_error(__u32 protocol, __u8 type)
{
	if (protocol == ICMP6) /* RFC 4443: errors have the high bit clear */
		return type < 128;
	/* unreachable, source quench, redirect, time exceeded, parameter problem */
	return type == 3 || type == 4 || type == 5 || type == 11 || type == 12;
}

static __always_inline void icmp_flow(struct packet *p, __u32 protocol, __u8 type, __be16 id)
{
	int request = request_of(protocol, type);

	p->protocol = protocol;
	p->tracked = request >= 0;
	p->opens = request == type;
	p->pod_port = p->tracked ? id : 0;
	p->peer_port = p->tracked ? bpf_htons(request) : 0;
}

static __always_inline void ports_flow(struct packet *p, enum direction packet_direction, __be16 source, __be16 destination)
{
	p->pod_port = packet_direction == EGRESS ? source : destination;
	p->peer_port = packet_direction == EGRESS ? destination : source;
}

static __always_inline bool has_ports(__u32 protocol)
{
	return protocol == TCP || protocol == UDP || (NP_SCTP && protocol == SCTP);
}

/* The flow that an ICMP error quotes: `offset` is where the quoted transport header starts.  A quoted packet travelled the
 * other way; `direction` is the error's.
 */
static __always_inline int quoted_transport(struct __sk_buff *skb, struct packet *p, enum direction direction,
					    __u32 protocol, __u32 offset)
{
	union transport t = {};

	if (offset + 8 > p->end || !LOAD(skb, offset, &t, 8))
		return ICMP_ERROR;
	p->protocol = protocol;
	p->tracked = true;
	if (has_ports(protocol))
		ports_flow(p, direction == EGRESS ? INGRESS : EGRESS, t.ports.source, t.ports.destination);
	else if (protocol == (p->family == 4 ? ICMP4 : ICMP6))
		icmp_flow(p, protocol, t.icmp.type, t.icmp.id);
	p->opens = false;
	return p->tracked ? 0 : ICMP_ERROR;
}

static __always_inline int quoted4(struct __sk_buff *skb, struct packet *p, enum direction direction)
{
	struct ipv4 ip = {};
	__u32 offset = p->offset + 8, words;

	if (offset + sizeof(ip) > p->end || !LOAD(skb, offset, &ip, sizeof(ip)))
		return ICMP_ERROR;
	words = ip.version_and_words & 0xF;
	if (ip.version_and_words >> 4 != 4 || words < 5 || ip.fragment & bpf_htons(0x1FFF))
		return ICMP_ERROR;
	if (ip.source != p->destination[0]) /* an error goes to who sent what it quotes */
		return ICMP_ERROR;
	if (direction == INGRESS)
		p->peer[0] = ip.destination;
	else if (ip.destination != p->source[0])
		return ICMP_ERROR;
	return quoted_transport(skb, p, direction, ip.protocol, offset + words * 4);
}

static __always_inline bool unspecified(const __be32 *address)
{
	return !(address[0] | address[1] | address[2] | address[3]);
}

static __always_inline bool same6(const __be32 *a, const __be32 *b)
{
	return a[0] == b[0] && a[1] == b[1] && a[2] == b[2] && a[3] == b[3];
}

#if NP_IPV6
static __always_inline int quoted6(struct __sk_buff *skb, struct packet *p, enum direction direction)
{
	struct ipv6 ip = {};
	__u32 offset = p->offset + 8;

	if (offset + sizeof(ip) > p->end || !LOAD(skb, offset, &ip, sizeof(ip)))
		return ICMP_ERROR;
	if (bpf_ntohl(ip.version_class_label) >> 28 != 6 || !same6(ip.source, p->destination))
		return ICMP_ERROR;
	if (direction == INGRESS)
		__builtin_memcpy(p->peer, ip.destination, sizeof(p->peer));
	else if (!same6(ip.destination, p->source))
		return ICMP_ERROR;
	/* What has extension headers is quoted in vain: it is no port that follows. */
	if (!has_ports(ip.next) && ip.next != ICMP6)
		return ICMP_ERROR;
	return quoted_transport(skb, p, direction, ip.next, offset + sizeof(ip));
}
#endif

static __always_inline int read_icmp(struct __sk_buff *skb, struct packet *p, enum direction direction)
{
	if (!is_error(p->own_protocol, p->transport.icmp.type)) {
		icmp_flow(p, p->own_protocol, p->transport.icmp.type, p->transport.icmp.id);
		return 0;
	}
	p->error = true;
#if NP_IPV6
	if (p->family == 6)
		return quoted6(skb, p, direction);
#endif
	if (direction == EGRESS && p->transport.icmp.type == 5) /* a pod is no router that could know a better way */
		return ICMP_ERROR;
	return quoted4(skb, p, direction);
}

/* --- what is behind the IP header --- */

/* How much of a transport header there must be: all that is fixed of it, and of SCTP the first chunk's. */
static __always_inline __u32 least_transport(__u32 protocol)
{
	return protocol == TCP ? 20 : protocol == SCTP ? 16 : 8;
}

static __always_inline int read_transport(struct __sk_buff *skb, struct packet *p, enum direction direction)
{
	__u32 room = p->end - p->offset;
	bool is_icmp = p->own_protocol == (p->family == 4 ? ICMP4 : ICMP6);

	p->protocol = p->own_protocol;
	p->tracked = true;
	if (!is_icmp && !has_ports(p->own_protocol))
		return 0;
	if (room < least_transport(p->own_protocol))
		return TRUNCATED_TRANSPORT;
	if (p->offset != p->loaded) { /* behind options or extension headers */
		union transport t = {}; /* not the packet's: what a helper writes into is kept out of registers */
		int failed = is_icmp || p->own_protocol == UDP ? bpf_skb_load_bytes(skb, p->offset, &t, 8) :
								bpf_skb_load_bytes(skb, p->offset, &t, sizeof(t));

		if (failed)
			return TRUNCATED_TRANSPORT;
		p->transport = t;
	}
	if (is_icmp)
		return read_icmp(skb, p, direction);
	if (p->own_protocol == TCP) {
		__u32 header = (p->transport.ports.words >> 4) * 4;

		if (header < 20 || header > room)
			return TCP_HEADER;
		p->tcp_flags = p->transport.ports.flags;
		p->opens = (p->tcp_flags & (SYN | ACK)) == SYN;
	} else if (p->own_protocol == SCTP) {
		p->opens = p->transport.ports.words == SCTP_INIT;
	}
	if (!p->transport.ports.destination)
		return PORT_ZERO;
	p->source_port = p->transport.ports.source;
	p->destination_port = p->transport.ports.destination;
	ports_flow(p, direction, p->source_port, p->destination_port);
	return 0;
}

/* --- IP --- */

#define LOOSE_SOURCE_ROUTE 131
#define STRICT_SOURCE_ROUTE 137
#define MOST_OPTIONS 40 /* bytes */

/* Whether the options may tell routers another destination (RFC 791).  To find where each option starts would take a loop: a
 * byte that would start a source route counts wherever it is.
 */
static __always_inline bool may_be_source_routed(struct __sk_buff *skb, __u32 size)
{
	__u8 options[MOST_OPTIONS] = {};
	bool found = false;

	asm volatile("" : "+r"(size)); /* the verifier must see the bounds where they are used */
	if (!size || size > sizeof(options) || !LOAD(skb, ETHERNET + sizeof(struct ipv4), options, size))
		return true;
#pragma unroll
	for (int i = 0; i < MOST_OPTIONS; i++)
		found |= options[i] == LOOSE_SOURCE_ROUTE || options[i] == STRICT_SOURCE_ROUTE;
	return found;
}

static __always_inline int read_ipv4(struct __sk_buff *skb, struct packet *p, const struct ipv4 *ip)
{
	__u32 header = (ip->version_and_words & 0xF) * 4, length = bpf_ntohs(ip->length);

	if (ip->version_and_words >> 4 != 4)
		return IP_VERSION;
	p->family = 4;
	p->source[0] = ip->source;
	p->destination[0] = ip->destination;
	p->own_protocol = ip->protocol;
	p->hop_limit = ip->ttl;
	if (header < sizeof(*ip))
		return IP_HEADER_LENGTH;
	if (length < header)
		return IP_LENGTH;
	if (ETHERNET + length > skb->len)
		return TRUNCATED_IP;
	if (ip->fragment & bpf_htons(0x1FFF))
		return LATER_FRAGMENT;
	if (ip->fragment & bpf_htons(0x2000))
		return FIRST_FRAGMENT;
	if (!ip->protocol)
		return PROTOCOL_ZERO;
	if (header > sizeof(*ip) && may_be_source_routed(skb, header - sizeof(*ip)))
		return ROUTING_HEADER;
	p->offset = ETHERNET + header;
	p->end = ETHERNET + length;
	p->loaded = ETHERNET + sizeof(*ip);
	return 0;
}

#if NP_IPV6
/* One step over an extension header: 0 where `own_protocol` is now what the packet carries, 1 where there is another. */
static __always_inline int skip_extension(struct __sk_buff *skb, struct packet *p, bool first)
{
	struct {
		__u8 next;
		__u8 units; /* of 8 bytes, not counting the first */
		__be16 fragment;
	} header = {};

	switch (p->own_protocol) {
	case HOP_BY_HOP:
		if (!first) /* RFC 8200, 4.1: only right behind the IPv6 header */
			return UNKNOWN_EXTENSION;
	case DESTINATION_OPTIONS:
		break;
	case FRAGMENT:
		if (p->offset + 8 > p->end || !LOAD(skb, p->offset, &header, sizeof(header)))
			return TRUNCATED_TRANSPORT;
		return header.fragment & bpf_htons(0xFFF8) ? LATER_FRAGMENT : FIRST_FRAGMENT;
	case ROUTING:
		return ROUTING_HEADER;
	case NO_NEXT_HEADER:
	case MOBILITY:
	case HOST_IDENTITY:
	case SHIM6:
	case EXPERIMENT_1:
	case EXPERIMENT_2:
		return UNKNOWN_EXTENSION;
	default:
		return 0;
	}
	if (p->offset + 8 > p->end || !LOAD(skb, p->offset, &header, sizeof(header)))
		return TRUNCATED_TRANSPORT;
	p->own_protocol = header.next;
	p->offset += (header.units + 1) * 8;
	return p->offset > p->end ? TRUNCATED_TRANSPORT : 1;
}

static __always_inline int read_ipv6(struct __sk_buff *skb, struct packet *p, const struct ipv6 *ip)
{
	int step;

	if (bpf_ntohl(ip->version_class_label) >> 28 != 6)
		return IP_VERSION;
	p->family = 6;
	__builtin_memcpy(p->source, ip->source, sizeof(p->source));
	__builtin_memcpy(p->destination, ip->destination, sizeof(p->destination));
	p->own_protocol = ip->next;
	p->hop_limit = ip->hop_limit;
	p->offset = ETHERNET + sizeof(*ip);
	p->end = p->offset + bpf_ntohs(ip->length);
	p->loaded = p->offset;
	if (p->end > skb->len)
		return TRUNCATED_IP;
	/* Three are what RFC 8200 recommends in front of a transport header without routing and fragments. */
	step = skip_extension(skb, p, true);
	if (step == 1)
		step = skip_extension(skb, p, false);
	if (step == 1)
		step = skip_extension(skb, p, false);
	if (step == 1)
		step = skip_extension(skb, p, false);
	return step == 1 ? TOO_MANY_EXTENSIONS : step;
}
#endif

/* The start of a frame from its type on; one call brings all that most packets are judged by. */
struct head {
	__u16 unused; /* so that the header is aligned */
	__be16 type;
	union {
		struct {
			struct ipv4 ip;
			union transport transport;
		} v4;
		struct {
			struct ipv6 ip;
			union transport transport;
		} v6;
	};
};

/* 0 where `v4` or `v6` is the start of a frame, else why it is dropped; ARP passes.
 *
 * What lies in the first piece of the frame's memory, as headers nearly always do, is read where it is, which takes no
 * call; else there is a copy, of as much as there is.
 */
static __always_inline int read_head(struct __sk_buff *skb, struct head *copy, const struct head **v4, const struct head **v6)
{
	const struct head *here = (void *)(long)skb->data + ETHERTYPE_OFFSET - sizeof(here->unused);
	const void *end = (void *)(long)skb->data_end;
	__u32 room = skb->len;

	if (skb->vlan_present)
		return VLAN;
	if ((const void *)(&here->v4 + 1) <= end && here->type == bpf_htons(TYPE_IPV4)) {
		*v4 = here;
		return 0;
	}
#if NP_IPV6
	if ((const void *)(&here->v6 + 1) <= end && here->type == bpf_htons(TYPE_IPV6)) {
		*v6 = here;
		return 0;
	}
#endif
	if (room < ETHERNET)
		return TRUNCATED_FRAME;
	room -= ETHERTYPE_OFFSET;
	if (room > sizeof(*copy) - sizeof(copy->unused))
		room = sizeof(*copy) - sizeof(copy->unused);
	asm volatile("" : "+r"(room)); /* the verifier must see the bounds where they are used */
	if (!room || room > sizeof(*copy) - sizeof(copy->unused) || !LOAD(skb, ETHERTYPE_OFFSET, &copy->type, room))
		return TRUNCATED_FRAME;
	switch (bpf_ntohs(copy->type)) {
	case TYPE_IPV4:
		*v4 = copy;
		return room < sizeof(copy->type) + sizeof(copy->v4.ip) ? TRUNCATED_IP : 0;
#if NP_IPV6
	case TYPE_IPV6:
		*v6 = copy;
		return room < sizeof(copy->type) + sizeof(copy->v6.ip) ? TRUNCATED_IP : 0;
#endif
	case TYPE_ARP:
		return ARP;
	case TYPE_VLAN:
	case TYPE_SERVICE_VLAN:
		return VLAN;
	default:
		return ETHERTYPE;
	}
}
