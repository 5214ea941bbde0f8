/* What the rulesets of an endpoint allow. */
#pragma once
#include "parse.h"
#include "table.h"

static __always_inline __u32 identity_of(const struct state *state, const struct packet *p, __u32 slot)
{
#if NP_IPV6
	if (p->family == 6) {
		struct network6_key key = {
			.length = 128,
			.address = { p->peer[0], p->peer[1], p->peer[2], p->peer[3] },
		};
		__u32 number = find(&np_addresses6, state, ADDRESSES6, slot, p->peer, 4);

		if (number)
			return number;
		struct network *around = bpf_map_lookup_elem(&np_networks6, &key);

		return around ? of_slot(around->identity, slot) : 0;
	}
#endif
	struct network4_key key = { .length = 32, .address = p->peer[0] };
	__u32 number = find(&np_addresses4, state, ADDRESSES4, slot, p->peer, 1);

	if (number)
		return number;
	struct network *around = bpf_map_lookup_elem(&np_networks4, &key);

	return around ? of_slot(around->identity, slot) : 0;
}

static __always_inline __u32 look_up(const struct state *state, __u32 ruleset, __u32 class, __u8 protocol, __be16 port,
				     __u32 slot)
{
	__u32 key[] = { ruleset, class, port | protocol << 16 };

	return find(&np_policy, state, POLICY, slot, key, 3);
}

static __always_inline __u32 look_up_range(__u32 ruleset, __u32 class, __u8 protocol, __be16 port, __u32 slot)
{
	struct range_key key = {
		.length = 8 * (sizeof(key) - sizeof(key.length)),
		.ruleset = ruleset,
		.class = class,
		.protocol = protocol,
		.port = port,
	};
	struct range *found = bpf_map_lookup_elem(&np_ranges, &key);

	return found ? of_slot(found->rule, slot) : 0;
}

/* The rule that decides, 0 for none, or MIXED.  The narrowest entry holds the least rule of all that cover it. */
static __always_inline __u32 deciding_rule(const struct state *state, __u32 ruleset, __u32 identity, __u8 protocol,
					   __be16 port, bool ranges, __u32 slot)
{
	__u32 key[] = { ruleset, identity }, rule = 0;
	__u32 class = find(&np_classes, state, CLASSES, slot, key, 2);

	if (has_ports(protocol)) {
		rule = look_up(state, ruleset, class, protocol, port, slot);
		if (!rule && ranges)
			rule = look_up_range(ruleset, class, protocol, port, slot);
		if (!rule)
			rule = look_up(state, ruleset, class, protocol, 0, slot);
	}
	return rule ? rule : look_up(state, ruleset, class, 0, 0, slot);
}
