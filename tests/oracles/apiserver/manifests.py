"""The manifests whose fate at a Kubernetes API server is recorded, one JSON object a line on standard output.

Almost all of them are a valid NetworkPolicy with one thing changed, made from the tables below.  The values
in the tables are YAML as written in a file, because how a scalar is spelt is half of what is asked.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeAlias

# --- documents: nested mappings and sequences whose leaves are YAML text ----------------------------------


@dataclass(frozen=True, slots=True)
class Map:
    """Pairs rather than a dict, so that a key can stand twice."""

    items: tuple[tuple[str, Node], ...]


@dataclass(frozen=True, slots=True)
class Seq:
    items: tuple[Node, ...]


Node: TypeAlias = "str | Map | Seq"
Literal: TypeAlias = "str | dict[str, Literal] | list[Literal]"
Path: TypeAlias = "tuple[str | int, ...]"


@dataclass(frozen=True, slots=True)
class Case:
    name: str
    manifest: str


def node(literal: Literal) -> Node:
    match literal:
        case str():
            return literal
        case dict():
            return Map(tuple((key, node(value)) for key, value in literal.items()))
        case list():
            return Seq(tuple(node(item) for item in literal))


def path_of(text: str) -> Path:
    """`spec.ingress.0.ports` as steps."""
    return tuple(int(step) if step.isdigit() else step for step in text.split("."))


def get(root: Node, path: Path) -> Node:
    for step in path:
        match root, step:
            case Map(items), str():
                root = dict(items)[step]
            case Seq(items), int():
                root = items[step]
            case _:
                raise KeyError(path)
    return root


def put(root: Node, path: Path, value: Node) -> Node:
    """The document with `value` at `path`, replaced or added at the end."""
    if not path:
        return value
    step, rest = path[0], path[1:]
    match root, step:
        case Map(items), str():
            if step not in dict(items):
                return Map((*items, (step, put(Map(()), rest, value))))
            return Map(tuple((key, put(old, rest, value) if key == step else old) for key, old in items))
        case Seq(items), int():
            return Seq((*items[:step], put(items[step], rest, value), *items[step + 1 :]))
        case _:
            raise KeyError(path)


def drop(root: Node, path: Path) -> Node:
    parent, last = get(root, path[:-1]), path[-1]
    match parent:
        case Map(items):
            return put(root, path[:-1], Map(tuple(item for item in items if item[0] != last)))
        case Seq(items):
            return put(root, path[:-1], Seq(tuple(item for at, item in enumerate(items) if at != last)))
        case str():
            raise KeyError(path)


def rename(root: Node, path: Path, key: str) -> Node:
    parent = get(root, path[:-1])
    assert isinstance(parent, Map)
    return put(root, path[:-1], Map(tuple((key if old == path[-1] else old, value) for old, value in parent.items)))


def repeat(root: Node, path: Path, second: Node) -> Node:
    """The document with the key at `path` a second time, at the end of its mapping."""
    parent = get(root, path[:-1])
    assert isinstance(parent, Map)
    return put(root, path[:-1], Map((*parent.items, (str(path[-1]), second))))


def lines(value: Node) -> Iterator[str]:
    match value:
        case str():
            yield value
        case Map(()):
            yield "{}"
        case Seq(()):
            yield "[]"
        case Map(items):
            for key, child in items:
                first, *rest = lines(child)
                if isinstance(child, str) or first in ("{}", "[]"):
                    yield f"{key}: {first}" if first else f"{key}:"
                else:
                    yield f"{key}:"
                    yield f"  {first}"
                yield from (f"  {line}" for line in rest)
        case Seq(items):
            for child in items:
                first, *rest = lines(child)
                yield f"- {first}"
                yield from (f"  {line}" for line in rest)


def text(root: Node) -> str:
    return "\n".join(lines(root)) + "\n"


def policy(spec: Literal, **metadata: Literal) -> Node:
    return node(
        {
            "apiVersion": "networking.k8s.io/v1",
            "kind": "NetworkPolicy",
            "metadata": {"name": "sample", **metadata},
            "spec": spec,
        }
    )


# --- valid policies, each small and rich in one thing -----------------------------------------------------

WEB: dict[str, Literal] = {"matchLabels": {"app": "web"}}
PLAIN = policy({"podSelector": {}})
META = policy({"podSelector": {}}, namespace="shop", labels={"app": "web"}, annotations={"note": "text"})
TYPES = policy({"podSelector": {}, "policyTypes": ["Ingress", "Egress"]})
SUBJECT = policy(
    {"podSelector": {**WEB, "matchExpressions": [{"key": "tier", "operator": "In", "values": ["a", "b"]}]}}
)
PORTS = policy({"podSelector": {}, "ingress": [{"ports": [{"protocol": "UDP", "port": "80", "endPort": "90"}]}]})
PORT = policy({"podSelector": {}, "ingress": [{"ports": [{"port": "80"}]}]})
PEERS = policy({"podSelector": {}, "ingress": [{"from": [{"podSelector": WEB, "namespaceSelector": WEB}]}]})
BLOCK = policy(
    {
        "podSelector": {},
        "ingress": [{"from": [{"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.1.0.0/16"]}}]}],
    }
)
EGRESS = policy(
    {
        "podSelector": {},
        "policyTypes": ["Egress"],
        "egress": [{"to": [{"ipBlock": {"cidr": "10.0.0.0/8"}}], "ports": [{"protocol": "TCP", "port": "53"}]}],
    }
)

FROM = "spec.ingress.0.from.0"
RULE_PORT = "spec.ingress.0.ports.0"

# Every field of the type, in the policy where it is changed.
FIELDS: Sequence[tuple[Node, Sequence[str]]] = (
    (META, ("apiVersion", "kind", "metadata", "metadata.name", "metadata.namespace", "metadata.labels")),
    (META, ("metadata.labels.app", "metadata.annotations", "metadata.annotations.note", "spec")),
    (TYPES, ("spec.podSelector", "spec.policyTypes", "spec.policyTypes.0")),
    (SUBJECT, ("spec.podSelector.matchLabels", "spec.podSelector.matchLabels.app")),
    (
        SUBJECT,
        tuple(f"spec.podSelector.matchExpressions{end}" for end in ("", ".0", ".0.key", ".0.operator")),
    ),
    (SUBJECT, ("spec.podSelector.matchExpressions.0.values", "spec.podSelector.matchExpressions.0.values.0")),
    (PORTS, ("spec.ingress", "spec.ingress.0", "spec.ingress.0.ports", RULE_PORT)),
    (PORTS, (f"{RULE_PORT}.protocol", f"{RULE_PORT}.port", f"{RULE_PORT}.endPort")),
    (PEERS, ("spec.ingress.0.from", FROM, f"{FROM}.podSelector", f"{FROM}.namespaceSelector")),
    (PEERS, (f"{FROM}.podSelector.matchLabels", f"{FROM}.namespaceSelector.matchLabels.app")),
    (
        BLOCK,
        (f"{FROM}.ipBlock", f"{FROM}.ipBlock.cidr", f"{FROM}.ipBlock.except", f"{FROM}.ipBlock.except.0"),
    ),
    (
        EGRESS,
        ("spec.egress", "spec.egress.0", "spec.egress.0.to", "spec.egress.0.to.0", "spec.egress.0.ports"),
    ),
)

# Stand-ins for any field: absent is made by dropping it.
SHAPES = ("null", "", '""', "text", "7", "1.5", "true", "[]", "{}", "[null]", "[{}]", "{a: b}")

# --- tables of values: a plain entry is its own name, a pair is (name, text) ------------------------------

Values: TypeAlias = "Sequence[str | tuple[str, str]]"


def table(text: str) -> Iterator[str]:
    """The entries between the bars, an empty one included."""
    for line in text.strip("\n").split("\n"):
        yield from (entry.strip() for entry in line.split("¦"))


def pairs(text: str) -> list[tuple[str, str]]:
    """One value before the arrow with each of those behind it."""
    rows = (line.split(" => ") for line in text.strip("\n").split("\n"))
    return [(first, second) for first, seconds in rows for second in table(seconds)]


DEEP = " " * 16

SCALARS: Values = (
    *table(r"""
yes ¦ no ¦ on ¦ off ¦ y ¦ n ¦ Y ¦ N ¦ Yes ¦ YES ¦ yEs ¦ true ¦ True ¦ TRUE ¦ tRue ¦ false ¦ null ¦ Null
NULL ¦ nULL ¦ ~ ¦ 0 ¦ 1 ¦ -1 ¦ +1 ¦ +80 ¦ 00 ¦ 007 ¦ 0120 ¦ 0180 ¦ -0120 ¦ 0o17 ¦ 0O17 ¦ 0x50 ¦ 0X50 ¦ -0x50
0b1010000 ¦ 1_000 ¦ 1__0 ¦ 8_0.0 ¦ _80 ¦ 80_ ¦ 0_120 ¦ 0x_50 ¦ 80. ¦ .5 ¦ 80.0 ¦ 80.5 ¦ 8e1 ¦ 8E1 ¦ 8e+1
8.0e1 ¦ 800e-1 ¦ 1e400 ¦ -0 ¦ -0.0 ¦ .inf ¦ -.inf ¦ +.inf ¦ .Inf ¦ .nan ¦ .NaN ¦ inf ¦ nan ¦ 22:22 ¦ 1:30:00
22:22.5 ¦ 2001-01-01 ¦ 2001-1-1 ¦ 2001-12-14T21:59:43Z ¦ 2001-12-14 21:59:43.10 -5 ¦ = ¦ << ¦ - ¦ -- ¦ ---x
80-81 ¦ 80 81 ¦ 8,0 ¦ 80 # comment ¦ 80#x ¦ 2147483647 ¦ 2147483648 ¦ 9223372036854775807
9223372036854775808 ¦ 18446744073709551615 ¦ 18446744073709551616 ¦ -9223372036854775809
123456789012345678901234567890 ¦ 0xFFFFFFFFFFFFFFFFFF ¦ 1e2 ¦ 65535.0 ¦ 1.0e+3 ¦ 1234567.0 ¦ 1e21
123456789.5 ¦ '80' ¦ "80" ¦ "8\u0030" ¦ 'yes' ¦ "null" ¦ "true" ¦ "1.0" ¦ '~' ¦ "\x38\x30" ¦ !!str 80
!!str yes ¦ !!str ¦ !!int "80" ¦ !!int 80.0 ¦ !!int "0o17" ¦ !!float 80 ¦ !!float "8e1" ¦ !!bool "true"
!!bool yes ¦ !!null "" ¦ !!binary ODA= ¦ !!binary not-base64 ¦ !!timestamp 2001-01-01 ¦ !!timestamp x ¦ ! 80
!local 80 ¦ !<tag:yaml.org,2002:str> 80 ¦ !!int text ¦ !!float text ¦ !!bool text ¦ !!seq 80 ¦ !!map {}
&anchor 80 ¦ *missing ¦ @x ¦ `x ¦ %x ¦ |x ¦ ?x ¦ :x ¦ a:b ¦ a: b ¦ [ ¦ } ¦ ' ¦ " ¦ "\q" ¦ "\/"
"""),
    "a\tb",
    "x\x00y",
    ("non-breaking space", "\xa080"),
    ("trailing spaces", "80   "),
    ("next line U+0085", "a\x85b"),
    ("line separator U+2028", "a\u2028b"),
    ("byte order mark inside", "a\ufeffb"),
    ("delete U+007F", "a\x7fb"),
    ("emoji", "😀"),
    ("escaped surrogate pair", '"\\ud83d\\ude00"'),
    ("escaped emoji", '"\\U0001F600"'),
    ("literal block", "|\n                80"),
    ("literal block stripped", "|-\n                80"),
    ("folded block stripped", ">-\n                8\n                0"),
    ("plain over two lines", "8\n                0"),
    ("quoted over two lines", '"8\n                0"'),
)

NUMBERS: Values = (
    *table(r"""
2 ¦ 1023 ¦ 65534 ¦ 65535 ¦ 65536 ¦ 70000 ¦ 100000 ¦ -80 ¦ 1.0 ¦ 0.0 ¦ http ¦ HTTP ¦ Http ¦ a ¦ A ¦ ab ¦ a-b
a--b ¦ -a ¦ a- ¦ a_b ¦ a.b ¦ 1a ¦ 1 ¦ "1" ¦ "0" ¦ "65535" ¦ "65536" ¦ "-1" ¦ 80a ¦ 8-0 ¦ http-80
abcdefghijklmno ¦ abcdefghijklmnop ¦ 0123456789abcde ¦ "http " ¦ " http" ¦ "80 " ¦ '*' ¦ ä ¦ "\n" ¦ 80/TCP
{type: 0, intVal: 80} ¦ [80] ¦ http:80 ¦ '0x50' ¦ '8e1' ¦ '+80' ¦ ' ' ¦ any ¦ 80:90 ¦ "80-90"
"""),
)

END_PORTS = pairs(r"""
80 => 80 ¦  ¦ 79 ¦ 81 ¦ 0 ¦ 1 ¦ -1 ¦ 65535 ¦ 65536 ¦ null ¦ ~ ¦ 81.0 ¦ 81.5 ¦ 9e1 ¦ '81' ¦ http ¦ true
80 => [81] ¦ {} ¦ 0x51 ¦ 0121 ¦ 2147483647 ¦ 2147483648 ¦ -2147483649
http => 81 ¦ null ¦ 0
'80' => 81
null => 81 ¦ 0 ¦ null
0 => 81 ¦ 0
65536 => 65537
65535 => 65535
-5 => -6
70000 => 69999
"" => 81
""")

PROTOCOLS: Values = (
    *table(r"""
TCP ¦ UDP ¦ SCTP ¦ tcp ¦ udp ¦ sctp ¦ Tcp ¦ ICMP ¦ ICMPv6 ¦ ANY ¦ All ¦ '*' ¦ "" ¦ " TCP" ¦ "TCP " ¦ null
~ ¦ 6 ¦ '6' ¦ true ¦ [TCP] ¦ {} ¦ TCP,UDP ¦ TCP/UDP ¦ !!str TCP ¦ "T\u0043P" ¦ "\u0422\u0421\u0420"
"""),
)

TYPES_VALUES: Values = (
    *table(r"""
[Ingress] ¦ [Egress] ¦ [Ingress, Egress] ¦ [Egress, Ingress] ¦ [Ingress, Ingress] ¦ [Egress, Egress]
[Ingress, Egress, Ingress] ¦ [Ingress, Ingress, Ingress] ¦ [ingress] ¦ [INGRESS] ¦ [Ingres] ¦ [Both] ¦ [""]
[] ¦ null ¦ ~ ¦ [null] ¦ [~, Ingress] ¦ [Ingress, null] ¦ [ Ingress , ] ¦ Ingress ¦ Ingress,Egress
[Ingress Egress] ¦ {Ingress: true} ¦ [1] ¦ [true] ¦ [[Ingress]] ¦ [{}] ¦ ["Ingress "] ¦ [Foo, Bar]
[Foo, Bar, Baz] ¦ [Ingress, Foo] ¦ !!set {Ingress}
"""),
)

# Types against the rules that stand beside them.
INFERENCE: Sequence[tuple[str | None, str | None, str | None]] = tuple(
    (types, ingress, egress)
    for types in (None, "[]", "null", "[Ingress]", "[Egress]", "[Ingress, Egress]")
    for ingress in (None, "null", "[]", "[{}]")
    for egress in (None, "null", "[]", "[{}]")
    if (ingress, egress) in {(None, None), (None, "null"), (None, "[]"), (None, "[{}]"), ("[]", "[]"), ("[{}]", "[{}]")}
    or (ingress in {"null", "[{}]"} and egress is None)
)

CIDRS: Values = (
    *table(r"""
10.0.0.0/8 ¦ 10.1.2.3/8 ¦ 10.0.0.1/32 ¦ 0.0.0.0/0 ¦ 1.2.3.4/0 ¦ 255.255.255.255/32 ¦ 0.0.0.0/32
10.0.0.0/31 ¦ 10.0.0.0 ¦ 10.0.0.0/ ¦ /8 ¦ 10.0.0.0/33 ¦ 10.0.0.0/-1 ¦ 10.0.0.0/+8 ¦ 10.0.0.0/08
10.0.0.0/008 ¦ 10.0.0.0/00 ¦ 010.0.0.0/8 ¦ 10.00.0.0/8 ¦ 10.0.0.010/32 ¦ 08.0.0.0/8 ¦ 0x0a.0.0.0/8
256.0.0.0/8 ¦ 10.0.0/8 ¦ 10/8 ¦ 10.0.0.0.0/8 ¦ 10.0.0.0/255.0.0.0 ¦ 10.0.0.0 /8 ¦ '10.0.0.0/8 '
' 10.0.0.0/8' ¦ 10.0.0.0/8 # comment ¦ "10.0.0.0/8\n" ¦ 10.0.0.0-10.0.0.9 ¦ 10.0.0.0\8 ¦ 10.0.0.0/8/8
10.0.0.0/8,11.0.0.0/8 ¦ 10.0.0.*/8 ¦ ::/0 ¦ ::1/128 ¦ fd00::/8 ¦ FD00::/8 ¦ fd00::1/8 ¦ fd00::/129
fd00:0:0:0:0:0:0:0/8 ¦ fd00:0000::/8 ¦ fd00:: ¦ fd00:::/8 ¦ fd00::1::/8 ¦ fe80::%eth0/64 ¦ fe80::1%1/64
fe80::/64%eth0 ¦ '[::]/0' ¦ ::ffff:10.0.0.0/104 ¦ ::ffff:10.0.0.0/96 ¦ ::ffff:10.0.0.0/8 ¦ ::ffff:0:0/96
::ffff:a00:0/104 ¦ ::ffff:10.1.2.3/128 ¦ ::10.0.0.0/104 ¦ ::ffff:10.0.0.0/32 ¦ ::ffff:010.0.0.0/104
64:ff9b::10.0.0.0/96 ¦ ::/00 ¦ 2001:db8::/032 ¦ localhost/8 ¦ localhost ¦ all ¦ any ¦ '*' ¦ "" ¦ null ¦ ~
10 ¦ 10.0 ¦ 0/0 ¦ !!str 10.0.0.0/8 ¦ "\uff110.0.0.0/8" ¦ [10.0.0.0/8] ¦ {} ¦ true ¦ 10.0.0.0/8.0
10.0.0.0/8e0
"""),
)

EXCEPTS = pairs(r"""
10.0.0.0/8 => [10.0.0.0/9] ¦  ¦ [10.0.0.0/8] ¦ [10.0.0.0/7] ¦ [10.1.2.3/16] ¦ [11.0.0.0/16] ¦ [11.0.0.0/8]
10.0.0.0/8 => [10.1.0.0/16, 10.1.0.0/16] ¦ [10.1.0.0/16, 10.1.2.0/24] ¦ [10.0.0.0/9, 10.128.0.0/9] ¦ []
10.0.0.0/8 => null ¦ ~ ¦ [null] ¦ [""] ¦ [~, 10.1.0.0/16] ¦ 10.1.0.0/16 ¦ [10.1.0.0] ¦ {} ¦ [010.1.0.0/16]
10.0.0.0/8 => [10.1.0.0/016] ¦ [10.1.0.0/33] ¦ ['10.1.0.0/16 '] ¦ [text] ¦ [1] ¦ [[10.1.0.0/16]]
10.0.0.0/8 => [fd00::/16] ¦ ['::/0'] ¦ ['::1/128'] ¦ ['::ffff:10.1.0.0/112'] ¦ ['::ffff:10.0.0.0/104']
10.0.0.0/8 => ['::ffff:10.1.0.0/12'] ¦ ['::ffff:11.0.0.0/112'] ¦ ['::ffff:10.1.0.0/16'] ¦ [{}]
10.0.0.0/8 => 10.1.0.0/16,
10.1.2.3/8 => [10.0.0.0/8] ¦ [10.9.0.0/16] ¦ [10.1.2.3/32] ¦ [10.1.2.3/8]
0.0.0.0/0 => [0.0.0.0/0] ¦ [0.0.0.0/1] ¦ [10.0.0.0/8, 192.168.0.0/16] ¦ ['::/1'] ¦ ['::/0'] ¦ [10.0.0.1/32]
10.0.0.1/32 => [10.0.0.1/32] ¦ [10.0.0.0/31] ¦ []
'::/0' => [fd00::/8] ¦ ['::/0'] ¦ ['::/1'] ¦ [10.0.0.0/8] ¦ [0.0.0.0/0] ¦ ['::ffff:10.0.0.0/104']
fd00::/8 => [fd00::/8] ¦ [fd00::/9] ¦ [fd12::1/128] ¦ [fe00::/9] ¦ [10.0.0.0/9]
'::ffff:10.0.0.0/104' => ['::ffff:10.1.0.0/112'] ¦ [10.1.0.0/16] ¦ [10.0.0.0/8] ¦ [10.0.0.0/105]
'::ffff:10.0.0.0/104' => ['::ffff:10.0.0.0/104']
'::ffff:0:0/96' => [10.0.0.0/8] ¦ ['::ffff:10.0.0.0/104'] ¦ [fd00::/100]
'::ffff:10.0.0.0/8' => [10.0.0.0/9] ¦ ['::1/128'] ¦ ['::ffff:10.0.0.0/104']
text => [10.0.0.0/8]
"" => [10.0.0.0/8]
null => [text]
010.0.0.0/8 => [010.1.0.0/16]
""")

LABEL_KEYS: Values = (
    *table(r"""
app ¦ a ¦ A ¦ App.Name ¦ a_b ¦ a.b ¦ a-b ¦ a--b ¦ 1 ¦ 1a ¦ -a ¦ a- ¦ .a ¦ a. ¦ _a ¦ a_ ¦ a b ¦ ä ¦ a:b ¦ a@b
'a,b' ¦ example.com/app ¦ example.com/App ¦ Example.com/app ¦ example_com/app ¦ example.com/ ¦ /app ¦ a/b/c
// ¦ a//b ¦ / ¦ "" ¦ ' ' ¦ 1.2.3.4/app ¦ -a.com/app ¦ a-.com/app ¦ a..com/app ¦ .com/app ¦ com./app
localhost/app ¦ example.com/-a ¦ example.com:80/app ¦ kubernetes.io/metadata.name ¦ app.kubernetes.io/name
k8s.io/a ¦ 'app ' ¦ ' app' ¦ * ¦ '*' ¦ a/1 ¦ x/. ¦ __proto__
"""),
    ("63 characters", "a" * 63),
    ("64 characters", "a" * 64),
    ("prefix of 253", ("b" * 49 + ".") * 4 + "b" * 53 + "/app"),
    ("prefix of 254", ("b" * 49 + ".") * 4 + "b" * 54 + "/app"),
    ("prefix label of 63", "b" * 63 + ".com/app"),
    ("prefix label of 64", "b" * 64 + ".com/app"),
    ("prefix of 253, name of 63", ("b" * 49 + ".") * 4 + "b" * 53 + "/" + "a" * 63),
)

# How a key that is not a plain word is read.
KEY_SCALARS: Values = (
    *table(r"""
yes ¦ no ¦ on ¦ off ¦ y ¦ n ¦ true ¦ True ¦ false ¦ null ¦ ~ ¦ 0 ¦ 1 ¦ -1 ¦ 007 ¦ 0120 ¦ 0o17 ¦ 0x50 ¦ 1_000
1.0 ¦ 1.5 ¦ 8e1 ¦ 1e3 ¦ .5 ¦ .inf ¦ .nan ¦ 22:22 ¦ 2001-01-01 ¦ 2001-12-14T21:59:43Z ¦ = ¦ << ¦ '<<' ¦ '1'
"yes" ¦ '~' ¦ !!str 1 ¦ !!int '1' ¦ !!str yes ¦ !!binary YQ== ¦ !!null a ¦ &k app ¦ [a, b] ¦ {a: b} ¦ ? app
"a\u0070p" ¦ 18446744073709551616 ¦ 9223372036854775808 ¦ 0.1 ¦ 100000000000000000000.0 ¦ 1e21 ¦ 1.10 ¦ -0.0
"""),
)

LABEL_VALUES: Values = (
    *table(r"""
web ¦  ¦ Web ¦ WEB ¦ a ¦ a.b ¦ a_b ¦ a-b ¦ a--b ¦ a..b ¦ -a ¦ a- ¦ .a ¦ a. ¦ _a ¦ a_ ¦ a/b ¦ a b ¦ a:b ¦ a@b
ä ¦ "" ¦ '' ¦ ' ' ¦ 'web ' ¦ ' web' ¦ '1' ¦ "1.0" ¦ '-1' ¦ '0120' ¦ 1 ¦ 1.0 ¦ 1.10 ¦ 0120 ¦ 1e3 ¦ yes ¦ no
on ¦ off ¦ y ¦ n ¦ true ¦ null ¦ ~ ¦ 2001-01-01 ¦ 22:22 ¦ = ¦ << ¦ .inf ¦ .nan ¦ 'yes' ¦ 'true' ¦ 'null'
v1.2.3 ¦ v1 ¦ 1.2.3 ¦ 10.0.0.1 ¦ 0x1g ¦ 1a ¦ [a] ¦ {} ¦ '*' ¦ '!web' ¦ "a\nb" ¦ !!str 1 ¦ !!str true
!!binary d2Vi ¦ 'a,b'
"""),
    ("63 characters", "a" * 63),
    ("64 characters", "a" * 64),
)

EXPRESSIONS: Values = (
    *table(r"""
{key: a, operator: In, values: [x]} ¦ {key: a, operator: In, values: [x, x]}
{key: a, operator: In, values: []} ¦ {key: a, operator: In} ¦ {key: a, operator: In, values: null}
{key: a, operator: In, values: [null]} ¦ {key: a, operator: In, values: ['']}
{key: a, operator: In, values: x} ¦ {key: a, operator: In, values: [1]}
{key: a, operator: In, values: [true]} ¦ {key: a, operator: In, values: [yes]}
{key: a, operator: In, values: ['-a']} ¦ {key: a, operator: In, values: ['a b', '-']}
{key: a, operator: In, values: [ok, 'a/b']} ¦ {key: a, operator: NotIn, values: [x]}
{key: a, operator: NotIn, values: []} ¦ {key: a, operator: NotIn}
{key: a, operator: NotIn, values: ['a_']} ¦ {key: a, operator: Exists}
{key: a, operator: Exists, values: []} ¦ {key: a, operator: Exists, values: null}
{key: a, operator: Exists, values: [x]} ¦ {key: a, operator: Exists, values: ['']}
{key: a, operator: Exists, values: [null]} ¦ {key: a, operator: Exists, values: ['-a', b]}
{key: a, operator: DoesNotExist} ¦ {key: a, operator: DoesNotExist, values: []}
{key: a, operator: DoesNotExist, values: [x]} ¦ {key: a, operator: in, values: [x]}
{key: a, operator: IN, values: [x]} ¦ {key: a, operator: notIn, values: [x]} ¦ {key: a, operator: NotExists}
{key: a, operator: Equals, values: [x]} ¦ {key: a, operator: Gt, values: ['1']}
{key: a, operator: Lt, values: ['1']} ¦ {key: a, operator: '='} ¦ {key: a, operator: '!'}
{key: a, operator: ''} ¦ {key: a, operator: null} ¦ {key: a} ¦ {operator: Exists}
{key: '', operator: Exists} ¦ {} ¦ {key: null, operator: Exists} ¦ {key: -a, operator: Exists}
{key: a/b/c, operator: Exists} ¦ {key: 'a b', operator: In, values: ['a b']} ¦ {key: 1, operator: Exists}
{key: yes, operator: Exists} ¦ {key: a, operator: Exists, extra: 1} ¦ {Key: a, operator: Exists}
{key: a, values: [x]} ¦ {key: a, operator: 1} ¦ {key: a, operator: [In], values: [x]}
{key: a, key: b, operator: Exists} ¦ null ¦ a in (x) ¦ [] ¦ {key: a, op: Exists}
"""),
)

NAMES: Values = (
    *table(r"""
a ¦ sample ¦ a-b ¦ a--b ¦ a.b ¦ a..b ¦ 1 ¦ '1' ¦ '1.0' ¦ 1a ¦ 1.a ¦ A ¦ Sample ¦ a_b ¦ -a ¦ a- ¦ .a ¦ a. ¦ .
.. ¦ '.' ¦ '..' ¦ a/b ¦ a%b ¦ a%2Fb ¦ a b ¦ ' a' ¦ 'a ' ¦ ä ¦ xn--a ¦ '*' ¦ "" ¦ null ¦ ~ ¦ true ¦ yes ¦ on
0120 ¦ 1e3 ¦ 22:22 ¦ 2001-01-01 ¦ [a] ¦ {} ¦ 'true' ¦ 'null' ¦ - ¦ -- ¦ a:b ¦ a@b ¦ 'a\b' ¦ !!str 1 ¦ "a\nb"
default ¦ kube-system
"""),
    ("63 characters", "a" * 63),
    ("64 characters", "a" * 64),
    ("253 characters", "a" * 253),
    ("254 characters", "a" * 254),
    ("253 with dots", ("a" * 62 + ".") * 3 + "a" * 63),
)

METADATA: Values = (
    *table(r"""
generateName: a- ¦ generateName: A_ ¦ generateName: '' ¦ generateName: null ¦ generateName: 1
generateName: -a ¦ generatename: a- ¦ finalizers: [] ¦ finalizers: null ¦ finalizers: [example.com/a]
finalizers: [a] ¦ finalizers: [foregroundDeletion] ¦ finalizers: [A b/c/d]
finalizers: [orphan, foregroundDeletion] ¦ finalizers: [1] ¦ finalizers: [''] ¦ finalizers: [kubernetes]
finalizers: [null] ¦ finalizers: a ¦ ownerReferences: [] ¦ ownerReferences: null ¦ ownerReferences: [{}]
ownerReferences: [{apiVersion: v1, kind: Pod, name: p, uid: u}]
ownerReferences: [{apiVersion: v1, kind: Event, name: p, uid: u}]
ownerReferences: [{apiVersion: v1, kind: Pod, name: p, uid: u, extra: 1}]
ownerReferences: [{apiVersion: v1, kind: Pod, name: p}]
ownerReferences: [{apiVersion: a/b/c, kind: Pod, name: p, uid: u}] ¦ ownerReferences: {}
ownerReferences: [{apiVersion: v1, kind: A, name: p, uid: u}, {apiVersion: v1, kind: A, name: p, uid: u}]
creationTimestamp: null ¦ creationTimestamp: '2024-01-01T00:00:00Z'
creationTimestamp: 2024-01-01T00:00:00Z ¦ creationTimestamp: yesterday ¦ creationTimestamp: ''
creationTimestamp: 0 ¦ creationTimestamp: '2024-01-01' ¦ deletionTimestamp: '2024-01-01T00:00:00Z'
deletionTimestamp: x ¦ deletionGracePeriodSeconds: 5 ¦ deletionGracePeriodSeconds: -5
deletionGracePeriodSeconds: x ¦ generation: 7 ¦ generation: -1 ¦ generation: x ¦ generation: 1.5
resourceVersion: '5' ¦ resourceVersion: '' ¦ resourceVersion: '0' ¦ resourceVersion: x ¦ resourceVersion: 5
selfLink: /x ¦ selfLink: 1 ¦ uid: x ¦ uid: '' ¦ uid: 1 ¦ managedFields: [] ¦ managedFields: null
managedFields: [{manager: m}] ¦ managedFields: [{operation: Update}] ¦ managedFields: x
managedFields: [{extra: 1}] ¦ clusterName: x ¦ initializers: null ¦ unknown: 1 ¦ unknown: null ¦ Name: other
NAME: other ¦ names: x ¦ Labels: {} ¦ label: {} ¦ annotation: {} ¦ spec: {} ¦ labels: {} ¦ labels: {'': a}
labels: {a: ''} ¦ labels: {a: null} ¦ labels: {a: 1} ¦ labels: {a: 'x y'} ¦ labels: {A/b/c: x}
labels: {a: {}} ¦ labels: {a: [x]} ¦ labels: {a: b, a: c} ¦ labels: [a] ¦ labels: {a: b, c: 1}
labels: {yes: x} ¦ labels: {1: x} ¦ annotations: {} ¦ annotations: {'': a} ¦ annotations: {a: ''}
annotations: {a: null} ¦ annotations: {a: 1} ¦ annotations: {a: true} ¦ annotations: {a: {}}
annotations: {'-a': x} ¦ annotations: {A.B/C: x} ¦ annotations: {a/b/c: x} ¦ annotations: {a: x, b: 1}
annotations: {a: x, a: z} ¦ annotations: {'a b': x} ¦ annotations: {Example.COM/Upper: x} ¦ annotations: [a]
annotations: a=b
"""),
    (
        "two controllers",
        "ownerReferences: [{apiVersion: v1, kind: A, name: p, uid: u, controller: true},"
        " {apiVersion: v1, kind: B, name: q, uid: w, controller: true}]",
    ),
    (
        "complete managedFields",
        "managedFields: [{manager: m, operation: Apply, apiVersion: networking.k8s.io/v1,"
        " fieldsType: FieldsV1, fieldsV1: {}}]",
    ),
)

HEADERS = pairs(r"""
apiVersion => networking.k8s.io/v1 ¦ 'networking.k8s.io/v1' ¦ networking.k8s.io/v1beta1
apiVersion => networking.k8s.io/v2 ¦ networking.k8s.io ¦ networking.k8s.io/ ¦ /v1 ¦ v1 ¦ extensions/v1beta1
apiVersion => apps/v1 ¦ Networking.k8s.io/v1 ¦ networking.k8s.io/V1 ¦ a/b/c ¦ projectcalico.org/v3
apiVersion => crd.projectcalico.org/v1 ¦ cilium.io/v2 ¦ networking/v1 ¦ ' networking.k8s.io/v1' ¦ 1
kind => networkpolicy ¦ Networkpolicy ¦ NetworkPolicies ¦ NetworkPolicyList ¦ List ¦ Network Policy
kind => ' NetworkPolicy' ¦ Ingress ¦ Pod
""")

SPEC_EXTRAS: Values = (
    *table(r"""
status: {} ¦ status: null ¦ extra: 1 ¦ extra: null ¦ PodSelector: {} ¦ podselector: {}
policyType: [Ingress] ¦ policytypes: [Ingress] ¦ PolicyTypes: [Ingress] ¦ Ingress: [] ¦ INGRESS: []
ingres: [] ¦ Egress: [] ¦ selector: {} ¦ namespaceSelector: {} ¦ from: [] ¦ ports: []
podSelector: {app: web} ¦ podSelector: {matchLabels: {app: web}, app: x} ¦ ingress: [{form: []}]
ingress: [{From: []}] ¦ ingress: [{to: []}] ¦ egress: [{from: []}] ¦ ingress: [{port: []}]
ingress: [{ports: [{ports: 80}]}] ¦ ingress: [{ports: [{Port: 80}]}]
ingress: [{ports: [{targetPort: 80}]}] ¦ ingress: [{ports: [{endport: 80}]}]
ingress: [{ports: [{port: 80, name: x}]}] ¦ ingress: [{ports: [{protocol: TCP, Protocol: UDP}]}]
ingress: [{from: [{ipblock: {cidr: 10.0.0.0/8}}]}] ¦ ingress: [{from: [{ipBlock: {CIDR: 10.0.0.0/8}}]}]
ingress: [{from: [{ipBlock: {cidr: 10.0.0.0/8, Except: []}}]}]
ingress: [{from: [{ipBlock: {cidr: 10.0.0.0/8, excepts: []}}]}]
ingress: [{from: [{ipBlock: {cidrs: [10.0.0.0/8]}}]}] ¦ ingress: [{from: [{namespaceselector: {}}]}]
ingress: [{from: [{podSelector: {}, extra: null}]}] ¦ ingress: [{from: [{podSelector: {matchlabels: {}}}]}]
ingress: [{from: [{podSelector: {matchExpression: []}}]}] ¦ ingress: [{from: [{serviceAccount: x}]}]
ingress: [{from: [{podSelector: {}, unknown: {deep: [1]}}], ports: [{unknown: 1}]}]
podSelector: {MatchLabels: {app: web}}
"""),
)

PEER_VALUES: Values = (
    *table(r"""
{} ¦ null ¦ {podSelector: {}} ¦ {podSelector: null} ¦ {namespaceSelector: {}} ¦ {namespaceSelector: null}
{podSelector: {}, namespaceSelector: {}} ¦ {podSelector: null, namespaceSelector: {}}
{podSelector: {}, namespaceSelector: null} ¦ {podSelector: null, namespaceSelector: null} ¦ {podSelector: }
{ipBlock: {}} ¦ {ipBlock: null} ¦ {ipBlock: {cidr: null}} ¦ {ipBlock: {except: [10.0.0.0/8]}}
{ipBlock: {cidr: 10.0.0.0/8}, podSelector: {}} ¦ {ipBlock: {cidr: 10.0.0.0/8}, namespaceSelector: {}}
{ipBlock: {cidr: 10.0.0.0/8}, podSelector: null} ¦ {ipBlock: {}, podSelector: {}}
{ipBlock: {cidr: 10.0.0.0/8}, podSelector: {}, namespaceSelector: {}} ¦ {ipBlock: null, podSelector: {}}
{podSelector: {matchLabels: null}} ¦ {podSelector: {matchLabels: {}}}
{podSelector: {matchExpressions: []}} ¦ {podSelector: {matchExpressions: null, matchLabels: null}}
{podSelector: {matchLabels: {a: null}}} ¦ [] ¦ text ¦ 10.0.0.0/8 ¦ {app: web} ¦ {matchLabels: {app: web}}
{podSelector: app=web} ¦ {podSelector: [{matchLabels: {}}]} ¦ {ipBlock: 10.0.0.0/8}
"""),
)

LISTS = pairs(r"""
spec.ingress => [] ¦  ¦ [null] ¦ [{}] ¦ [{}, {}] ¦ [null, {}] ¦ null ¦ {} ¦ [[]] ¦ text ¦ [ ] ¦ [{},]
spec.egress => [] ¦  ¦ [null] ¦ [{}] ¦ [{}, {}] ¦ [null, {}] ¦ null ¦ {} ¦ [[]] ¦ text ¦ [ ] ¦ [{},]
spec.ingress.from => [] ¦  ¦ [null] ¦ [{}] ¦ null ¦ [null, null] ¦ {} ¦ [[]] ¦ text
spec.ingress.ports => [] ¦  ¦ [null] ¦ [{}] ¦ null ¦ [null, null] ¦ {} ¦ [[]] ¦ text
spec.egress.to => [] ¦ [null] ¦ [{}] ¦ null ¦ {} ¦ [[]] ¦ text
spec.egress.ports => [] ¦ [null] ¦ [{}] ¦ null ¦ {} ¦ [[]] ¦ text
""")

TOP_EXTRAS: Values = (
    *table(r"""
status: {} ¦ status: null ¦ status: ¦ status: [] ¦ status: text ¦ status: {conditions: []}
status: {conditions: [{type: Accepted, status: 'True'}]} ¦ Status: {} ¦ data: {} ¦ Spec: {} ¦ SPEC: {}
Kind: NetworkPolicy ¦ KIND: Pod ¦ apiversion: v1 ¦ ApiVersion: v1 ¦ Metadata: {} ¦ items: [] ¦ extra: null
'': x ¦ null: x ¦ 1: x ¦ 'spec ': {} ¦ x-common: &c {a: b} ¦ .anchors: null ¦ metadata.name: x ¦ <<: {}
<<: {extra: 1} ¦ <<: {status: {}} ¦ ? extra
"""),
)

# --- documents that are about the language, not about a field ---------------------------------------------

HEAD = "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata:\n  name: sample\n"
BODY = HEAD + "spec:\n  podSelector: {}\n"
SECOND = BODY.replace("sample", "second")
FLOW = "{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {name: a}, spec: {podSelector: {}}}\n"
JSON = (
    '{"apiVersion":"networking.k8s.io/v1","kind":"NetworkPolicy",'
    '"metadata":{"name":"sample"},"spec":{"podSelector":{}}}'
)
LIST = "apiVersion: v1\nkind: List\nitems:\n"
POLICY_LIST = "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicyList\nitems:\n"
MERGED = "{matchLabels: &m {app: web}}\n  ingress: [{from: [{podSelector: {matchLabels: %s}}]}]"


def selector(text: str) -> str:
    return HEAD + f"spec:\n  podSelector: {text}\n"


def selecting(labels: str) -> str:
    return selector(f"{{matchLabels: {labels}}}")


def listed(*documents: str) -> str:
    return "".join("- " + document.rstrip().replace("\n", "\n  ") + "\n" for document in documents)


def nines(anchor: str, item: str) -> str:
    """A list of nine, anchored."""
    return f"{anchor}: &{anchor} [{','.join([item] * 9)}]\n"


def json_with(old: str, new: str) -> str:
    assert old in JSON
    return JSON.replace(old, new)


def json_port(port: str) -> str:
    return json_with('"podSelector":{}', '"podSelector":{},"ingress":[{"ports":[{"port":' + port + "}]}]")


DOCUMENTS: Sequence[tuple[str, str]] = (
    ("empty document", ""),
    ("only a newline", "\n"),
    ("only spaces", "   "),
    ("only a comment", "# nothing\n"),
    ("only a separator", "---\n"),
    ("null document", "null\n"),
    ("scalar document", "text\n"),
    ("number document", "7\n"),
    ("list document", "[]\n"),
    ("list of one policy", listed(BODY)),
    ("empty mapping", "{}\n"),
    ("comments everywhere", "# top\n" + BODY.replace("\n", " # x\n")),
    ("no newline at the end", BODY.rstrip("\n")),
    ("separator first", "---\n" + BODY),
    ("separator with a comment first", "--- # first\n" + BODY),
    ("separator with spaces first", "---   \n" + BODY),
    ("separator with content", "--- " + FLOW),
    ("separator with a tag", "--- !!map\n" + BODY),
    ("separator last", BODY + "---\n"),
    ("document end last", BODY + "...\n"),
    ("text after document end", BODY + "...\ntext\n"),
    ("two documents", BODY + "---\n" + BODY.replace("sample", "second")),
    ("two documents, second broken", BODY + "---\n[\n"),
    ("two documents, first empty", "---\n---\n" + BODY),
    ("two documents, first a comment", "# only\n---\n" + BODY),
    ("directive", "%YAML 1.1\n---\n" + BODY),
    ("directive of YAML 1.2", "%YAML 1.2\n---\n" + BODY),
    ("tag directive", "%TAG ! tag:example.com,2000:\n---\n" + BODY),
    ("byte order mark", "\ufeff" + BODY),
    ("byte order mark before a separator", "\ufeff---\n" + BODY),
    ("byte order mark before JSON", "\ufeff" + JSON),
    ("CRLF line ends", BODY.replace("\n", "\r\n")),
    ("CR line ends", BODY.replace("\n", "\r")),
    ("tab as indent", HEAD + "spec:\n\tpodSelector: {}\n"),
    ("tab after colon", HEAD + "spec:\n  podSelector:\t{}\n"),
    ("tab before comment", BODY.rstrip("\n") + "\t# x\n"),
    ("tab alone on a line", HEAD + "\t\nspec:\n  podSelector: {}\n"),
    ("tab in flow style", HEAD + "spec: {\n\tpodSelector: {}}\n"),
    ("wrong indent", BODY + " ingress: []\n"),
    ("list not indented", BODY + "  policyTypes:\n  - Ingress\n"),
    ("uneven list indent", BODY + "  policyTypes:\n    - Ingress\n   - Egress\n"),
    ("no space after colon", HEAD + "spec:\n  podSelector:{}\n"),
    ("no space after dash", BODY + "  policyTypes:\n  -Ingress\n"),
    (
        "flow style over lines",
        HEAD + "spec: {\n  podSelector: {},\n  policyTypes: [\n    Ingress,\n  ],\n}\n",
    ),
    ("whole document in flow style", FLOW),
    (
        "flow style with quoted keys, no spaces",
        JSON.replace(':"networking.k8s.io/v1"', ":networking.k8s.io/v1").replace('"sample"', "sample"),
    ),
    ("flow style, unclosed", HEAD + "spec: {podSelector: {}\n"),
    ("flow style, empty entry", HEAD + "spec: {podSelector: {}, , policyTypes: []}\n"),
    ("flow key without value", HEAD + "spec: {podSelector, policyTypes: []}\n"),
    ("anchor and alias", selector("&s {matchLabels: {app: web}}\n  ingress: [{from: [{podSelector: *s}]}]")),
    ("alias of a scalar", selecting("{a: &v x, b: *v}")),
    ("alias of a list", BODY + "  ingress: [{ports: &p [{port: 80}]}]\n  egress: [{ports: *p}]\n"),
    ("alias before its anchor", selector("*s\n  ingress: [{from: [{podSelector: &s {}}]}]")),
    ("alias to itself", HEAD + "spec: &s\n  podSelector: {}\n  ingress: [*s]\n"),
    ("alias as key", selecting("{&k app: web}, matchExpressions: [{key: *k, operator: Exists}]")),
    ("anchor defined twice", selecting("{a: &v x, b: &v z, c: *v}")),
    ("merge key", selector(MERGED % "{<<: *m, tier: a}")),
    ("merge key overridden", selector(MERGED % "{<<: *m, app: db}")),
    ("merge key after the override", selector(MERGED % "{app: db, <<: *m}")),
    ("merge key with a list", selecting("{<<: [{a: v}, {a: w, b: x}]}")),
    ("merge key inline", selecting("{<<: {a: x}}")),
    ("merge key twice", selecting("{<<: {a: v}, <<: {b: w}}")),
    ("merge key with a scalar", selecting("{<<: x}")),
    ("merge key with null", selecting("{<<: null}")),
    ("merge key with a list of scalars", selecting("{<<: [x]}")),
    ("merge key quoted", selecting("{'<<': {a: x}}")),
    ("merge key quoted with a scalar", selecting("{'<<': x}")),
    ("merge key at spec", HEAD + "spec:\n  <<: {podSelector: {}, policyTypes: [Egress]}\n"),
    ("merge key brings an unknown field", BODY + "  <<: {extra: 1}\n"),
    ("merge key nested", selecting("{<<: {<<: {a: v}, b: w}}")),
    ("explicit key", HEAD + "spec:\n  ? podSelector\n  : {}\n"),
    ("explicit key without value", HEAD + "spec:\n  ? podSelector\n"),
    ("explicit complex key", HEAD + "spec:\n  ? {a: b}\n  : {}\n"),
    ("explicit list key", HEAD + "spec:\n  ? [a]\n  : {}\n"),
    ("explicit key over two lines", HEAD + "spec:\n  ? >-\n    podSelector\n  : {}\n"),
    (
        "quoted keys",
        BODY.replace("kind", "'kind'").replace("metadata", '"metadata"').replace("spec", '"spec"'),
    ),
    ("escaped key", HEAD + 'spec:\n  "pod\\x53elector": {}\n'),
    ("tagged mapping", HEAD + "spec: !!map\n  podSelector: !!map {}\n"),
    ("locally tagged mapping", HEAD + "spec: !custom\n  podSelector: {}\n"),
    ("tagged list", BODY + "  policyTypes: !!seq [Ingress]\n"),
    ("mapping tagged as list", BODY + "  policyTypes: !!seq {}\n"),
    ("set", selecting("!!set {a, b}")),
    ("ordered map", selecting("!!omap [a: b]")),
    (
        "literal block as CIDR",
        BODY + "  ingress:\n  - from:\n    - ipBlock:\n        cidr: |\n          10.0.0.0/8\n",
    ),
    (
        "stripped block as CIDR",
        BODY + "  ingress:\n  - from:\n    - ipBlock:\n        cidr: |-\n          10.0.0.0/8\n",
    ),
    (
        "separator inside a block scalar",
        HEAD + "  annotations:\n    note: |\n      ---\n      text\nspec:\n  podSelector: {}\n",
    ),
    (
        "separator inside a block scalar at column 0",
        HEAD + "  annotations:\n    note: |\n---\nspec:\n  podSelector: {}\n",
    ),
    (
        "separator inside quotes at column 0",
        HEAD + '  annotations:\n    note: "a\n--- b"\nspec:\n  podSelector: {}\n',
    ),
    (
        "block scalar with indent indicator",
        HEAD + "  annotations:\n    note: |2\n        text\nspec:\n  podSelector: {}\n",
    ),
    ("helm template left in", BODY + "  ingress: {{ .Values.rules }}\n"),
    ("helm template left in a line", HEAD + "{{- if .Values.on }}\nspec:\n  podSelector: {}\n{{- end }}\n"),
    ("NUL byte", BODY + "\u0000"),
    ("control character in a comment", BODY + "# \u0007\n"),
    ("lone surrogate escape", HEAD + '  annotations: {a: "\\ud83d"}\nspec:\n  podSelector: {}\n'),
    ("deep nesting of flow lists", BODY + "  ingress: " + "[" * 200 + "]" * 200 + "\n"),
    ("aliases that grow", nines("aa", "1") + nines("bb", "*aa") + nines("cc", "*bb") + BODY),
    (
        "aliases that explode",
        nines("aa", "1") + "".join(nines(c * 2, f"*{b * 2}") for b, c in pairwise("abcdefgh")) + BODY,
    ),
    ("nesting of 11000 flow lists", BODY + "  ingress: " + "[" * 11000 + "]" * 11000 + "\n"),
    ("long key of 1025 characters", BODY + "  " + "k" * 1025 + ": 1\n"),
    (
        "long explicit annotation key",
        HEAD + "  annotations:\n    ? " + "k" * 1025 + "\n    : x\nspec:\n  podSelector: {}\n",
    ),
    ("List of one policy", LIST + listed(BODY)),
    ("List of two policies", LIST + listed(BODY, SECOND)),
    ("List of one good and one bad policy", LIST + listed(BODY, BODY.replace("sample", "Bad"))),
    ("List with a null item", "apiVersion: v1\nkind: List\nitems: [null]\n"),
    ("List without items", "apiVersion: v1\nkind: List\n"),
    ("List with metadata", LIST.replace("items", "metadata: {resourceVersion: ''}\nitems") + listed(BODY)),
    ("NetworkPolicyList", POLICY_LIST + listed(BODY)),
    (
        "NetworkPolicyList whose items have no kind",
        POLICY_LIST + "- metadata: {name: a}\n  spec: {podSelector: {}}\n",
    ),
    ("policy with items", BODY + "items: []\n"),
    ("List nested in a List", LIST + listed(LIST + listed(BODY))),
    ("JSON", JSON),
    ("JSON with newline", JSON + "\n"),
    ("JSON indented", json.dumps(json.loads(JSON), indent=2)),
    ("JSON indented with tabs", json.dumps(json.loads(JSON), indent="\t")),
    ("JSON with space before", "\n  " + JSON),
    ("JSON after a separator", "---\n" + JSON),
    ("JSON with a trailing comma", json_with('"podSelector":{}', '"podSelector":{},')),
    ("JSON with a comment", json_with('"spec"', '/* x */"spec"')),
    ("JSON with a hash comment", JSON + " # x\n"),
    ("JSON with single quotes", JSON.replace('"', "'")),
    ("JSON unclosed", JSON[:-1]),
    ("JSON closed twice", JSON + "}"),
    ("JSON twice", JSON + JSON.replace("sample", "second")),
    ("JSON followed by YAML", JSON + "\n---\n" + BODY),
    ("JSON with a duplicate key", json_with('"name":"sample"', '"name":"first","name":"sample"')),
    (
        "JSON with a duplicate spec",
        json_with('"spec"', '"spec":{"podSelector":{"matchLabels":{"a":"b"}}},"spec"'),
    ),
    (
        "JSON with a duplicate label",
        json_with('"podSelector":{}', '"podSelector":{"matchLabels":{"a":"b","a":"c"}}'),
    ),
    ("JSON with a duplicate unknown key", json_with('"podSelector":{}', '"podSelector":{},"x":1,"x":2')),
    ("JSON with the wrong case", json_with('"podSelector"', '"PodSelector"')),
    (
        "JSON with both cases",
        json_with('"podSelector":{}', '"podSelector":{},"PodSelector":{"matchLabels":{"a":"b"}}'),
    ),
    ("JSON with the status field", JSON[:-1] + ',"status":{}}'),
    (
        "JSON with an escaped surrogate pair",
        json_with('"name":"sample"', '"name":"sample","annotations":{"a":"\\ud83d\\ude00"}'),
    ),
    (
        "JSON with a lone surrogate",
        json_with('"name":"sample"', '"name":"sample","annotations":{"a":"\\ud83d"}'),
    ),
    ("JSON with an escaped slash", json_with("networking.k8s.io/v1", "networking.k8s.io\\/v1")),
    ("JSON with an escaped key", json_with('"podSelector"', '"pod\\u0053elector"')),
    (
        "JSON with a raw tab in a string",
        json_with('"name":"sample"', '"name":"sample","annotations":{"a":"x\ty"}'),
    ),
    (
        "JSON with a raw newline in a string",
        json_with('"name":"sample"', '"name":"sample","annotations":{"a":"x\ny"}'),
    ),
    ("JSON with a number 80.0", json_port("80.0")),
    ("JSON with a number 8e1", json_port("8e1")),
    ("JSON with a number 080", json_port("080")),
    ("JSON with a number +80", json_port("+80")),
    ("JSON with a number 80.5", json_port("80.5")),
    ("JSON with an end port 90.0", json_port('80,"endPort":90.0')),
    ("JSON with an end port 9e1", json_port('80,"endPort":9e1')),
    ("JSON with NaN", json_port("NaN")),
    ("JSON with a big integer", json_port("18446744073709551616")),
    (
        "JSON with null fields",
        json_with('"podSelector":{}', '"podSelector":null,"ingress":null,"egress":null,"policyTypes":null'),
    ),
    ("JSON with yes", json_with('"sample"', "yes")),
    ("JSON as an array", "[" + JSON + "]"),
    ("JSON List", '{"apiVersion":"v1","kind":"List","items":[' + JSON + "]}"),
)

SEVERAL: Sequence[tuple[str, Sequence[tuple[str, str]]]] = (
    ("bad name and bad label", (("metadata.name", "A_b"), ("metadata.labels", "{'a b': 'c d'}"))),
    ("bad name and bad namespace", (("metadata.name", "A_b"), ("metadata.namespace", "B_c"))),
    ("unknown field and invalid value", (("spec.extra", "1"), ("spec.policyTypes", "[Foo]"))),
    ("two unknown fields", (("spec.zeta", "1"), ("spec.alpha", "1"))),
    ("unknown field and wrong type", (("spec.extra", "1"), ("spec.policyTypes", "Foo"))),
    ("status and an invalid value", (("status", "{}"), ("spec.policyTypes", "[Foo]"))),
    ("two wrong types", (("metadata.labels", "7"), ("spec.policyTypes", "Foo"))),
    ("three policy types hide unknown ones", (("spec.policyTypes", "[Foo, Bar, Ingress]"),)),
    (
        "rule errors before type errors",
        (("spec.ingress", "[{from: [{}]}]"), ("spec.policyTypes", "[Foo, Bar]")),
    ),
    ("ports before peers", (("spec.ingress", "[{from: [{}], ports: [{port: 0}]}]"),)),
    ("errors in both directions", (("spec.egress", "[{to: [{}]}]"), ("spec.ingress", "[{from: [{}]}]"))),
    (
        "every error of a port",
        (("spec.ingress", "[{ports: [{protocol: tcp, port: 0, endPort: -1}, {port: HTTP_, endPort: 1}]}]"),),
    ),
    (
        "every error of a block",
        (
            (
                "spec.ingress",
                "[{from: [{ipBlock: {cidr: 10.0.0.0/8, except: [x, 11.0.0.0/9, '']}, podSelector: {}}]}]",
            ),
        ),
    ),
    (
        "errors of a selector",
        (
            (
                "spec.podSelector",
                "{matchLabels: {-a: b-, c: d}, matchExpressions: [{key: '', operator: in, values: [-]}]}",
            ),
        ),
    ),
    (
        "label errors come in key order",
        (("spec.podSelector", "{matchLabels: {z-: '1-', a-: 'x y'}}"),),
    ),
    ("missing name and bad rule", (("metadata", "{}"), ("spec.ingress", "[{from: [{}]}]"))),
    ("no metadata and no spec", (("metadata", "null"), ("spec", "null"))),
    ("wrong version and bad spec", (("apiVersion", "networking.k8s.io/v2"), ("spec", "7"))),
)

# --- the mutations ----------------------------------------------------------------------------------------


def shapes() -> Iterator[Case]:
    """Every field missing, and as every kind of value."""
    for base, fields in FIELDS:
        for field in fields:
            path = path_of(field)
            yield Case(f"{field} missing", text(drop(base, path)))
            for shape in SHAPES:
                yield Case(f"{field} is `{shape}`", text(put(base, path, shape)))


def spellings() -> Iterator[Case]:
    """Every key misspelt, in another letter case, and twice; every mapping with an unknown key."""
    for base, fields in FIELDS:
        for field in fields:
            path = path_of(field)
            key = path[-1]
            if isinstance(key, int):
                continue
            yield Case(f"{field} misspelt", text(rename(base, path, key[:-1] or "x")))
            yield Case(f"{field} capitalised", text(rename(base, path, key[0].upper() + key[1:])))
            if key != key.lower():
                yield Case(f"{field} in lower case", text(rename(base, path, key.lower())))
            yield Case(f"{field} twice alike", text(repeat(base, path, get(base, path))))
            yield Case(f"{field} twice, second null", text(repeat(base, path, "null")))
            yield Case(
                f"{field} beside its capitalised twin",
                text(put(base, (*path[:-1], key[0].upper() + key[1:]), get(base, path))),
            )
            if isinstance(get(base, path), Map):
                yield Case(f"{field} with an unknown key", text(put(base, (*path, "zzz"), "1")))
                yield Case(f"{field} with an unknown null key", text(put(base, (*path, "zzz"), "null")))


def named(values: Values) -> Iterator[tuple[str, str]]:
    for value in values:
        yield (repr(value)[1:-1], value) if isinstance(value, str) else value


def scalars() -> Iterator[Case]:
    """How every spelling of a scalar is read, where text is wanted, and where a number or text is."""
    for name, value in named(SCALARS):
        yield Case(f"scalar as annotation: {name}", text(put(META, path_of("metadata.annotations.note"), value)))
        yield Case(f"scalar as port: {name}", text(put(PORT, path_of(f"{RULE_PORT}.port"), value)))
    for name, value in named(KEY_SCALARS):
        yield Case(
            f"scalar as label key: {name}",
            text(put(PLAIN, ("spec", "podSelector", "matchLabels"), Map(((value, "x"),)))),
        )


VALUE_TABLES: Sequence[tuple[str, Node, str, Values]] = (
    ("port", PORT, f"{RULE_PORT}.port", NUMBERS),
    ("protocol", PORT, f"{RULE_PORT}.protocol", PROTOCOLS),
    ("policyTypes", PLAIN, "spec.policyTypes", TYPES_VALUES),
    ("cidr", put(PEERS, path_of(FROM), Map(())), f"{FROM}.ipBlock.cidr", CIDRS),
    ("label value", SUBJECT, "spec.podSelector.matchLabels.app", LABEL_VALUES),
    ("expression", SUBJECT, "spec.podSelector.matchExpressions.0", EXPRESSIONS),
    ("name", PLAIN, "metadata.name", NAMES),
    ("namespace", PLAIN, "metadata.namespace", NAMES),
    ("peer", PEERS, FROM, PEER_VALUES),
)


def values() -> Iterator[Case]:
    for title, base, field, table in VALUE_TABLES:
        path = path_of(field)
        for name, value in named(table):
            yield Case(f"{title}: {name}", text(put(base, path, value)))
    for name, key in named(LABEL_KEYS):
        yield Case(f"label key: {name}", text(put(PLAIN, ("spec", "podSelector", "matchLabels"), Map(((key, "x"),)))))
        yield Case(
            f"expression key: {name}",
            text(put(SUBJECT, path_of("spec.podSelector.matchExpressions.0.key"), key)),
        )


def together() -> Iterator[Case]:
    """Two fields that are judged together."""
    for port, end in END_PORTS:
        changed = put(put(PORT, path_of(f"{RULE_PORT}.port"), port), path_of(f"{RULE_PORT}.endPort"), end)
        yield Case(f"port {port} endPort `{end}`", text(changed))
    yield Case(
        "endPort without port",
        text(put(drop(PORT, path_of(f"{RULE_PORT}.port")), path_of(f"{RULE_PORT}.endPort"), "81")),
    )
    for cidr, excepted in EXCEPTS:
        changed = put(put(BLOCK, path_of(f"{FROM}.ipBlock.cidr"), cidr), path_of(f"{FROM}.ipBlock.except"), excepted)
        yield Case(f"cidr {cidr} except `{excepted}`", text(changed))
    for types, ingress, egress in INFERENCE:
        changed = PLAIN
        for key, value in (("policyTypes", types), ("ingress", ingress), ("egress", egress)):
            changed = changed if value is None else put(changed, ("spec", key), value)
        yield Case(f"policyTypes {types} ingress {ingress} egress {egress}", text(changed))


def extras() -> Iterator[Case]:
    """Whole lines added to a mapping, or standing in for a list."""
    for name, line in named(METADATA):
        key, _, value = line.partition(": ")
        yield Case(f"metadata: {name}", text(put(PLAIN, ("metadata", key), value)))
        if key == "generateName":
            yield Case(
                f"metadata without a name: {name}",
                text(put(drop(PLAIN, ("metadata", "name")), ("metadata", key), value)),
            )
    for field, value in HEADERS:
        yield Case(f"{field}: {value}", text(put(PLAIN, (field,), value)))
    for name, line in named(SPEC_EXTRAS):
        key, _, value = line.partition(": ")
        yield Case(f"spec: {name}", text(put(PLAIN, ("spec", key), value)))
    for name, line in named(TOP_EXTRAS):
        yield Case(f"document with {name}", text(PLAIN) + line + "\n")
    for field, value in LISTS:
        way, _, part = field.removeprefix("spec.").partition(".")
        rules: Node = Seq((Map(((part, value),)),)) if part else value
        yield Case(f"{field.replace('.', ' ')}: `{value}`", text(put(PLAIN, ("spec", way), rules)))


def documents() -> Iterator[Case]:
    for name, document in DOCUMENTS:
        yield Case(f"document: {name}", document)


def several() -> Iterator[Case]:
    for name, changes in SEVERAL:
        changed = PLAIN
        for field, value in changes:
            changed = put(changed, path_of(field), value)
        yield Case(f"several: {name}", text(changed))


def cases() -> list[Case]:
    found = [
        Case("valid: the smallest", text(PLAIN)),
        *(Case(f"valid: {name}", text(base)) for name, base in BASES.items()),
        *shapes(),
        *spellings(),
        *scalars(),
        *values(),
        *together(),
        *extras(),
        *documents(),
        *several(),
    ]
    names = [case.name for case in found]
    assert len(names) == len(set(names)), sorted(name for name in set(names) if names.count(name) > 1)
    return found


BASES = {
    "metadata": META,
    "types": TYPES,
    "selector": SUBJECT,
    "port range": PORTS,
    "port": PORT,
    "selectors": PEERS,
    "block": BLOCK,
    "egress": EGRESS,
}


def main() -> None:
    for case in cases():
        sys.stdout.write(json.dumps({"name": case.name, "manifest": case.manifest}) + "\n")


if __name__ == "__main__":
    main()
