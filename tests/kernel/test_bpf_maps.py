"""From one set of entries to another: at every step packets are judged by the old one or by the new one, by one flip.

Two pods, each isolated one way or both; the old state allows a flow at its one end, the new at the other, so that a
mixture of both would let through what neither does.
"""

from __future__ import annotations

import itertools
import random
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_network

import pytest

from npcompile.netset.cidrs import Family
from npcompile.readers.bpf_maps import read_maps
from npcompile.runtime.bpf import libbpf
from npcompile.runtime.bpf import maps as maps_module
from npcompile.runtime.bpf.events import Reason
from npcompile.runtime.bpf.layout import (
    ENDPOINTS,
    HASHED,
    INTERFACES,
    NETWORKS,
    PACKED,
    POLICY,
    TABLES,
    Image,
    pack,
    seen,
    word,
)
from npcompile.runtime.bpf.libbpf import Map
from npcompile.runtime.bpf.maps import by_key, change, plan, read_generation, read_image
from npcompile.runtime.bpf.packed import BUCKET, Hashing, Packed, Slots
from tests.kernel import frames as f
from tests.kernel.bpf import HASHING, Bench, bench, document

pytestmark = pytest.mark.kernel("clang", "ip")

A, B = "10.0.0.1", "10.0.0.2"
PORTS = (80, 443, 8080, 8085)
PEERS = (B, "10.1.0.1", "10.1.2.3", "10.1.2.77", "192.0.2.1")


def random_state(chosen: random.Random) -> bytes:
    """Entries of every kind, without much sense."""
    blocks = ["10.1.0.0/16", "10.1.2.0/24", "10.1.2.64/26", "10.0.0.0/8", "0.0.0.0/0"]
    identities = range(1, 6)
    outward, inward = chosen.sample(range(1, 4), 2), chosen.sample(range(4, 7), 2)
    rulesets = [*outward, *inward]
    ports = ["80", "443", "*", "8080-8087", "8080-8095", "64-127"]
    policy = {
        (ruleset, peer_class, protocol, text): chosen.randint(1, 9)
        for ruleset in rulesets
        for peer_class in (0, 1, 2)
        for protocol in ("tcp", "any")
        for text in (ports if protocol == "tcp" else ["*"])
        if chosen.random() < 0.25
    }
    return document(
        endpoints=[
            {
                "pod": pod,
                "id": number,
                "egress": chosen.choice([0, *outward]),
                "ingress": chosen.choice([0, *inward]),
                "addresses": [address],
            }
            for number, (pod, address) in enumerate((("n/a", A), ("n/b", B)), 1)
        ],
        addresses=[{"address": address, "identity": chosen.choice(identities)} for address in (A, B)],
        networks=[
            {"network": block, "identity": chosen.choice(identities)} for block in blocks if chosen.random() < 0.5
        ],
        classes=[
            {"ruleset": ruleset, "identity": identity, "class": chosen.randint(1, 2)}
            for ruleset in rulesets
            for identity in identities
            if chosen.random() < 0.6
        ],
        policy=[
            {"ruleset": ruleset, "class": peer_class, "protocol": protocol, "ports": text, "rule": rule}
            for (ruleset, peer_class, protocol, text), rule in sorted(policy.items())
        ],
    )


def verdicts(b: Bench) -> list[int]:
    """What becomes of a packet of each kind, by each of the programs."""
    found = []
    for place, own in enumerate((A, B)):
        for peer in PEERS:
            if peer == own:
                continue
            for port in PORTS:
                b.forget()
                sent = f.ipv4(own, peer, f.TCP, f.tcp(40000, port))
                received = f.ipv4(peer, own, f.TCP, f.tcp(40000, port))
                found.append(b.object.program("np_from_pod").run(sent, b.context(place)).result)
                found.append(b.object.program("np_to_pod").run(received, b.context(place)).result)
    return found


class KilledError(Exception):
    """What stands for SIGKILL."""


@dataclass(frozen=True, slots=True)
class Spied:
    """A map that tells of each change before and after it, one entry at a time, and may be killed there."""

    real: Map
    step: Stepper

    def __getattr__(self, name: str) -> object:
        return getattr(self.real, name)

    def put(self, key: bytes, value: bytes, flags: int = 0) -> None:
        self.step()
        self.real.put(key, value, flags)

    def put_all(self, entries: Sequence[tuple[bytes, bytes]], flags: int = 0) -> None:
        for key, value in entries:
            self.put(key, value, flags)

    def delete_all(self, keys: Sequence[bytes]) -> None:
        for key in keys:
            self.step()
            self.real.delete_all([key])


@dataclass(slots=True)
class Stepper:
    """Compares the verdicts at each step, or ends there like a kill."""

    bench: Bench
    old: list[int]
    kill: int | None = None
    steps: int = 0
    seen: list[list[int]] = field(default_factory=list)

    def __call__(self) -> None:
        if self.kill is not None and self.steps == self.kill:
            raise KilledError
        self.steps += 1
        if self.kill is None:
            self.seen.append(verdicts(self.bench))


def image_of(b: Bench, data: bytes) -> Image:
    maps = read_maps(data)
    return pack(maps, {one.pod: number for one, number in zip(maps.endpoints.values(), b.interfaces, strict=False)})


@pytest.fixture(scope="module")
def b() -> Iterator[Bench]:
    with bench() as made:
        yield made


@pytest.mark.parametrize("seed", range(6))
def test_every_step_is_the_old_state_or_the_new_one(b: Bench, seed: int) -> None:
    chosen = random.Random(seed)
    old, new = image_of(b, random_state(chosen)), image_of(b, random_state(chosen))
    change(b.maps, new)
    wanted = verdicts(b)
    change(b.maps, old)
    before = verdicts(b)
    step = Stepper(b, before)
    change({name: Spied(found, step) for name, found in b.maps.items()}, new)  # type: ignore[misc]
    assert verdicts(b) == wanted
    flip = next((place for place, one in enumerate(step.seen) if one != before), len(step.seen))
    assert all(one == wanted for one in step.seen[flip:])
    assert step.steps > 10


@pytest.mark.parametrize("seed", range(4))
def test_after_a_kill_at_any_step_the_next_change_carries_on(b: Bench, seed: int) -> None:
    chosen = random.Random(100 + seed)
    states = [image_of(b, random_state(chosen)) for _ in range(3)]
    wanted = []
    for state in states:
        change(b.maps, state)
        wanted.append(verdicts(b))
    change(b.maps, states[0])
    for kill in sorted(chosen.sample(range(60), 12)):
        step = Stepper(b, wanted[0], kill=kill)
        try:
            change({name: Spied(found, step) for name, found in b.maps.items()}, states[1])  # type: ignore[misc]
        except KilledError:
            assert verdicts(b) in (wanted[0], wanted[1])
        change(b.maps, states[2])
        assert verdicts(b) == wanted[2]
        change(b.maps, states[0])
        assert verdicts(b) == wanted[0]


def test_nothing_stays_behind(b: Bench) -> None:
    chosen = random.Random(7)
    for _ in range(5):
        image = image_of(b, random_state(chosen))
        generation = change(b.maps, image)
        held = read_image(b.maps, generation)
        assert held == image
        for table in TABLES:
            assert set(by_key(b.maps, table).entries()) == set(image[table.name])
        for packed in PACKED:
            assert packed.read(b.maps[packed.name].values()) == image[packed.name]  # of both halves
    assert read_generation(b.maps) == generation


def test_a_change_of_little_writes_little(b: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    base = [{"ruleset": 1, "class": 1, "protocol": "tcp", "ports": str(port), "rule": 1} for port in range(1, 500)]
    change(b.maps, image_of(b, document(policy=base)))
    written: list[tuple[bytes, bytes]] = []
    real = Map.put_all

    def put_all(self: Map, entries: Sequence[tuple[bytes, bytes]], flags: int = 0) -> None:
        written.extend(entries)
        real(self, entries, flags)

    monkeypatch.setattr(Map, "put_all", put_all)
    extra = {"ruleset": 1, "class": 1, "protocol": "tcp", "ports": "500", "rule": 2}
    change(b.maps, image_of(b, document(policy=[*base, extra])))
    numbers = [int.from_bytes(key, "little") for key, _ in written]
    half = HASHING.buckets(POLICY)
    assert len(numbers) == 2  # before the flip, and after it
    assert {one // half for one in numbers} == {0, 1}
    assert len({one % half for one in numbers}) == 1


def longest(networks: Mapping[str, int], address: str) -> int:
    around = [ip_network(text) for text in networks if ip_network(f"{address}/32").subnet_of(ip_network(text))]
    return networks[str(max(around, key=lambda network: network.prefixlen))] if around else 0


@pytest.mark.parametrize("seed", range(20))
def test_a_trie_s_slots_mean_their_images(seed: int) -> None:
    """What the longest entry of both images says in a slot is what the longest entry of that image alone says."""
    chosen = random.Random(seed)
    blocks = [f"10.{i}.{j}.0/{length}" for i in (0, 1) for j in (0, 128) for length in (24, 25, 26)]
    blocks += ["10.0.0.0/16", "10.1.0.0/17", "10.0.0.0/8", "0.0.0.0/0"]
    table = NETWORKS[Family.V4]

    def state() -> tuple[dict[str, int], Slots]:
        networks = {block: chosen.randint(1, 9) for block in blocks if chosen.random() < 0.4}
        data = document(networks=[{"network": one, "identity": number} for one, number in networks.items()])
        return networks, pack(read_maps(data), {})[table.name]

    (old, old_slots), (new, new_slots) = state(), state()
    for generation in (0, 1):
        change_ = plan(table, {}, old_slots, new_slots, generation)
        held = {**dict(change_.add)}
        held |= {key: table.value((seen(table, old_slots, key), seen(table, new_slots, key))) for key in old_slots}
        for address in ("10.0.0.1", "10.0.0.65", "10.0.128.1", "10.1.0.1", "10.1.200.1", "10.9.9.9", "11.0.0.1"):
            merged = {
                f"{'.'.join(map(str, key[4:]))}/{int.from_bytes(key[:4], 'little')}": key for key in {*held, *new_slots}
            }
            best = longest(dict.fromkeys(merged, 1), address)
            if not best:
                assert longest(old, address) == longest(new, address) == 0
                continue
            inside = [ip_network(text) for text in merged if ip_network(f"{address}/32").subnet_of(ip_network(text))]
            key = merged[str(max(inside, key=lambda network: network.prefixlen))]
            assert seen(table, old_slots, key) == word(longest(old, address))
            assert seen(table, new_slots, key) == word(longest(new, address))


def test_the_flip_is_the_only_step_that_counts(b: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without it nothing of a change is seen: what the other tests find is not due to chance."""
    allowed = [{"ruleset": 1, "class": 0, "protocol": "tcp", "ports": "80", "rule": 1}]
    pod = {"pod": "n/a", "id": 1, "egress": 1, "ingress": 0, "addresses": [A]}
    known = [{"address": A, "identity": 1}]
    b.bind(document(endpoints=[pod], addresses=known))
    monkeypatch.setattr(maps_module, "flip", lambda maps, new: 0)
    b.bind(document(endpoints=[pod], addresses=known, policy=allowed))
    assert b.out(f.ipv4(A, B, f.TCP, f.tcp(40000, 80))) is Reason.NO_RULE
    monkeypatch.undo()
    b.bind(document(endpoints=[pod], addresses=known, policy=allowed))
    assert b.out(f.ipv4(A, B, f.TCP, f.tcp(40000, 80))) is Reason.ALLOWED_BY_RULE


def crowded(image: Image) -> Hashing:
    """Of tables of 64 buckets, in each of which some key lies behind its own bucket."""
    dice = random.Random(1)
    for _ in range(1000):
        hashing = Hashing(multiplier=dice.getrandbits(64) | 1, sizes={table.name: 64 for table in HASHED})
        halves = {table: table.fill(image[table.name], hashing) for table in PACKED}
        if all(half and displaced(table, half, hashing) for table, half in halves.items()):
            return hashing
    pytest.fail("no hashing crowds the tables")


def displaced(table: Packed, half: bytes, hashing: Hashing) -> bool:
    """Whether some key does not lie in its own bucket."""
    buckets = [table.read(half[at : at + BUCKET]) for at in range(0, len(half), BUCKET)]
    return any(hashing.bucket(table, key) != place for place, bucket in enumerate(buckets) for key in bucket)


def test_crowded_tables() -> None:
    """What lies behind its own bucket is found, and what is nowhere is not."""
    crowd = {table.name: 64 * table.places * 3 // 4 - 2 for table in PACKED}  # as much as goes into 64 buckets
    numbers = random.Random(1).sample(range(2**16), 1000)
    peers = [f"10.1.{n >> 8}.{n & 255}" for n in numbers[: crowd["np_addresses4"] - 1]]
    six = [f"fd00::{n:x}" for n in numbers[: crowd["np_addresses6"] - 1]]
    ports, classed = range(1, 1 + crowd["np_policy"]), range(2, 2 + 2 * crowd["np_classes"], 2)
    identities = {address: 2 + place for place, address in enumerate((*peers, *six))}
    known = {A: 1, "fd01::1": 1, **identities}
    data = document(
        endpoints=[{"pod": "n/a", "id": 1, "egress": 1, "ingress": 0, "addresses": [A, "fd01::1"]}],
        addresses=[{"address": address, "identity": identity} for address, identity in known.items()],
        classes=[{"ruleset": 1, "identity": identity, "class": 1} for identity in classed],
        policy=[{"ruleset": 1, "class": 1, "protocol": "tcp", "ports": str(port), "rule": port} for port in ports],
    )
    image = pack(read_maps(data), {})
    with bench(hashing=crowded(image)) as b:
        b.bind(data)
        for address, identity in identities.items():
            own_address = "fd01::1" if ":" in address else A
            reason = b.out(f.ip(own_address, address, f.TCP, f.tcp(40000, 1 + identity % len(ports))))
            assert reason is (Reason.ALLOWED_BY_RULE if identity in classed else Reason.NO_RULE), address
        for port in (*ports, len(ports) + 1, len(ports) + 2):
            reason = b.out(f.ipv4(A, peers[0], f.TCP, f.tcp(40001, port)))
            assert reason is (Reason.ALLOWED_BY_RULE if port in ports else Reason.NO_RULE)
        assert b.out(f.ipv4(A, "10.1.9.9", f.TCP, f.tcp(40000, 80))) is Reason.NO_RULE


@pytest.mark.parametrize("batch", [1, 16, 4096])
def test_all_keys_of_a_map_that_programs_change(batch: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Read while others come and push out what is old."""
    free = {"pod": "n/a", "id": 1, "egress": 0, "ingress": 0, "addresses": [A]}
    monkeypatch.setattr(libbpf, "_BATCH", batch)
    with bench() as b:
        b.bind(document(endpoints=[free], addresses=[{"address": A, "identity": 1}]))
        sent = b.object.program("np_from_pod")
        for port in range(1, 2_001):
            sent.run(f.ip(A, B, 17, f.udp(port, 53)), b.context())
        flows = b.maps["np_flows4"]
        assert sorted(flows.keys_in_use()) == sorted(flows.all_keys())
        assert len({*flows.keys_in_use()}) == 2_000
        done = threading.Event()

        def flood() -> None:
            for port in itertools.cycle(range(2_000, 65_000)):
                sent.run(f.ip(A, B, 17, f.udp(port, 53)), b.context())
                if done.is_set():
                    return

        sender = threading.Thread(target=flood)
        sender.start()
        try:
            for _ in range(20):
                assert 1_000 < len(flows.keys_in_use()) <= 2 * flows.max_entries
        finally:
            done.set()
            sender.join()


def test_interfaces_that_belong_into_one_bucket() -> None:
    """Each is judged as its own pod, also when another goes that was found before it; and there is room for four."""
    hashing = Hashing(multiplier=HASHING.multiplier, sizes=HASHING.sizes | {INTERFACES.name: 1})
    pods = [
        {"pod": f"n/{n}", "id": 1 + n, "egress": 0, "ingress": 0, "addresses": [f"10.0.0.{1 + n}"]} for n in range(5)
    ]
    known = [{"address": pod["addresses"][0], "identity": pod["id"]} for pod in pods]

    def told(b: Bench, place: int) -> list[Reason]:
        """Of what each pod's own address sends from an interface."""
        return [b.out(f.ipv4(f"10.0.0.{1 + n}", "192.0.2.1", f.UDP, f.udp(40000 + n, 53)), place) for n in range(4)]

    with bench(pods=5, hashing=hashing) as b:
        b.bind(document(endpoints=pods[:4], addresses=known[:4]))
        assert set(b.interfaces[:4]) == {int.from_bytes(key, "little") for key in by_key(b.maps, ENDPOINTS).entries()}
        for place in range(4):
            own = [Reason.NOT_ISOLATED if n == place else Reason.SPOOFED_SOURCE for n in range(4)]
            assert told(b, place) == own
        assert b.out(f.ipv4("10.0.0.1", "192.0.2.1", f.UDP, f.udp(40000, 53)), 4) is Reason.NO_ENDPOINT
        with pytest.raises(OSError, match="np_endpoints: the map is full"):
            b.bind(document(endpoints=pods, addresses=known))
        b.forget()
        at = {f"n/{n}": b.interfaces[n] for n in (0, 2, 3, 4)}
        everything = document(endpoints=pods, addresses=known)
        for bound in ("n/0", "n/2", "n/3"), tuple(at):
            b.bind(everything, {pod: at[pod] for pod in bound})
        for place in (0, 2, 3):
            assert told(b, place)[place] is Reason.NOT_ISOLATED
        assert told(b, 1) == [Reason.NO_ENDPOINT] * 4
        assert told(b, 4)[3] is Reason.SPOOFED_SOURCE  # the fifth took the place of the second


def test_blocks_of_one_address() -> None:
    """Of both families, inside of larger ones that are allowed something else."""
    blocks = {"192.0.2.0/24": 2, "192.0.2.7/32": 3, "2001:db8::/64": 2, "2001:db8::7/128": 3}
    data = document(
        endpoints=[{"pod": "n/a", "id": 1, "egress": 1, "ingress": 0, "addresses": [A, "fd00::1"]}],
        addresses=[{"address": A, "identity": 1}, {"address": "fd00::1", "identity": 1}],
        networks=[{"network": block, "identity": identity} for block, identity in sorted(blocks.items())],
        classes=[{"ruleset": 1, "identity": identity, "class": identity} for identity in (2, 3)],
        policy=[
            {"ruleset": 1, "class": identity, "protocol": "udp", "ports": str(port), "rule": 1}
            for identity, port in ((2, 53), (3, 54))
        ],
    )
    with bench() as b:
        b.bind(data)
        for other, open_port in (("192.0.2.7", 54), ("192.0.2.8", 53), ("2001:db8::7", 54), ("2001:db8::8", 53)):
            for port in (53, 54):
                head = f.udp(40000, port)
                frame = f.ipv4(A, other, f.UDP, head) if "." in other else f.ipv6("fd00::1", other, f.UDP, head)
                assert b.out(frame) is (Reason.ALLOWED_BY_RULE if port == open_port else Reason.NO_RULE), (other, port)
