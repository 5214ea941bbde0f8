"""Other layouts of the BPF maps, beside the ones that the datapath has: nanoseconds a lookup.  Needs root and clang.

Only the lookup is timed, by BPF_PROG_TEST_RUN: a program draws a key at random among so many, and asks; what drawing
takes by itself is taken off.  Each layout is asked the same kind of key, and each program says whether it found one.

Addresses: `hash` first and the trie for what it lacks is what the datapath does; `trie` keeps single addresses there,
too.  Ports, for so many peer classes with a port and a range each: `hash` first and the trie for ranges is what the
datapath does; `trie` keeps single ports there, too; `arrays` maps a port to a port class by an array for each protocol,
and has one hash of (ruleset, class, port class), so that a port and a range cost the same.

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
from npcompile.runtime.bpf.compile import compile_object
from npcompile.runtime.bpf.libbpf import LOCK, Object
from tests.kernel import frames as f

SIZES = (10, 1_000, 16_000, 100_000)
_TCP, _PORT, _BLOCK, _BLOCK_BITS = 6, 80, 8000, 13  # ports 8000 to 8007
_PORT_BITS, _FOUND = 80, 7
_FIRST_ADDRESS, _FIRST_NETWORK, _NETWORK_BITS = 0x0A80_0000, 0x0B00_0000, 28
_PORT_CLASS, _BLOCK_CLASS = 1, 2

PROGRAMS = f"""
MAP(np_bench, BPF_MAP_TYPE_ARRAY, __u32, __u32, 1, 0);
MAP(np_port_classes, BPF_MAP_TYPE_ARRAY, __u32, __u16, 1 << 16, 0);
struct classed_key {{ __u32 ruleset; __u32 class; __u32 port_class; }};
MAP(np_classed, BPF_MAP_TYPE_HASH, struct classed_key, struct policy, 1, 0);
MAP(np_all4, BPF_MAP_TYPE_LPM_TRIE, struct network4_key, struct network, 1, BPF_F_NO_PREALLOC);
MAP(np_all_ports, BPF_MAP_TYPE_LPM_TRIE, struct range_key, struct range, 1, BPF_F_NO_PREALLOC);

static __always_inline __u32 drawn(void)
{{
	__u32 zero = 0, *count = bpf_map_lookup_elem(&np_bench, &zero);

	return count ? ((__u64)bpf_get_prandom_u32() * *count) >> 32 : 0;
}}
static __always_inline __u32 hash_then_trie(__u32 address)
{{
	struct packet p = {{ .family = 4, .peer = {{ bpf_htonl(address) }} }};

	return identity_of(&p, 0);
}}
static __always_inline __u32 trie(__u32 address)
{{
	struct network4_key key = {{ .length = 32, .address = bpf_htonl(address) }};
	struct network *around = bpf_map_lookup_elem(&np_all4, &key);

	return around ? of_slot(around->identity, 0) : 0;
}}
static __always_inline __u32 port_hash(__u32 class, __u16 port)
{{
	__u32 rule = look_up(1, class, TCP, bpf_htons(port), 0);

	return rule ? rule : look_up_range(1, class, TCP, bpf_htons(port), 0);
}}
static __always_inline __u32 port_trie(__u32 class, __u16 port)
{{
	struct range_key key = {{ 8 * (sizeof(key) - sizeof(key.length)), 1, class, TCP, bpf_htons(port) }};
	struct range *found = bpf_map_lookup_elem(&np_all_ports, &key);

	return found ? of_slot(found->rule, 0) : 0;
}}
static __always_inline __u32 port_arrays(__u32 class, __u16 port)
{{
	__u32 index = port;
	__u16 *number = bpf_map_lookup_elem(&np_port_classes, &index);
	struct classed_key key = {{ 1, class, number ? *number : 0 }};
	struct policy *found = bpf_map_lookup_elem(&np_classed, &key);

	return found ? of_slot(found->rule, 0) : 0;
}}
#define ASK(name, what) SEC("tc") int name(struct __sk_buff *skb) {{ __u32 n = drawn(); return what; }}
#define ONE {_FIRST_ADDRESS:#x} + n
#define INSIDE {_FIRST_NETWORK:#x} + (n << {32 - _NETWORK_BITS}) + 5
#define FLAT_PORT {_PORT}
#define BLOCK_PORT ({_BLOCK} + (n & 7))
ASK(draw, (int)(n >> 31) + {_FOUND})
ASK(one_hash, hash_then_trie(ONE))
ASK(one_trie, trie(ONE))
ASK(inside_hash, hash_then_trie(INSIDE))
ASK(inside_trie, trie(INSIDE))
ASK(port_hash_one, port_hash(1 + n, FLAT_PORT))
ASK(port_trie_one, port_trie(1 + n, FLAT_PORT))
ASK(port_arrays_one, port_arrays(1 + n, FLAT_PORT))
ASK(port_hash_block, port_hash(1 + n, BLOCK_PORT))
ASK(port_trie_block, port_trie(1 + n, BLOCK_PORT))
ASK(port_arrays_block, port_arrays(1 + n, BLOCK_PORT))
"""

# What is asked: by line of the table, the programs of the layouts.
QUESTIONS: Mapping[str, Mapping[str, str]] = {
    "one address": {"hash": "one_hash", "trie": "one_trie"},
    "in a block": {"hash": "inside_hash", "trie": "inside_trie"},
    "one port": {"hash": "port_hash_one", "trie": "port_trie_one", "arrays": "port_arrays_one"},
    "in a range": {"hash": "port_hash_block", "trie": "port_trie_block", "arrays": "port_arrays_block"},
}
LAYOUTS = ("hash", "trie", "arrays")

_LOCKED = struct.pack("=III", 0, _FOUND, 0)
_BARE = struct.pack("=II", _FOUND, 0)
Entries = Sequence[tuple[bytes, bytes]]


def _each(entries: int, key: Callable[[int], bytes], value: bytes) -> Entries:
    return [(key(n), value) for n in range(entries)]


def _policy(n: int, port: int) -> bytes:
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
    classed = [
        (struct.pack("=III", 1, 1 + n, port_class), _LOCKED)
        for n in range(entries)
        for port_class in (_PORT_CLASS, _BLOCK_CLASS)
    ]
    return {
        "np_addresses4": _each(entries, lambda n: struct.pack("!I", _FIRST_ADDRESS + n), _LOCKED),
        "np_networks4": blocks,
        "np_all4": [*ones, *blocks],
        "np_policy": _each(entries, lambda n: _policy(n, _PORT), _LOCKED),
        "np_ranges": ranges,
        "np_all_ports": [*single, *ranges],
        "np_classed": classed,
        "np_port_classes": [
            (struct.pack("=I", _PORT), struct.pack("=H", _PORT_CLASS)),
            *((struct.pack("=I", _BLOCK + n), struct.pack("=H", _BLOCK_CLASS)) for n in range(8)),
        ],
        "np_bench": [(bytes(4), struct.pack("=I", entries))],
    }


def measured(entries: int, runs: int, repeat: int) -> dict[str, float]:
    """Medians over drawing a key, of every program in turn."""
    held = contents(entries)
    frame = f.ipv4("10.0.0.1", "10.0.0.2", f.TCP, f.tcp(40000, 80))
    names = ("draw", *(name for programs in QUESTIONS.values() for name in programs.values()))
    found: dict[str, list[int]] = {name: [] for name in names}
    room = {name: 1 << (2 * len(entries) - 1).bit_length() for name, entries in held.items() if "np_port" not in name}
    with ExitStack() as stack:
        made = stack.enter_context(Object(compile_object(render(Features(events=False)) + PROGRAMS), room))
        for name, pairs in held.items():
            target = made.map(name)
            assert target is not None, name
            target.put_all(pairs, LOCK if pairs[0][1] is _LOCKED else 0)
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
    print(f"{'':<12} {'entries':>8}" + "".join(f" {name:>7}" for name in LAYOUTS) + "  by hash: trie arrays")
    for entries in SIZES:
        times = measured(entries, options.runs, options.repeat)
        for what, programs in QUESTIONS.items():
            here = {name: times[program] for name, program in programs.items()}
            cells = "".join(f" {here[name]:>7.0f}" if name in here else f" {'':>7}" for name in LAYOUTS)
            ratios = " ".join(f"{here[name] / here['hash']:>6.2f}" for name in LAYOUTS[1:] if name in here)
            print(f"{what:<12} {entries:>8}{cells}         {ratios}", flush=True)


if __name__ == "__main__":
    main()
