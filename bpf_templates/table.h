/* Exact matches: hash tables of our own in arrays.  A look-up is no call, and reads one cache line of memory in which
 * nothing else lies (bench/bpf_layouts.py has the kernel's hash beside it).
 *
 * A table has a half for each slot, and a half has its buckets one after the other.  A key is in the bucket that its hash
 * says or, where that and all between are full, in one of the next.  A change is written into the half that nobody reads.
 *
 * Interfaces come and go one at a time: each has a bucket to itself, with both slots, and may lie in any of so many.
 */
#pragma once
#include "layout.h"

#define WORDS 16 /* of a bucket */
#define STEPS 4 /* buckets in which a key may lie */

/* The first bucket in which a key of so many words, which the compiler must know, may lie. */
static __always_inline __u32 first_bucket(const struct state *state, enum table table, const __u32 *key, int words)
{
	__u64 hash = 0;

	for (int i = 0; i < words; i++)
		hash = (hash ^ key[i]) * state->multiplier;
	return (hash >> 32) * state->size[table] >> 32;
}

/* The number at a key; 0: none. */
static __always_inline __u32 find(void *map, const struct state *state, enum table table, __u32 slot, const __u32 *key,
				  int words)
{
	const int places = WORDS / (words + 1);
	__u32 at = slot * (state->size[table] + STEPS) + first_bucket(state, table, key, words), number = 0;

	for (int step = 0; step < STEPS; step++) {
		struct bucket *bucket = bpf_map_lookup_elem(map, &at);

		if (!bucket)
			return 0;
		for (int place = 0; place < places; place++) {
			__u64 differs = 0;

			for (int i = 0; i < words; i++)
				differs |= bucket->word[place * words + i] ^ key[i];
			/* All bits where nothing differs: a branch here could not be foreseen. */
			number |= bucket->word[places * words + place] & (__u32)((__s64)(differs - 1) >> 63);
		}
		if (number || !bucket->word[places * words + places - 1])
			break;
		at++;
	}
	return number;
}

static __always_inline struct endpoint *endpoint_at(const struct state *state, __u32 ifindex)
{
	__u32 at = first_bucket(state, ENDPOINTS, &ifindex, 1);

	for (int step = 0; step < STEPS; step++) {
		struct endpoint *endpoint = bpf_map_lookup_elem(&np_endpoints, &at);

		if (!endpoint || endpoint->ifindex == ifindex)
			return endpoint;
		at++;
	}
	return NULL;
}
