/* What the rulesets of an endpoint allow. */
#pragma once
#include "parse.h"

static __always_inline __u32 identity_of(const struct packet *p, __u32 slot)
{
#if NP_IPV6
	if (p->family == 6) {
		struct network6_key key = {
			.length = 128,
			.address = { p->peer[0], p->peer[1], p->peer[2], p->peer[3] },
		};
		struct identity *exact = bpf_map_lookup_elem(&np_addresses6, key.address);

		__u32 number = exact ? of_slot(exact->number, slot) : 0;

		if (number)
			return number;
		struct network *around = bpf_map_lookup_elem(&np_networks6, &key);

		return around ? of_slot(around->identity, slot) : 0;
	}
#endif
	struct network4_key key = { .length = 32, .address = p->peer[0] };
	struct identity *exact = bpf_map_lookup_elem(&np_addresses4, &key.address);

	__u32 number = exact ? of_slot(exact->number, slot) : 0;

	if (number)
		return number;
	struct network *around = bpf_map_lookup_elem(&np_networks4, &key);

	return around ? of_slot(around->identity, slot) : 0;
}

static __always_inline __u32 look_up(__u32 ruleset, __u32 class, __u8 protocol, __be16 port, __u32 slot)
{
	struct policy_key key = { .ruleset = ruleset, .class = class, .port = port, .protocol = protocol };
	struct policy *found = bpf_map_lookup_elem(&np_policy, &key);

	return found ? of_slot(found->rule, slot) : 0;
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
static __always_inline __u32 deciding_rule(__u32 ruleset, __u32 identity, __u8 protocol, __be16 port, bool ranges,
					   __u32 slot)
{
	struct class_key key = { .ruleset = ruleset, .identity = identity };
	struct class *found = bpf_map_lookup_elem(&np_classes, &key);
	__u32 class = found ? of_slot(found->number, slot) : 0, rule = 0;

	if (has_ports(protocol)) {
		rule = look_up(ruleset, class, protocol, port, slot);
		if (!rule && ranges)
			rule = look_up_range(ruleset, class, protocol, port, slot);
		if (!rule)
			rule = look_up(ruleset, class, protocol, 0, slot);
	}
	return rule ? rule : look_up(ruleset, class, 0, 0, slot);
}
