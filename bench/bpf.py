"""Nanoseconds a packet in the BPF datapath, by BPF_PROG_TEST_RUN, beside an empty program.  Needs root and clang.

With `repeat` only the first run is a new flow, so "new" is a miss in the table of flows and the walk through the
policy, with nothing remembered and no event; what remembering and telling cost is printed apart.  "random" lets a
wrapper write a random one of the known sources into the packet before each run; what the wrapper costs by itself is
taken off.

    python bench/bpf.py [--runs 9] [--repeat 200000]
"""

from __future__ import annotations

import argparse
import json
import struct
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from npcompile.backends.bpf.source import Features, render
from npcompile.readers.bpf_maps import read_maps
from npcompile.runtime.bpf.compile import compile_object
from npcompile.runtime.bpf.layout import TABLES, pack
from npcompile.runtime.bpf.libbpf import Object, Program
from npcompile.runtime.bpf.loaded import MAPS
from npcompile.runtime.bpf.maps import change
from tests.kernel import frames as f

SIZES = (10, 1_000, 16_000, 100_000)
PEER, POD, LOOPBACK = "10.128.0.0", "10.0.0.1", 1
_FIRST_PEER = 0x0A80_0000

WRAPPERS = f"""
MAP(np_bench, BPF_MAP_TYPE_ARRAY, __u32, __u32, 1, 0);
static __always_inline void randomise(struct __sk_buff *skb)
{{
	__u32 zero = 0, *count = bpf_map_lookup_elem(&np_bench, &zero);

	if (count) {{
		__u64 chosen = ((__u64)bpf_get_prandom_u32() * *count) >> 32;
		__be32 source = bpf_htonl({_FIRST_PEER:#x} + (__u32)chosen);

		bpf_skb_store_bytes(skb, 26, &source, sizeof(source), 0);
	}}
}}
SEC("tc") int empty(struct __sk_buff *skb) {{ return TC_ACT_UNSPEC; }}
SEC("tc") int only_random(struct __sk_buff *skb) {{ randomise(skb); return TC_ACT_UNSPEC; }}
SEC("tc") int random_source(struct __sk_buff *skb) {{ randomise(skb); return decide(skb, INGRESS); }}
"""


def maps_of(entries: int) -> bytes:
    """One isolated pod, and as many addresses that may reach its port 80, in 50 identities."""
    peers = [
        {"address": f"10.{128 + (n >> 16)}.{n >> 8 & 255}.{n & 255}", "identity": 2 + n % 50} for n in range(entries)
    ]
    return json.dumps({
        "version": 1,
        "node": {"name": None, "addresses": []},
        "features": {"ipv6": True, "sctp": True, "events": False, "established": "keep"},
        "endpoints": [{"pod": "a/x", "id": 1, "egress": 0, "ingress": 1, "addresses": [POD]}],
        "addresses": [{"address": POD, "identity": 1}, *peers],
        "networks": [],
        "classes": [{"ruleset": 1, "identity": 2 + n, "class": 1} for n in range(50)],
        "policy": [{"ruleset": 1, "class": 1, "protocol": "tcp", "ports": "80", "rule": 1}],
        "rulesets": [{"id": 1, "direction": "ingress", "origin": "s"}],
        "rules": [{"id": 1, "origin": "r"}],
    }, indent=0).encode()  # fmt: skip


def loaded(source: str, entries: int, stack: ExitStack) -> Object:
    """The programs, with maps for so many peers."""
    sizes = dict.fromkeys(
        (*(table.name for table in TABLES), "np_flows4", "np_flows6", "np_rule_hits"), 2 * entries + 64
    )
    made = stack.enter_context(Object(compile_object(source), sizes))
    maps = {name: found for name in MAPS if (found := made.map(name)) is not None}
    change(maps, pack(read_maps(maps_of(entries)), {"a/x": LOOPBACK}))
    count = made.map("np_bench")
    assert count is not None
    count.put(bytes(4), struct.pack("=I", entries))
    return made


def measured(programs: Mapping[str, tuple[Program, bytes]], runs: int, repeat: int) -> dict[str, float]:
    """Medians, each program in turn."""
    context = struct.pack("=11I", 0, 0, 0, 0, 0, 0, 0, 0, 0, 9, LOOPBACK)
    found: dict[str, list[int]] = {name: [] for name in programs}
    for _ in range(runs):
        for name, (program, frame) in programs.items():
            found[name].append(program.run(frame, context, repeat).nanoseconds)
    return {name: median(times) for name, times in found.items()}


def rows(runs: int, repeat: int) -> Iterator[str]:
    """A line for each size."""
    opening = f.ipv4(PEER, POD, f.TCP, f.tcp(40000, 80))
    later = f.ipv4(PEER, POD, f.TCP, f.tcp(40000, 80, f.ACK))
    yield f"{'entries':>8} {'empty':>6} {'flow':>6} {'new':>6} {'random':>7} {'+remember':>10} {'+event':>7}"
    for entries in SIZES:
        with ExitStack() as stack:
            quiet = Features(events=False)
            bare = loaded(render(Features(events=False, constants={"NP_INSERT": 0})) + WRAPPERS, entries, stack)
            flows = loaded(render(quiet) + WRAPPERS, entries, stack)
            telling = loaded(render(Features(constants={"NP_INSERT": 0})) + WRAPPERS, entries, stack)
            times = measured({
                "empty": (bare.program("empty"), opening),
                "flow": (flows.program("np_to_pod"), later),
                "new": (bare.program("np_to_pod"), opening),
                "remembered": (flows.program("np_to_pod"), opening),
                "told": (telling.program("np_to_pod"), opening),
                "wrapper": (bare.program("only_random"), opening),
                "wrapped": (bare.program("random_source"), opening),
            }, runs, repeat)  # fmt: skip
        random = times["wrapped"] - times["wrapper"] + times["empty"]
        yield (
            f"{entries:>8} {times['empty']:>6.0f} {times['flow']:>6.0f} {times['new']:>6.0f} {random:>7.0f}"
            f" {times['remembered'] - times['new']:>10.0f} {times['told'] - times['new']:>7.0f}"
        )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=9)
    parser.add_argument("--repeat", type=int, default=200_000)
    options = parser.parse_args()
    for row in rows(options.runs, options.repeat):
        print(row, flush=True)


if __name__ == "__main__":
    main()
