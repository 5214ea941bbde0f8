"""The BPF datapath beside a peer's: the ingress program of the AWS network policy agent.  Needs root, clang and Go.

Nanoseconds a packet, the empty program's among them, and how many times the peer's; the goal is half of it.
Both are measured as `bench/bpf.py` does, in turn in one run: a packet of a known flow, one of a flow that is not known
(with nothing remembered and no event), from one source and from a random one of so many that may send to a port.
"""

from __future__ import annotations

import argparse
import json
import re
import struct
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from contextlib import ExitStack
from ipaddress import ip_address
from itertools import product
from pathlib import Path

from bpf import PROTOCOLS, WRAPPERS, frames, loaded, measured, open_flow, peer

from npcompile.backends.bpf.source import Features, render
from npcompile.runtime.bpf.libbpf import Object, Program

MODULE = "github.com/aws/aws-network-policy-agent@v1.4.3"
SIZES = (1, 10, 1_000, 16_000, 100_000)
GOAL = 0.5
ASKED = ("flow", "new", "random")
_POLICIES_APPLIED, _DEFAULT_ALLOW = b"\0", b"\1"
_PORTS, _NO_MORE = 24, struct.pack("=III", 255, 0, 0)  # of an address in the peer's trie
_FLOWS, _EVENT_BYTES = 1 << 17, 1 << 18

# Its maps are declared for a loader of its own, and these are those of libbpf.
_MAP = re.compile(r'struct bpf_map_def_pvt SEC\("maps"\) (\w+) = \{(.*?)\n\};', re.DOTALL)
_FIELD = re.compile(r"\.(type|key_size|value_size|max_entries|map_flags)\s*=\s*([^\n]+?),?\s*(?://[^\n]*)?\n")
_ELSEWHERE = {
    "aws_conntrack_map": "__uint(type, BPF_MAP_TYPE_LRU_HASH); __uint(key_size, sizeof(struct conntrack_key)); "
    f"__uint(value_size, sizeof(struct conntrack_value)); __uint(max_entries, {_FLOWS});",
    "policy_events": f"__uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, {_EVENT_BYTES});",
}
_WRAPPED = r"""
#include <bpf/bpf_endian.h>
#define MAP(name, kind, key_type, value_type, entries, flags) \
	struct { __uint(type, kind); __uint(max_entries, entries); __type(key, key_type); __type(value, value_type); } \
	name SEC(".maps")
#define TC_ACT_UNSPEC -1
#define decide(skb, direction) (ingress(skb) == BPF_OK ? TC_ACT_UNSPEC : BPF_DROP)
SEC("tc") int np_to_pod(struct __sk_buff *skb) { return decide(skb, INGRESS); }
"""


def downloaded() -> Path:
    """The folder with the peer's C, by Go's module download."""
    with tempfile.TemporaryDirectory() as folder:
        command = ["go", "mod", "download", "-json", MODULE]
        done = subprocess.run(command, cwd=folder, capture_output=True, check=False)
        if done.returncode:
            sys.exit(f"{' '.join(command)} failed: {done.stdout.decode()}{done.stderr.decode()}")
    return Path(json.loads(done.stdout)["Dir"]) / "pkg/ebpf/c"


def source(folder: Path, *, insert: bool) -> str:
    """The ingress program for libbpf, without events, with the wrappers of `bench/bpf.py`."""

    def declared(found: re.Match[str]) -> str:
        fields = "".join(f"__uint({name}, {value}); " for name, value in _FIELD.findall(found[2] + "\n"))
        return f'struct {{ {fields}}} {found[1]} SEC(".maps");'

    text = _MAP.sub(declared, (folder / "tc.v4ingress.bpf.c").read_text(encoding="utf-8"))
    for name, fields in _ELSEWHERE.items():
        text = text.replace(f"struct bpf_map_def_pvt {name};", f'struct {{ {fields} }} {name} SEC(".maps");')
    text = re.sub(r"bpf_ringbuf_output\(.*?\);", ";", text)
    if not insert:
        text = re.sub(r"bpf_map_update_elem\(&aws_conntrack_map.*?\);", ";", text)
    text = text.replace('SEC("tc_cls")\nint handle_ingress', "static __always_inline int ingress")
    return text + _WRAPPED + WRAPPERS


def compiled(text: str, folder: Path) -> bytes:
    """The object; the types are the running kernel's."""
    with tempfile.TemporaryDirectory() as place:
        types = ["bpftool", "btf", "dump", "file", "/sys/kernel/btf/vmlinux", "format", "c"]
        with (Path(place) / "vmlinux.h").open("wb") as header:
            subprocess.run(types, stdout=header, check=True)
        command = ["clang", "-O2", "-g", "-target", "bpf", "-mcpu=v3", f"-I{place}", f"-I{folder}"]
        command += ["-x", "c", "-c", "-", "-o", "-"]
        done = subprocess.run(command, input=text.encode(), capture_output=True, check=False)
    if done.returncode:
        sys.exit(f"clang refuses the peer's program: {done.stderr.decode()}")
    return done.stdout


def peers_object(text: str, folder: Path, entries: int, protocol: int, stack: ExitStack) -> Object:
    """The peer's programs, with so many sources that may send to the pod's port 80."""
    made = stack.enter_context(Object(compiled(text, folder), {"ingress_map": entries}))
    state, trie, count = (made.map(name) for name in ("ingress_pod_state_map", "ingress_map", "np_bench"))
    assert state is not None and trie is not None and count is not None
    for key, value in enumerate((_POLICIES_APPLIED, _DEFAULT_ALLOW)):
        state.put(struct.pack("=I", key), value)
    port = struct.pack("=III", protocol, 80, 0) + _NO_MORE * (_PORTS - 1)
    for n in range(entries):
        trie.put(struct.pack("=I", 32) + ip_address(peer(n)).packed, port)
    count.put(bytes(4), struct.pack("=I", entries))
    return made


def programs(bare: Object, flows: Object, protocol: int) -> Mapping[str, tuple[Program, bytes]]:
    """What is timed."""
    opening, _, later = frames(protocol)
    return {
        "empty": (bare.program("empty"), opening),
        "flow": (flows.program("np_to_pod"), later),
        "new": (bare.program("np_to_pod"), opening),
        "wrapper": (bare.program("only_random"), opening),
        "wrapped": (bare.program("random_source"), opening),
    }


def compared(entries: int, protocol: int, folder: Path, runs: int, repeat: int) -> Mapping[str, float]:
    """Nanoseconds, ours and, behind "peer", the peer's."""
    with ExitStack() as stack:
        features = [Features(events=False, constants={"NP_INSERT": insert}) for insert in (0, 1)]
        ours = [loaded(render(one) + WRAPPERS, entries, "shared", stack, protocol) for one in features]
        theirs = [peers_object(source(folder, insert=one), folder, entries, protocol, stack) for one in (False, True)]
        open_flow(ours[1], protocol)  # the peer's is, by the first packet that is timed
        both = {"": programs(*ours, protocol), "peer ": programs(*theirs, protocol)}
        timed = {side + name: one for side, found in both.items() for name, one in found.items()}
        times = measured(timed, runs, repeat)
    return times | {
        f"{side}random": times[f"{side}wrapped"] - times[f"{side}wrapper"] + times["empty"] for side in both
    }


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", type=Path, help="the folder with the peer's C; without, Go downloads it")
    parser.add_argument("--runs", type=int, default=9)
    parser.add_argument("--repeat", type=int, default=200_000)
    options = parser.parse_args()
    folder = options.source or downloaded()
    print(f"     {'entries':>8} {'empty':>6}" + "".join(f" {name:>7} {'peer':>5} {'by peer':>14}" for name in ASKED))
    for (protocol, name), entries in product(PROTOCOLS.items(), SIZES):
        times = compared(entries, protocol, folder, options.runs, options.repeat)
        cells = "".join(cell(times[one], times[f"peer {one}"]) for one in ASKED)
        print(f"{name:<4} {entries:>8} {times['empty']:>6.0f}{cells}", flush=True)


def cell(ours: float, theirs: float) -> str:
    """Both times, and ours by theirs."""
    return f" {ours:>7.0f} {theirs:>5.0f} {ours / theirs:>7.2f} {'within' if ours / theirs <= GOAL else 'OVER':>6}"


if __name__ == "__main__":
    main()
