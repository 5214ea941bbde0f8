/* What the maps hold.  `npcompile/runtime/bpf/layout.py` packs the same bytes; docs/datapath.md explains them.
 *
 * Numbers are in the machine's byte order; addresses and ports in the network's.
 */
#pragma once
#include <linux/bpf.h>
#include <linux/pkt_cls.h>
#include <linux/types.h>
#include <stdbool.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define LAYOUT 1 /* a new number for each change of what maps hold, or of where it lies there */
#define SLOTS 2
#define MIXED 0xFFFFFFFFU    /* a rule: the Service's backends differ */
#define OWN_NODE 0x80000000U /* a bit of an identity: the address is this node's */
#define REASONS 64

enum direction { EGRESS = 0, INGRESS = 1 }; /* as the pod sees it */

struct endpoint_slot {
	__u32 id; /* 0: none */
	__u32 flags; /* (1 << direction): the ruleset has port ranges */
	__u32 ruleset[2]; /* by direction; 0: not isolated */
	__u32 identity4;
	__u32 identity6;
	__be32 address4; /* 0: none */
	__be32 address6[4];
};

struct endpoint {
	__u32 ifindex; /* 0: a free place */
	struct endpoint_slot slot[SLOTS];
};

/* Tables, by their key's words; table.h explains them. */
enum table {
	ENDPOINTS, /* ifindex: a struct endpoint */
	ADDRESSES4, /* __be32 address[1]: identity, perhaps with OWN_NODE */
	ADDRESSES6, /* __be32 address[4]: the same */
	CLASSES, /* ruleset, identity: class */
	POLICY, /* ruleset, class, port (0: all) in the network's order and above it protocol (0: all): rule */
	TABLES,
};

struct bucket { /* of all tables but ENDPOINTS */
	__u32 word[16]; /* keys, then their numbers; 0: a free place */
};

struct state {
	__u64 generation; /* its low bit is the slot that counts */
	__u64 multiplier; /* of the tables' hash */
	__u32 size[TABLES]; /* of a table, or of a half: so many buckets in which keys belong, and behind them STEPS */
};

struct network4_key {
	__u32 length; /* bits */
	__be32 address;
};

struct network6_key {
	__u32 length;
	__be32 address[4];
};

struct network {
	__u32 identity[SLOTS];
};

struct range_key {
	__u32 length; /* bits of what follows */
	__u32 ruleset;
	__u32 class;
	__u16 protocol;
	__be16 port;
};

struct range {
	__u32 rule[SLOTS];
};

/* A flow is one for both of its directions, and belongs to the interface of one pod. */
struct flow4_key {
	__u32 ifindex;
	__be32 pod;
	__be32 peer;
	__be16 pod_port;
	__be16 peer_port;
	__u32 protocol;
};

struct flow6_key {
	__u32 ifindex;
	__be32 pod[4];
	__be32 peer[4];
	__be16 pod_port;
	__be16 peer_port;
	__u32 protocol;
};

struct flow {
	__u64 expires; /* on conntrack.h's clock */
	__u64 generation; /* the one that allowed it */
	__u32 rule; /* that allowed it; 0: none had to */
	__u8 direction; /* of its first packet */
	__u8 state;
	__u8 own_node;
	__u8 zero;
};

struct event {
	__u64 time; /* nanoseconds of the monotonic clock */
	__u64 generation;
	__u32 ifindex;
	__u32 endpoint;
	__u32 identity; /* the endpoint's */
	__u32 peer_identity;
	__u32 ruleset;
	__u32 rule;
	__be32 source[4]; /* IPv4: the first word */
	__be32 destination[4];
	__be16 source_port;
	__be16 destination_port;
	__u8 protocol;
	__u8 family; /* 4, 6; 0: not read so far */
	__u8 direction;
	__u8 allowed;
	__u32 reason;
	__u32 zero;
};

/* What a generation sees of a value.  The verifier must see the bound, which the compiler knows to be superfluous. */
static __always_inline __u32 of_slot(const __u32 *slots, __u32 slot)
{
	asm volatile("" : "+r"(slot));
	return slots[slot & 1];
}

/* The loader sets the sizes, except of what has one. */
#define MAP(name, kind, key_type, value_type, entries, flags)                                                          \
	struct {                                                                                                       \
		__uint(type, kind);                                                                                    \
		__uint(max_entries, entries);                                                                          \
		__uint(map_flags, flags);                                                                              \
		__type(key, key_type);                                                                                 \
		__type(value, value_type);                                                                             \
	} name SEC(".maps")

MAP(np_layout, BPF_MAP_TYPE_ARRAY, __u32, __u32, LAYOUT, 0); /* its size is what it says */
MAP(np_state, BPF_MAP_TYPE_ARRAY, __u32, struct state, 1, 0);
MAP(np_endpoints, BPF_MAP_TYPE_ARRAY, __u32, struct endpoint, 1, 0);
MAP(np_addresses4, BPF_MAP_TYPE_ARRAY, __u32, struct bucket, 1, BPF_F_MMAPABLE);
MAP(np_networks4, BPF_MAP_TYPE_LPM_TRIE, struct network4_key, struct network, 1, BPF_F_NO_PREALLOC);
MAP(np_classes, BPF_MAP_TYPE_ARRAY, __u32, struct bucket, 1, BPF_F_MMAPABLE);
MAP(np_policy, BPF_MAP_TYPE_ARRAY, __u32, struct bucket, 1, BPF_F_MMAPABLE);
MAP(np_ranges, BPF_MAP_TYPE_LPM_TRIE, struct range_key, struct range, 1, BPF_F_NO_PREALLOC);
MAP(np_flows4, BPF_MAP_TYPE_LRU_HASH, struct flow4_key, struct flow, 1, 0);
MAP(np_rule_hits, BPF_MAP_TYPE_PERCPU_ARRAY, __u32, __u64, 1, 0);
MAP(np_reason_hits, BPF_MAP_TYPE_PERCPU_ARRAY, __u32, __u64, REASONS, 0);
#if NP_IPV6
MAP(np_addresses6, BPF_MAP_TYPE_ARRAY, __u32, struct bucket, 1, BPF_F_MMAPABLE);
MAP(np_networks6, BPF_MAP_TYPE_LPM_TRIE, struct network6_key, struct network, 1, BPF_F_NO_PREALLOC);
MAP(np_flows6, BPF_MAP_TYPE_LRU_HASH, struct flow6_key, struct flow, 1, 0);
#endif
#if NP_EVENTS
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 18); /* bytes */
} np_events SEC(".maps");
#endif
