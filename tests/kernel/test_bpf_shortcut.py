"""The way of packets of open flows (`shortcut` in `datapath.c`) against the long one: verdicts and flows agree."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping

import pytest

from npcompile.backends.bpf.source import Features
from npcompile.ir.policy import Direction
from tests.kernel import frames as f
from tests.kernel.bpf import Bench, bench, document

pytestmark = pytest.mark.kernel("clang", "ip")

POD, OTHER_POD, PEER = "10.0.0.1", "10.0.0.2", "10.0.0.8"
_CLOCK = 8  # the first bytes of a flow: when it expires
STEPS = 1000


def maps(port: int) -> bytes:
    """Two pods that a peer may reach at a port."""
    return document(
        endpoints=[
            {"pod": f"n/{name}", "id": number, "egress": 1, "ingress": 2, "addresses": [address]}
            for number, (name, address) in enumerate((("a", POD), ("b", OTHER_POD)), 1)
        ],
        addresses=[{"address": one, "identity": number} for number, one in enumerate((POD, OTHER_POD, PEER), 1)],
        classes=[{"ruleset": 2, "identity": 3, "class": 1}],
        policy=[
            {"ruleset": 2, "class": 1, "protocol": protocol, "ports": str(port), "rule": 1}
            for protocol in ("tcp", "udp", "sctp")
        ],
    )


@pytest.fixture(params=[False, True], ids=["keep", "recheck"])
def ways(request: pytest.FixtureRequest) -> Iterator[tuple[Bench, Bench]]:
    days = {"NP_STREAM": 86400}  # fewer than those of TCP
    short = Features(recheck=request.param, events=False, constants=days)
    long = Features(recheck=request.param, events=False, constants=days | {"NP_SHORTCUT": 0})
    with bench(short, pods=2) as one, bench(long, pods=2) as other:
        assert one.interfaces == other.interfaces  # they are in the keys of flows
        yield one, other


def packet(dice: random.Random, direction: Direction, pod: str) -> bytes:
    """Of one of a few conversations; often just acknowledging, now and then deformed."""
    ends = [(pod, 80), (PEER, dice.choice((40000, 40001, 0)))]
    (src, source), (dst, destination) = ends if direction is Direction.EGRESS else reversed(ends)
    flags = dice.choice((f.ACK,) * 12 + (f.SYN,) * 4 + (f.SYN | f.ACK,) * 4 + (f.FIN | f.ACK, f.RST, 0, f.ACK | 8))
    deformed: dict[str, object] = {}
    protocol = dice.choice((f.TCP, f.TCP, f.UDP, f.SCTP))
    segment = {
        f.TCP: f.tcp(source, destination, flags),
        f.UDP: f.udp(source, destination, bytes(dice.randrange(30))),
        f.SCTP: f.sctp(source, destination, dice.choice((0, 1))),
    }[protocol]
    match dice.randrange(30):
        case 0:
            deformed["options"] = bytes(4 * dice.randrange(1, 4))
        case 1:
            deformed["fragment"] = dice.choice((0x2000, 1, 0x4000, 0x8000))
        case 2:
            deformed["length"] = dice.choice((0, 20, 27, 28, 39, 40, 41, 60))
        case 3:
            deformed["words"] = dice.choice((0, 4, 6))
        case 4:
            segment = f.tcp(source, destination, flags, words=dice.choice((0, 4, 6)))
            protocol = f.TCP
        case 5:
            segment = segment[:2] + bytes(2) + segment[4:]
        case 6:
            segment = segment[: dice.randrange(len(segment))]
        case 7:
            segment += bytes(dice.randrange(30))
        case _:
            pass
    return f.ipv4(src, dst, protocol, segment, **deformed)  # type: ignore[arg-type]


def flows(b: Bench) -> Mapping[bytes, bytes]:
    """What is remembered, but when."""
    return {key: value[_CLOCK:] for key, value in b.maps["np_flows4"].entries().items()}


@pytest.mark.parametrize("seed", range(3))
def test_the_short_way_is_the_long_one(ways: tuple[Bench, Bench], seed: int) -> None:
    dice = random.Random(seed)
    passed = 0
    for step in range(STEPS):
        if step % 100 == 0:
            port = dice.choice((80, 80, 81))
            for b in ways:
                b.bind(maps(port))
        place = dice.randrange(2)
        direction = dice.choice((Direction.EGRESS, Direction.INGRESS))
        frame = packet(dice, direction, (POD, OTHER_POD)[place] if dice.random() < 0.95 else POD)
        reasons = [b.send(direction, frame, place=place) for b in ways]
        assert reasons[0] is reasons[1], (step, frame.hex())
        assert flows(ways[0]) == flows(ways[1]), (step, frame.hex())
        passed += reasons[0].allows
    assert STEPS // 5 < passed < STEPS
    times = [{key: value[:_CLOCK] for key, value in b.maps["np_flows4"].entries().items()} for b in ways]
    for key in times[0]:
        one, other = (int.from_bytes(each[key], "little") for each in times)
        assert abs(one - other) < 60 * 1000  # ticks or less: what lives for days is as many days away
