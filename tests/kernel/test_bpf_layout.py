"""The bytes that the loader writes and reads lie as the object's own types (BTF) say."""

from __future__ import annotations

import hashlib
import json
import re
import struct
from collections.abc import Mapping
from ipaddress import ip_address
from pathlib import Path

import pytest

from npcompile import resources
from npcompile.backends.bpf.source import Features, render
from npcompile.ir.flow import Verdict
from npcompile.ir.policy import Direction
from npcompile.readers.bpf_maps import Maps, read_maps
from npcompile.runtime.bpf import layout
from npcompile.runtime.bpf.compile import compile_object
from npcompile.runtime.bpf.events import EVENT_SIZE, EVENTS_LOST, Reason, decode
from npcompile.runtime.bpf.maps import LAYOUT
from npcompile.runtime.bpf.packed import BUCKET, WORD
from tests.conftest import ROOT
from tests.kernel.bpf import document
from tests.kernel.wire import run

pytestmark = pytest.mark.kernel("clang", "bpftool")

Fields = Mapping[str, tuple[int, int]]  # by name, offset and size in bytes


@pytest.fixture(scope="module")
def structs(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Fields]:
    """The object's structures; the pseudo-field "" spans the whole."""
    place = tmp_path_factory.mktemp("object") / "datapath.o"
    # Types that no map mentions are left out of an object, unless a variable has them.
    place.write_bytes(compile_object(render(Features()) + "struct event *an_event;\n"))
    types = json.loads(run("bpftool", "-j", "btf", "dump", "file", str(place), "format", "raw").stdout)["types"]
    by_id = {one["id"]: one for one in types}

    def size(number: int) -> int:
        one = by_id[number]
        match one["kind"]:
            case "ARRAY":
                return int(one["nr_elems"]) * size(one["type_id"])
            case "TYPEDEF" | "CONST" | "VOLATILE":
                return size(one["type_id"])
            case "PTR":
                return 8
            case _:
                return int(one["size"])

    return {
        one["name"]: {"": (0, one["size"])}
        | {member["name"]: (member["bits_offset"] // 8, size(member["type_id"])) for member in one["members"]}
        for one in types
        if one["kind"] == "STRUCT"
    }


def field(data: bytes, fields: Fields, name: str, *, part: int | None = None) -> bytes:
    start, size = fields[name]
    found = data[start : start + size]
    return found if part is None else found[part * 4 : part * 4 + 4]


def number(data: bytes) -> int:
    return int(struct.unpack("=I", data)[0])


MAPS = document(
    node={"name": "n1", "addresses": ["192.0.2.1", "10.0.0.7"]},
    endpoints=[{"pod": "a/x", "id": 11, "egress": 21, "ingress": 22, "addresses": ["10.0.0.1", "fd00::1"]}],
    addresses=[
        {"address": "10.0.0.1", "identity": 31},
        {"address": "10.0.0.7", "identity": 33},
        {"address": "fd00::1", "identity": 32},
    ],
    networks=[{"network": "192.0.0.0/8", "identity": 41}, {"network": "2001:db8::/33", "identity": 42}],
    classes=[{"ruleset": 21, "identity": 31, "class": 51}],
    policy=[
        {"ruleset": 21, "class": 51, "protocol": "tcp", "ports": "258", "rule": 61},
        {"ruleset": 21, "class": 52, "protocol": "sctp", "ports": "*", "rule": 62},
        {"ruleset": 21, "class": 53, "protocol": "any", "ports": "*", "rule": "service-mixed"},
        {"ruleset": 22, "class": 54, "protocol": "udp", "ports": "512-1023", "rule": 63},
    ],
)


@pytest.fixture(scope="module")
def maps() -> Maps:
    return read_maps(MAPS)


@pytest.fixture(scope="module")
def image(maps: Maps) -> layout.Image:
    return layout.pack(maps, {"a/x": 5})


def test_endpoints(structs: Mapping[str, Fields], image: layout.Image) -> None:
    fields = structs["endpoint_slot"]
    assert list(image["np_endpoints"]) == [struct.pack("=I", 5)]
    slot = image["np_endpoints"][struct.pack("=I", 5)]
    assert len(slot) == fields[""][1]
    assert number(field(slot, fields, "id")) == 11
    assert number(field(slot, fields, "flags")) == 2  # the ingress ruleset has ranges
    assert [number(field(slot, fields, "ruleset", part=part)) for part in (0, 1)] == [21, 22]
    assert number(field(slot, fields, "identity4")) == 31
    assert number(field(slot, fields, "identity6")) == 32
    assert field(slot, fields, "address4") == ip_address("10.0.0.1").packed
    assert field(slot, fields, "address6") == ip_address("fd00::1").packed


def test_identities(structs: Mapping[str, Fields], image: layout.Image) -> None:
    own = layout.OWN_NODE
    assert {ip_address(key): number(slot) for key, slot in image["np_addresses4"].items()} == {
        ip_address("10.0.0.1"): 31,
        ip_address("10.0.0.7"): 33 | own,
        ip_address("192.0.2.1"): 41 | own,  # from its network
    }
    assert image["np_addresses6"] == {ip_address("fd00::1").packed: struct.pack("=I", 32)}
    for name, struct_name, network, length in (
        ("np_networks4", "network4_key", "192.0.0.0", 8),
        ("np_networks6", "network6_key", "2001:db8::", 33),
    ):
        ((key, _),) = image[name].items()
        fields = structs[struct_name]
        assert len(key) == fields[""][1]
        assert number(field(key, fields, "length")) == length
        assert field(key, fields, "address") == ip_address(network).packed


def test_networks_of_one_address(monkeypatch: pytest.MonkeyPatch) -> None:
    """In the table of addresses, behind what is known of the address itself, unless there are too many of them."""
    maps = read_maps(
        document(
            addresses=[{"address": "10.0.0.1", "identity": 1}],
            networks=[
                {"network": one, "identity": number}
                for number, one in enumerate(
                    ("10.0.0.0/24", "10.0.0.1/32", "10.0.0.2/32", "10.0.0.4/31", "2001:db8::1/128"), 2
                )
            ],
        )
    )
    image = layout.pack(maps, {}, frozenset([ip_address("10.0.0.2")]))
    addresses = {str(ip_address(key)): number(slot) for key, slot in image["np_addresses4"].items()}
    assert addresses == {"10.0.0.1": 1, "10.0.0.2": 4 | layout.OWN_NODE}
    assert {key[0] for key in image["np_networks4"]} == {24, 31}
    assert {key[0] for key in image["np_networks6"]} == {128}
    assert not image["np_addresses6"]
    monkeypatch.setattr(layout, "_MOST_AS_ADDRESSES", 4)
    assert {key[0] for key in layout.pack(maps, {})["np_networks4"]} == {24, 31, 32}


def test_rules(structs: Mapping[str, Fields], image: layout.Image) -> None:
    assert image["np_classes"] == {struct.pack("=II", 21, 31): struct.pack("=I", 51)}
    # The third word of a key: the port's two bytes as a packet has them, the protocol, and nothing.
    assert {struct.unpack("=II4s", key): number(slot) for key, slot in image["np_policy"].items()} == {
        (21, 51, b"\1\2\6\0"): 61,
        (21, 52, b"\0\0\x84\0"): 62,
        (21, 53, b"\0\0\0\0"): 0xFFFF_FFFF,
    }

    fields = structs["range_key"]
    ((key, slot),) = image["np_ranges"].items()
    assert (len(key), number(slot)) == (fields[""][1], 63)
    counted = fields["ruleset"][1] + fields["class"][1] + fields["protocol"][1]
    assert number(field(key, fields, "length")) == 8 * counted + 7
    assert field(key, fields, "protocol") == struct.pack("=H", 17)
    assert field(key, fields, "port") == b"\2\0"


@pytest.mark.parametrize("table", layout.TABLES, ids=lambda table: table.name)
def test_values(structs: Mapping[str, Fields], table: layout.Table) -> None:
    name = {"np_endpoints": "endpoint", "np_ranges": "range"}.get(table.name, "network")
    fields = dict(structs[name])
    key = fields.pop("ifindex", (0, 0))[1]  # of a bucket; a trie's values hold none
    assert (key == WORD) == (table is layout.ENDPOINTS)
    (slots,) = (span for each, span in fields.items() if each)
    pair = (b"a" * table.slot, b"b" * table.slot)
    value = table.value(pair)
    assert (key, value) == (slots[0], b"".join(pair))
    assert (slots[1], fields[""][1]) == (2 * table.slot, key + 2 * table.slot)
    assert table.split(value) == pair


def test_the_number_of_the_layout() -> None:
    """Where this fails, `LAYOUT` needs another number, in C and in Python, unless all entries mean and lie as before.

    It is what keeps artifacts and loaders of two versions from reading each other's maps.
    """
    text = "".join((ROOT / "bpf_templates" / name).read_text(encoding="utf-8") for name in ("layout.h", "table.h"))
    code = re.sub(r"/\*.*?\*/|\s+", "", text, flags=re.DOTALL)
    assert f"#defineLAYOUT{LAYOUT}#" in code
    assert hashlib.sha256(code.encode()).hexdigest()[:16] == "3a05d98af10d1a84"


def test_state_and_buckets(structs: Mapping[str, Fields]) -> None:
    state = structs["state"]
    assert state == {"": (0, 40), "generation": (0, 8), "multiplier": (8, 8), "size": (16, 4 * len(layout.HASHED))}
    assert structs["bucket"][""][1] == BUCKET


def test_events(structs: Mapping[str, Fields]) -> None:
    fields = structs["event"]
    assert fields[""][1] == EVENT_SIZE
    data = bytearray(EVENT_SIZE)

    def put(name: str, value: bytes) -> None:
        start, size = fields[name]
        data[start : start + size] = value.ljust(size, b"\0")

    for place, name in enumerate(("time", "generation")):
        put(name, struct.pack("=Q", 100 + place))
    names = ("ifindex", "endpoint", "identity", "peer_identity", "ruleset", "rule")
    for place, name in enumerate(names):
        put(name, struct.pack("=I", 200 + place))
    put("source", ip_address("10.0.0.1").packed)
    put("destination", ip_address("10.0.0.2").packed)
    put("source_port", b"\1\2")
    put("destination_port", b"\3\4")
    put("protocol", b"\6")
    put("family", b"\4")
    put("direction", b"\1")
    put("allowed", b"\1")
    put("reason", struct.pack("=I", Reason.ALLOWED_BY_RULE))
    event = decode(bytes(data))
    assert (event.time, event.generation) == (100, 101)
    assert [getattr(event, name) for name in names] == [200, 201, 202, 203, 204, 205]
    assert (str(event.source), str(event.destination)) == ("10.0.0.1", "10.0.0.2")
    assert (event.source_port, event.destination_port, event.protocol) == (0x102, 0x304, 6)
    assert (event.direction, event.verdict, event.reason) == (Direction.INGRESS, Verdict.ALLOW, Reason.ALLOWED_BY_RULE)


def test_reasons_have_the_numbers_of_the_header() -> None:
    text = resources.text("bpf_templates", "reasons.h")
    numbers = {name: int(value) for name, value in re.findall(r"^\t(\w+) = (\d+),", text, re.MULTILINE)}
    first_drop = numbers.pop("FIRST_DROP")
    assert numbers.pop("EVENTS_LOST") == EVENTS_LOST
    assert numbers == {reason.name: reason.value for reason in Reason}
    assert all(reason.allows == (reason < first_drop) for reason in Reason)


def test_every_reason_is_explained() -> None:
    text = Path("docs/datapath.md").read_text(encoding="utf-8")
    assert [str(reason) for reason in Reason if f"`{reason}`" not in text] == []
