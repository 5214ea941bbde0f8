"""Headers are read where they lie if they are in the first piece of a frame's memory, and else copied: wherever that
piece ends, a frame's verdict is the same, and so are the flows that it leaves.
"""

from __future__ import annotations

import errno
import random
from collections.abc import Mapping
from contextlib import closing

import pytest

from npcompile.ir.program import Program
from npcompile.runtime.bpf.events import Reason
from tests.kernel.bpf import Bench, bench
from tests.kernel.mutation import hostile
from tests.kernel.soak import SOAK, Tally, seed
from tests.kernel.test_bpf_hostile import ENDS, PORTS, TAGS, TALKS, bind, program
from tests.kernel.test_bpf_live import wired
from tests.kernel.test_bpf_shared_pages import Ring

__all__ = ["program"]  # a fixture

pytestmark = pytest.mark.kernel("clang", "ip")

ETHERNET = 14
FAMILIES = (48, 68)  # bytes of a frame up to the end of what is read at once
CLOCK = 8  # the first bytes of a flow

Flows = Mapping[str, Mapping[bytes, bytes]]


def flows(b: Bench) -> Flows:
    return {name: b.maps[name].entries() for name in ("np_flows4", "np_flows6")}


def remember(b: Bench, known: Flows) -> None:
    """These flows and no others."""
    for name, entries in known.items():
        b.maps[name].delete_all(b.maps[name].all_keys())
        b.maps[name].put_all([*entries.items()])


def judged(b: Bench, way: Ring, frame: bytes, copied: int) -> tuple[Reason, Flows]:
    """Why a frame whose first piece has so many bytes passed or was dropped, and the flows after it, but when."""
    before = b.hits()
    try:
        way.send(frame, copied)
    except OSError as error:  # the sender on this host is told
        assert error.errno == errno.ENOBUFS
    after = b.hits()
    (reason,) = [reason for reason in Reason if after[reason] != before[reason]] or [Reason.ESTABLISHED]
    return reason, {
        name: {key: value[CLOCK:] for key, value in sorted(entries.items())} for name, entries in flows(b).items()
    }


def test_wherever_the_first_piece_of_a_frame_ends(program: Program) -> None:
    tally = Tally("frames in pieces")
    chosen = random.Random(f"{seed()} pieces")
    with bench() as b, wired(b), closing(Ring.at("e0")) as pod, closing(Ring.at("d0")) as host:
        bind(b, program)
        for number in range(400 * SOAK):
            if number % 100 == 0:
                b.forget()
                talks = chosen.sample(TALKS, 3)
            frame = hostile(chosen, ENDS, PORTS, talks)
            if len(frame) <= ETHERNET or frame[12:14] in TAGS:  # the kernel reads behind a tag itself
                continue
            way = chosen.choice((pod, host))
            before = flows(b)
            near = [size + step for size in FAMILIES for step in (-1, 0)]
            ends = {len(frame), *(end for end in (*near, chosen.randint(15, 80)) if end < len(frame))}
            copied = judged(b, way, frame, ETHERNET)
            for end in sorted(ends):
                remember(b, before)
                assert judged(b, way, frame, end) == copied, (end, frame.hex())
            reason, _ = copied
            tally.count(str(reason), passed=reason.allows)
    tally.tell()
    assert len(tally.reasons) > 15
