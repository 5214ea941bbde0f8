"""Nanoseconds a packet in the BPF datapath, by BPF_PROG_TEST_RUN, beside an empty program.  Needs root and clang.

With `repeat` only the first run is a new flow, so "new" is a miss in the table of flows and the walk through the
policy, with nothing remembered and no event; what remembering and telling cost is printed apart.  "random" lets a
wrapper write a random one of the known sources into the packet before each run; what the wrapper costs by itself is
taken off.  Maps have the room that the loader gives them.

`shared`: the addresses are of 50 identities, and the policy names one class.  `own`: each has an identity, a class and
an entry of the policy to itself, which is the most that so many addresses can need.

Behind them, what iptables takes for the same policy over an empty ruleset, with random sources: one rule an address,
and one rule with a set.  There a packet is forwarded from a socket to another, and is not tracked.

    python bench/bpf.py [--runs 9] [--repeat 200000] [--no-iptables]
"""

from __future__ import annotations

import argparse
import json
import random
import struct
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cache
from ipaddress import ip_address
from itertools import product
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from npcompile.backends.bpf.source import Features, render
from npcompile.netset.cidrs import Family
from npcompile.readers.bpf_maps import read_maps
from npcompile.runtime.bpf.capacity import capacity
from npcompile.runtime.bpf.compile import compile_object
from npcompile.runtime.bpf.layout import pack
from npcompile.runtime.bpf.libbpf import Object, Program
from npcompile.runtime.bpf.loaded import MAPS
from npcompile.runtime.bpf.maps import start
from tests.kernel import frames as f
from tests.kernel.wire import Lab, datagram, forwarded, router

SIZES = (10, 1_000, 16_000, 100_000)
SHAPES = ("shared", "own")
POD, LOOPBACK = "10.0.0.1", 1
_FIRST_PEER = 0x0A80_0000
_CONTEXT = struct.pack("=11I", 0, 0, 0, 0, 0, 0, 0, 0, 0, 9, LOOPBACK)  # struct __sk_buff, as far as ifindex
NAMES = ("empty", "flow", "new", "remembered", "told", "wrapper", "wrapped")
PROTOCOLS = {f.TCP: "tcp", f.UDP: "udp"}
_PASS = -1  # TC_ACT_UNSPEC
_GROWTH = 1.5
_compiled = cache(compile_object)
BURST, BURSTS, TURNS, SOURCES = 2_000, 5, 2, 200

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """Nanoseconds a packet: medians, except what is the difference of two."""

    shape: str
    entries: int
    empty: float
    flow: float
    new: float
    random: float
    remember: float
    event: float


def peer(number: int) -> str:
    """The address of a peer that is let in."""
    return str(ip_address(_FIRST_PEER + number))


def maps_of(entries: int, shape: str, protocol: int) -> bytes:
    """One isolated pod, and as many addresses that may reach its port 80."""
    identities = 50 if shape == "shared" else entries
    classes = [1] * 50 if shape == "shared" else range(1, entries + 1)
    return json.dumps({
        "version": 1,
        "node": {"name": None, "addresses": []},
        "features": {"ipv6": True, "sctp": True, "events": False, "established": "keep"},
        "endpoints": [{"pod": "a/x", "id": 1, "egress": 0, "ingress": 1, "addresses": [POD]}],
        "addresses": [
            {"address": POD, "identity": 1},
            *({"address": peer(n), "identity": 2 + n % identities} for n in range(entries)),
        ],
        "networks": [],
        "classes": [{"ruleset": 1, "identity": 2 + n, "class": one} for n, one in enumerate(classes)],
        "policy": [
            {"ruleset": 1, "class": one, "protocol": PROTOCOLS[protocol], "ports": "80", "rule": 1}
            for one in sorted(set(classes))
        ],
        "rulesets": [{"id": 1, "direction": "ingress", "origin": "s"}],
        "rules": [{"id": 1, "origin": "r"}],
    }, indent=0).encode()  # fmt: skip


def loaded(source: str, entries: int, shape: str, stack: ExitStack, protocol: int = f.TCP) -> Object:
    """The programs, with maps for so many peers."""
    artifact = read_maps(maps_of(entries, shape, protocol))
    image = pack(artifact, {"a/x": LOOPBACK})
    room = capacity({}, image, artifact)
    made = stack.enter_context(Object(_compiled(source), room.entries))
    start({name: found for name in MAPS if (found := made.map(name)) is not None}, image, 0, room.hashing)
    count = made.map("np_bench")
    assert count is not None
    count.put(bytes(4), struct.pack("=I", entries))
    return made


def measured(programs: Mapping[str, tuple[Program, bytes]], runs: int, repeat: int) -> dict[str, float]:
    """Medians, each program in turn; every one must let its packet through."""
    found: dict[str, list[int]] = {name: [] for name in programs}
    for _ in range(runs):
        for name, (program, frame) in programs.items():
            run = program.run(frame, _CONTEXT, repeat)
            if run.result != _PASS:
                sys.exit(f"{name}: the packet was dropped, so that its time says nothing")
            found[name].append(run.nanoseconds)
    return {name: median(times) for name, times in found.items()}


def frames(protocol: int, port: int = 40000) -> tuple[bytes, bytes, bytes]:
    """The start of a conversation with the pod, the answer to that, and what follows."""
    starts, answers, follows = (0,) * 3 if protocol == f.UDP else (f.SYN, f.SYN | f.ACK, f.ACK)

    def header(source: int, destination: int, flags: int) -> bytes:
        return f.udp(source, destination, bytes(32)) if protocol == f.UDP else f.tcp(source, destination, flags)

    return (
        f.ipv4(peer(0), POD, protocol, header(port, 80, starts)),
        f.ipv4(POD, peer(0), protocol, header(80, port, answers)),
        f.ipv4(peer(0), POD, protocol, header(port, 80, follows)),
    )


def open_flow(made: Object, protocol: int = f.TCP) -> None:
    """The start of a conversation through the programs, so that its flow is an open one."""
    for number, frame in enumerate(frames(protocol)):
        program = made.program("np_from_pod" if number == 1 else "np_to_pod")
        if program.run(frame, _CONTEXT).result != _PASS:
            sys.exit("a conversation cannot be opened")


def programs(shape: str, entries: int, stack: ExitStack) -> dict[str, tuple[Program, bytes]]:
    """What is timed with so many peers."""
    opening, _, later = frames(f.TCP)
    another, _, _ = frames(f.TCP, 40001)
    bare, flows, telling = (
        loaded(render(Features(events=events, constants={"NP_INSERT": insert})) + WRAPPERS, entries, shape, stack)
        for events, insert in ((False, 0), (False, 1), (True, 0))
    )
    open_flow(flows)
    return {
        "empty": (bare.program("empty"), opening),
        "flow": (flows.program("np_to_pod"), later),
        "new": (bare.program("np_to_pod"), opening),
        "remembered": (flows.program("np_to_pod"), another),
        "told": (telling.program("np_to_pod"), opening),
        "wrapper": (bare.program("only_random"), opening),
        "wrapped": (bare.program("random_source"), opening),
    }


def rows(shape: str, runs: int, repeat: int) -> list[Row]:
    """What a packet takes; all numbers of peers in turn, so that a machine that becomes slower does so for all."""
    with ExitStack() as stack:
        timed = {f"{entries} {name}": one for entries in SIZES for name, one in programs(shape, entries, stack).items()}
        found = measured(timed, runs, repeat)
    return [row(shape, entries, {name: found[f"{entries} {name}"] for name in NAMES}) for entries in SIZES]


def row(shape: str, entries: int, times: Mapping[str, float]) -> Row:
    """One number of peers."""
    return Row(
        shape=shape,
        entries=entries,
        empty=times["empty"],
        flow=times["flow"],
        new=times["new"],
        random=times["wrapped"] - times["wrapper"] + times["empty"],
        remember=times["remembered"] - times["new"],
        event=times["told"] - times["new"],
    )


# --- as text ---

HEAD = (
    f"{'shape':<6} {'entries':>8} {'empty':>6}"
    + "".join(f" {name:>6} {'/ empty':>8}" for name in ("flow", "new", "random"))
    + f" {'+remember':>10} {'+event':>7}"
)


def text(one: Row) -> str:
    """A line: nanoseconds, and the same by the empty program's."""
    line = f"{one.shape:<6} {one.entries:>8} {one.empty:>6.0f}"
    for time_taken in (one.flow, one.new, one.random):
        line += f" {time_taken:>6.0f} {time_taken / one.empty:>8.1f}"
    return f"{line} {one.remember:>10.0f} {one.event:>7.0f}"


def growth(rows: Sequence[Row]) -> str:
    """How the time with random sources grows from the fewest entries to the most."""
    first, last = rows[0], rows[-1]
    times = last.random / first.random
    kept = "within" if times < _GROWTH else "OVER"
    return f"{first.shape}: {times:.2f} times from {first.entries} to {last.entries} entries, {kept} {_GROWTH}"


# --- iptables ---


def iptables(lab: Lab, entries: int) -> tuple[float, float]:
    """Nanoseconds that a packet from a random peer takes over an empty ruleset: a rule a peer, and one with a set."""
    dice = random.Random(1)
    peers = [dice.randrange(entries) for _ in range(SOURCES)]
    packets = [forwarded(peer(n), POD, 6, sport=40000, dport=80) for n in peers]
    sent = [lab.frame_heads["near", Family.V4] + datagram(packet, b"npcompil") for packet in packets]
    to_pod = f"-d {POD} -p tcp --dport 80"
    rulesets = {
        "empty": "",
        "linear": "".join(f"-A FORWARD -s {peer(n)} {to_pod} -j ACCEPT\n" for n in range(entries)),
        "ipset": f"-A FORWARD -m set --match-set peers src {to_pod} -j ACCEPT\n",
    }
    members = "".join(f"add peers {peer(n)}\n" for n in range(entries))
    lab.run("ipset", "restore", text=f"create peers hash:ip maxelem {2 * entries}\n{members}")
    taken: dict[str, list[float]] = {name: [] for name in rulesets}
    for _, (name, rules) in product(range(TURNS), rulesets.items()):
        closed = f"-A FORWARD -d {POD} -j DROP\n" if rules else ""
        lab.run("iptables-legacy-restore", text=f"*filter\n:FORWARD ACCEPT [0:0]\n{rules}{closed}COMMIT\n")
        if not lab.passed(packets[:1])[0]:
            sys.exit(f"{name}: the packet was dropped, so that its time says nothing")
        taken[name] += [burst(lab, sent) for _ in range(BURSTS)]
    lab.run("iptables-legacy-restore", text="*filter\n:FORWARD ACCEPT [0:0]\nCOMMIT\n")
    lab.run("ipset", "destroy", "peers")
    empty = min(taken["empty"])
    return min(taken["linear"]) - empty, min(taken["ipset"]) - empty


def burst(lab: Lab, sent: Sequence[bytes]) -> float:
    """Nanoseconds a packet; the kernel forwards each before it takes the next."""
    start = time.perf_counter_ns()
    for _ in range(BURST // len(sent)):
        for frame in sent:
            lab.near.send(frame)
    return (time.perf_counter_ns() - start) / (BURST // len(sent) * len(sent))


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=9)
    parser.add_argument("--repeat", type=int, default=200_000)
    parser.add_argument("--no-iptables", action="store_true")
    options = parser.parse_args()
    print(HEAD)
    over_empty: dict[int, float] = {}
    for shape in SHAPES:
        found = rows(shape, options.runs, options.repeat)
        print("\n".join([*map(text, found), growth(found)]), flush=True)
        over_empty |= {one.entries: one.random - one.empty for one in found}  # of the larger shape
    if options.no_iptables:
        return
    print(f"\n{'entries':>8} {'linear':>9} {'ipset':>6} {'bpf':>6}   ns over nothing, random sources; bpf: own")
    with router("legacy") as lab:
        for entries in SIZES:
            linear, with_set = iptables(lab, entries)
            print(f"{entries:>8} {linear:>9.0f} {with_set:>6.0f} {over_empty[entries]:>6.0f}", flush=True)


if __name__ == "__main__":
    main()
