"""Other layouts of the BPF maps, beside the ones that the datapath has: nanoseconds a lookup.  Needs root and clang.

Only the lookup is timed, by BPF_PROG_TEST_RUN: a program draws a key at random among so many, and asks; what drawing
takes by itself is taken off.  Each layout is asked the same kind of key, and each program says whether it found one.

Addresses: `table`, one of our own in an array, and the trie for what it lacks is what the datapath does; `hash` has
the kernel's hash for the table; `trie` keeps single addresses there, too.  Ports, for so many peer classes with a port
and a range each: `table` first and the trie for ranges is what the datapath does; `hash` and `trie` as before; `arrays`
maps a port to a port class by an array for each protocol, and has one table of (ruleset, class, port class), so that a
port and a range cost the same.

    python bench/bpf_layouts.py [--runs 9] [--repeat 200000]
"""

from __future__ import annotations

import argparse
import struct
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from npcompile.backends.bpf.source import Features, render
from npcompile.netset.cidrs import Family
from npcompile.runtime.bpf.compile import compile_object
from npcompile.runtime.bpf.layout import ADDRESSES, HASHED, POLICY
from npcompile.runtime.bpf.libbpf import Object
from npcompile.runtime.bpf.maps import STATE, set_state, write_half
from npcompile.runtime.bpf.packed import Hashing, Packed, Slots, arrange
from tests.kernel import frames as f

SIZES = (10, 1_000, 16_000, 100_000)
_TCP, _PORT, _BLOCK, _BLOCK_BITS = 6, 80, 8000, 13  # ports 8000 to 8007
_PORT_BITS, _FOUND = 80, 7
_FIRST_ADDRESS, _FIRST_NETWORK, _NETWORK_BITS = 0x0A80_0000, 0x0B00_0000, 28
_PORT_CLASS, _BLOCK_CLASS = 1, 2

PROGRAMS = f"""
MAP(np_bench, BPF_MAP_TYPE_ARRAY, __u32, __u32, 1, 0);
MAP(np_port_classes, BPF_MAP_TYPE_ARRAY, __u32, __u16, 1 << 16, 0);
struct of_ports {{ __u32 ruleset; __u32 class; __be16 port; __u16 protocol; }};
struct locked {{ struct bpf_spin_lock lock; __u32 number[SLOTS]; }};
MAP(np_classed, BPF_MAP_TYPE_ARRAY, __u32, struct bucket, 1, BPF_F_MMAPABLE);
MAP(np_hash4, BPF_MAP_TYPE_HASH, __be32, struct locked, 1, 0);
MAP(np_hash_ports, BPF_MAP_TYPE_HASH, struct of_ports, struct locked, 1, 0);
MAP(np_all4, BPF_MAP_TYPE_LPM_TRIE, struct network4_key, struct network, 1, BPF_F_NO_PREALLOC);
MAP(np_all_ports, BPF_MAP_TYPE_LPM_TRIE, struct range_key, struct range, 1, BPF_F_NO_PREALLOC);

static __always_inline __u32 drawn(void)
{{
	__u32 zero = 0, *count = bpf_map_lookup_elem(&np_bench, &zero);

	return count ? ((__u64)bpf_get_prandom_u32() * *count) >> 32 : 0;
}}
static __always_inline __u32 trie(__u32 address)
{{
	struct network4_key key = {{ .length = 32, .address = bpf_htonl(address) }};
	struct network *around = bpf_map_lookup_elem(&np_all4, &key);

	return around ? of_slot(around->identity, 0) : 0;
}}
static __always_inline __u32 hash(__u32 address)
{{
	struct network4_key key = {{ .length = 32, .address = bpf_htonl(address) }};
	struct locked *exact = bpf_map_lookup_elem(&np_hash4, &key.address);
	struct network *around = exact ? NULL : bpf_map_lookup_elem(&np_networks4, &key);

	return exact ? of_slot(exact->number, 0) : around ? of_slot(around->identity, 0) : 0;
}}
static __always_inline __u32 table(__u32 address)
{{
	struct packet p = {{ .family = 4, .peer = {{ bpf_htonl(address) }} }};
	__u32 zero = 0;
	struct state *state = bpf_map_lookup_elem(&np_state, &zero);

	return state ? identity_of(state, &p, 0) : 0;
}}
static __always_inline __u32 port_table(__u32 class, __u16 port)
{{
	__u32 zero = 0;
	struct state *state = bpf_map_lookup_elem(&np_state, &zero);
	__u32 rule = state ? look_up(state, 1, class, TCP, bpf_htons(port), 0) : 0;

	return rule ? rule : look_up_range(1, class, TCP, bpf_htons(port), 0);
}}
static __always_inline __u32 port_hash(__u32 class, __u16 port)
{{
	struct of_ports key = {{ 1, class, bpf_htons(port), TCP }};
	struct locked *found = bpf_map_lookup_elem(&np_hash_ports, &key);

	return found ? of_slot(found->number, 0) : look_up_range(1, class, TCP, bpf_htons(port), 0);
}}
static __always_inline __u32 port_trie(__u32 class, __u16 port)
{{
	struct range_key key = {{ 8 * (sizeof(key) - sizeof(key.length)), 1, class, TCP, bpf_htons(port) }};
	struct range *found = bpf_map_lookup_elem(&np_all_ports, &key);

	return found ? of_slot(found->rule, 0) : 0;
}}
static __always_inline __u32 port_arrays(__u32 class, __u16 port)
{{
	__u32 index = port, zero = 0;
	__u16 *number = bpf_map_lookup_elem(&np_port_classes, &index);
	struct state *state = bpf_map_lookup_elem(&np_state, &zero);
	__u32 key[] = {{ 1, class, number ? *number : 0 }};

	return state ? find(&np_classed, state, POLICY, 0, key, 3) : 0;
}}
#define ASK(name, what) SEC("tc") int name(struct __sk_buff *skb) {{ __u32 n = drawn(); return what; }}
#define ONE {_FIRST_ADDRESS:#x} + n
#define INSIDE {_FIRST_NETWORK:#x} + (n << {32 - _NETWORK_BITS}) + 5
#define FLAT_PORT {_PORT}
#define BLOCK_PORT ({_BLOCK} + (n & 7))
ASK(draw, (int)(n >> 31) + {_FOUND})
ASK(one_table, table(ONE))
ASK(one_hash, hash(ONE))
ASK(one_trie, trie(ONE))
ASK(inside_table, table(INSIDE))
ASK(inside_hash, hash(INSIDE))
ASK(inside_trie, trie(INSIDE))
ASK(port_table_one, port_table(1 + n, FLAT_PORT))
ASK(port_hash_one, port_hash(1 + n, FLAT_PORT))
ASK(port_trie_one, port_trie(1 + n, FLAT_PORT))
ASK(port_arrays_one, port_arrays(1 + n, FLAT_PORT))
ASK(port_table_block, port_table(1 + n, BLOCK_PORT))
ASK(port_hash_block, port_hash(1 + n, BLOCK_PORT))
ASK(port_trie_block, port_trie(1 + n, BLOCK_PORT))
ASK(port_arrays_block, port_arrays(1 + n, BLOCK_PORT))
"""

# What is asked: by line of the table, the programs of the layouts.
LAYOUTS = ("table", "hash", "trie", "arrays")
QUESTIONS: Mapping[str, Mapping[str, str]] = {
    "one address": {name: f"one_{name}" for name in LAYOUTS[:3]},
    "in a block": {name: f"inside_{name}" for name in LAYOUTS[:3]},
    "one port": {name: f"port_{name}_one" for name in LAYOUTS},
    "in a range": {name: f"port_{name}_block" for name in LAYOUTS},
}

_LOCK = 4  # BPF_F_LOCK
_LOCKED = struct.pack("=III", 0, _FOUND, 0)
_BARE = struct.pack("=II", _FOUND, 0)
Entries = Sequence[tuple[bytes, bytes]]


def _each(entries: int, key: Callable[[int], bytes], value: bytes) -> Entries:
    return [(key(n), value) for n in range(entries)]


def _address(n: int) -> bytes:
    return struct.pack("!I", _FIRST_ADDRESS + n)


def _ports(n: int, port: int) -> bytes:
    return struct.pack("=II", 1, 1 + n) + struct.pack("!H", port) + bytes([_TCP, 0])


def _range(n: int, port: int, bits: int) -> bytes:
    return struct.pack("=IIIH", bits, 1, 1 + n, _TCP) + struct.pack("!H", port)


def _prefix(address: int, bits: int) -> bytes:
    return struct.pack("=I", bits) + struct.pack("!I", address)


def contents(entries: int) -> Mapping[str, Entries]:
    """So many addresses, as many blocks; so many peer classes with one port and one range of ports each."""
    ones = _each(entries, lambda n: _prefix(_FIRST_ADDRESS + n, 32), _BARE)
    blocks = _each(entries, lambda n: _prefix(_FIRST_NETWORK + (n << 32 - _NETWORK_BITS), _NETWORK_BITS), _BARE)
    single = _each(entries, lambda n: _range(n, _PORT, _PORT_BITS + 16), _BARE)
    ranges = _each(entries, lambda n: _range(n, _BLOCK, _PORT_BITS + _BLOCK_BITS), _BARE)
    return {
        "np_hash4": _each(entries, _address, _LOCKED),
        "np_networks4": blocks,
        "np_all4": [*ones, *blocks],
        "np_hash_ports": _each(entries, lambda n: _ports(n, _PORT), _LOCKED),
        "np_ranges": ranges,
        "np_all_ports": [*single, *ranges],
        "np_port_classes": [
            (struct.pack("=I", _PORT), struct.pack("=H", _PORT_CLASS)),
            *((struct.pack("=I", _BLOCK + n), struct.pack("=H", _BLOCK_CLASS)) for n in range(8)),
        ],
        "np_bench": [(bytes(4), struct.pack("=I", entries))],
    }


def tables(entries: int) -> Mapping[str, tuple[Packed, Slots]]:
    """The same in tables of our own, by the names of their maps."""
    number = struct.pack("=I", _FOUND)
    classed = [
        struct.pack("=III", 1, 1 + n, port_class) for n in range(entries) for port_class in (_PORT_CLASS, _BLOCK_CLASS)
    ]
    return {
        "np_addresses4": (ADDRESSES[Family.V4], {_address(n): number for n in range(entries)}),
        "np_policy": (POLICY, {_ports(n, _PORT): number for n in range(entries)}),
        "np_classed": (POLICY, dict.fromkeys(classed, number)),
    }


def measured(entries: int, runs: int, repeat: int) -> dict[str, float]:
    """Medians over drawing a key, of every program in turn."""
    held = contents(entries)
    frame = f.ipv4("10.0.0.1", "10.0.0.2", f.TCP, f.tcp(40000, 80))
    names = ("draw", *(name for programs in QUESTIONS.values() for name in programs.values()))
    found: dict[str, list[int]] = {name: [] for name in names}
    filled = tables(entries)
    hashing = arrange({table: [held for one, held in filled.values() if one is table] for table in HASHED}, 1 << 20)
    assert isinstance(hashing, Hashing)
    room = {name: 2 * hashing.buckets(table) for name, (table, _) in filled.items()}
    room |= {name: 1 << (2 * len(pairs) - 1).bit_length() for name, pairs in held.items() if "np_port" not in name}
    with ExitStack() as stack:
        made = stack.enter_context(Object(compile_object(render(Features(events=False)) + PROGRAMS), room))
        for name, pairs in held.items():
            target = made.map(name)
            assert target is not None, name
            target.put_all(pairs, _LOCK if pairs[0][1] is _LOCKED else 0)
        maps = {name: target for name in (STATE, *filled) if (target := made.map(name)) is not None}
        set_state(maps, 0, hashing)
        for name, (table, numbers) in filled.items():
            write_half(maps[name], table, numbers, hashing, 0)
        for _ in range(runs):
            for name, times in found.items():
                run = made.program(name).run(frame, repeat=repeat)
                if run.result != _FOUND:
                    sys.exit(f"{name} did not find what it should: {run.result}")
                times.append(run.nanoseconds)
    draw = median(found.pop("draw"))
    return {name: median(times) - draw for name, times in found.items()}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=9)
    parser.add_argument("--repeat", type=int, default=200_000)
    options = parser.parse_args()
    print(f"{'':<12} {'entries':>8}" + "".join(f" {name:>7}" for name in LAYOUTS) + "  by table: hash trie arrays")
    for entries in SIZES:
        times = measured(entries, options.runs, options.repeat)
        for what, programs in QUESTIONS.items():
            here = {name: times[program] for name, program in programs.items()}
            cells = "".join(f" {here[name]:>7.0f}" if name in here else f" {'':>7}" for name in LAYOUTS)
            ratios = " ".join(f"{here[name] / here['table']:>6.2f}" for name in LAYOUTS[1:] if name in here)
            print(f"{what:<12} {entries:>8}{cells}         {ratios}", flush=True)


if __name__ == "__main__":
    main()
