"""From trees of endpoints, label conditions and ports to what they mean; what cannot be is a problem."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from typing import TYPE_CHECKING

from npcompile.frontend import names
from npcompile.frontend.spec import codes
from npcompile.frontend.spec.expected import PORTS
from npcompile.frontend.spec.text import Problems, squeezed
from npcompile.ir.assertion import ANY_POD, AllOf, AnyOf, Complement, Ends, Party, Side, Word, together
from npcompile.ir.labels import EVERYTHING, NAMESPACE_NAME, Operator, Requirement, Selector
from npcompile.ir.policy import BlockPeer, PodPeer
from npcompile.netset.cidrs import Network
from npcompile.netset.intervals import EMPTY, IntervalSet
from npcompile.netset.ports import EVERY_PORT, FIRST_PORT, LAST_PORT, Protocol, all_ports, port_range

if TYPE_CHECKING:
    from lark import Token, Tree

    Child = Token | Tree[Token]

LARGEST, DEEPEST = 5_000, 100  # of an endpoint with all that its names stand for
_PROTOCOLS = {str(protocol): protocol for protocol in Protocol}


@dataclass(frozen=True, slots=True, kw_only=True)
class Reader:
    """Reads the parts of one sentence, which begins at `start`.

    `known`: what names stand for; None where the `let` is broken, and that was reported.
    """

    problems: Problems
    start: int
    known: Mapping[str, Side | None]

    # Places

    def offsets(self, node: Child) -> tuple[int, int]:
        """Where a part stands in the file."""
        at = node if isinstance(node, str) else node.meta
        return self.start + (at.start_pos or 0), self.start + (at.end_pos or 0)

    def text(self, node: Child) -> str:
        """A part in its author's words."""
        first, last = self.offsets(node)
        return squeezed(self.problems.file.text[first:last])

    def wrong(self, node: Child, message: str, help: str = "") -> None:  # noqa: A002
        """Note what is wrong with a part."""
        self.problems.add(codes.VALUE, *self.offsets(node), message, help)

    # Endpoints

    def side(self, tree: Tree[Token]) -> Side:
        """All endpoints of a side, one by one; names and groups that stand alone are opened."""
        parties = tuple(party for child in trees(tree) for party in self._parties(child))
        if _measure(together(parties), {}) == _TOO_MUCH:
            self.wrong(tree, "this stands for too much", f"names may stand for {LARGEST} endpoints and conditions")
            return (_placeholder(self.text(tree)),)
        return parties

    def _parties(self, both: Tree[Token]) -> tuple[Party, ...]:
        (alone, *others) = trees(both)
        if not others and alone.data == "group":
            return self.side(trees(alone)[0])
        if not others and alone.data == "reference":
            return self._named(alone)
        ends = [self._end(child) for child in (alone, *others)]
        span = self.problems.span(*self.offsets(both))
        return (Party(ends=_all(ends), text=self.text(both), span=span),)

    def _end(self, tree: Tree[Token]) -> Ends:
        match tree.data:
            case "not":
                return AllOf(parts=(Word.EVERYONE, Complement(of=self._end(trees(tree)[0]))))
            case "word":
                return Word(str(tree.children[0]))
            case "in_namespace":
                return self._in_namespace(tree)
            case "in_namespaces":
                where = [self._labels(one, of_pods=False) for one in trees(tree) if one.data == "labels"]
                pods = [self._labels(one, of_pods=True) for one in trees(tree) if one.data != "labels"]
                return _all([ANY_POD, *where, *pods])
            case "pods":
                return _all([ANY_POD, *(self._labels(one, of_pods=True) for one in trees(tree))])
            case "address":
                return self._address(tree)
            case "reference":
                return together(self._named(tree))
            case _:  # a group
                return together(self.side(trees(tree)[0]))

    def _in_namespace(self, tree: Tree[Token]) -> Ends:
        word = tree.children[0]
        name = str(word).removeprefix("ns:")
        if not name:
            self.wrong(word, "`ns:` needs the name of a namespace", "write `ns:production`; `pod()` is every pod")
        elif problem := names.dns_label(name):
            self.wrong(word, f"`{name}` is no name of a namespace: {problem}")
        own = Requirement(key=NAMESPACE_NAME, operator=Operator.IN, values=(name,))
        inside = PodPeer(namespaces=Selector(requirements=(own,)), pods=EVERYTHING)
        return _all([inside, *(self._labels(one, of_pods=True) for one in trees(tree))])

    def _address(self, tree: Tree[Token]) -> Ends:
        text = str(tree.children[0])
        network = _network(text)
        if network is None:
            kind = "CIDR" if "/" in text else "address"
            self.wrong(tree, f"`{text}` is no IP {kind}", "write `10.0.0.1`, `10.0.0.0/8`, `2001:db8::1` or `fd00::/8`")
            return Word.WORLD
        mapped = names.mapped_ipv4(network)
        if mapped is not None:
            self.wrong(tree, f"`{text}` is an IPv4-mapped address, which no packet has", f"write `{mapped}`")
        return BlockPeer(cidr=network)

    def _named(self, tree: Tree[Token]) -> Side:
        name = str(tree.children[0]).removeprefix("@")
        found = self.known.get(name)
        if found is not None:
            return found
        if name not in self.known:
            advice = f"write `let {name} = …` before this sentence"
            close = names_like(name, self.known)
            self.wrong(tree, f"`@{name}` is not defined", f"did you mean `@{close}`?" if close else advice)
        return (_placeholder(f"@{name}"),)

    # Labels

    def _labels(self, tree: Tree[Token], *, of_pods: bool) -> Ends:
        parts = [self._labels(child, of_pods=of_pods) for child in trees(tree)]
        match tree.data:
            case "labels":
                return parts[0] if len(parts) == 1 else AnyOf(parts=tuple(parts))
            case "every":
                return _all(parts)
            case "any":
                return parts[0]
            case "lacks":
                return self._lacking(trees(tree)[0], parts[0], of_pods=of_pods)
            case _:
                return self._requirement(tree, of_pods=of_pods)

    def _lacking(self, tree: Tree[Token], ends: Ends, *, of_pods: bool) -> Ends:
        if tree.data == "has":
            return _leaf(str(tree.children[0]), Operator.DOES_NOT_EXIST, (), of_pods=of_pods)
        return AllOf(parts=(ANY_POD, Complement(of=ends)))

    def _requirement(self, tree: Tree[Token], *, of_pods: bool) -> Ends:
        key, *given = tokens(tree)
        if problem := names.label_key(key):
            self.wrong(key, f"`{key}` is no label key: {problem}")
        values = []
        for one in given:
            value = one[1:-1] if one.startswith('"') else str(one)
            if problem := names.label_value(value):
                self.wrong(one, f"`{value}` is no label value: {problem}")
            values.append(value)
        operator = _OPERATORS[str(tree.data)]
        return _leaf(str(key), operator, tuple(sorted(set(values))), of_pods=of_pods)

    # Ports

    def ports(self, found: Sequence[Tree[Token]]) -> IntervalSet:
        """What stands behind `on`; every port where nothing does."""
        if not found:
            return EVERY_PORT
        ports, protocol = EMPTY, None
        for token in tokens(found[0]):
            protocol, some = self._port(token, protocol)
            ports = ports | some
        return ports

    def _port(self, token: Token, before: Protocol | None) -> tuple[Protocol | None, IntervalSet]:
        """One item, and the protocol that numbers behind it are of."""
        word, slash, numbers = str(token).partition("/")
        if not slash and word[0].isdigit() and before is not None:
            word, slash, numbers = str(before), "/", word
        protocol = _PROTOCOLS.get(word.lower())
        if protocol is None:
            number = word if not slash and word.isascii() and word.isdecimal() else "8080"
            advice = f"write `tcp/{number}` or `udp/{number}`" if word[0].isdigit() else PORTS
            self.wrong(token, f"`{token}` is no port: it names no protocol", advice)
            return before, EMPTY
        if not slash or (numbers == "*" and protocol.has_ports):
            return protocol, all_ports(protocol)
        if not protocol.has_ports:
            self.wrong(token, f"`{token}`: {protocol} has no ports", f"write `{protocol}`")
            return protocol, EMPTY
        return protocol, self._range(token, protocol, numbers)

    def _range(self, token: Token, protocol: Protocol, text: str) -> IntervalSet:
        first, dash, last = text.partition("-")
        ends = [
            int(one) if one.isascii() and one.isdecimal() and len(one) < 6 else -1 for one in (first, last or first)
        ]
        if text and text[0].isalpha():
            self.wrong(token, f"`{token}`: a port's name is another number on every pod", f"write `{protocol}/8080`")
        elif (dash and not last) or not all(FIRST_PORT <= one <= LAST_PORT for one in ends):
            self.wrong(token, f"`{token}` is no port: numbers are between {FIRST_PORT} and {LAST_PORT}", PORTS)
        elif ends[0] > ends[1]:
            self.wrong(token, f"`{token}` is empty", f"write `{protocol}/{last}-{first}`")
        else:
            return port_range(protocol, *ends)
        return EMPTY


def trees(tree: Tree[Token]) -> list[Tree[Token]]:
    """The parts that are rules."""
    return [child for child in tree.children if not isinstance(child, str)]


def tokens(tree: Tree[Token]) -> list[Token]:
    """The parts that are terminals."""
    return [child for child in tree.children if isinstance(child, str)]


def names_like(name: str, known: Mapping[str, object]) -> str | None:
    """The known name that a name was perhaps meant to be."""
    import difflib

    return next(iter(difflib.get_close_matches(name, sorted(known), n=1)), None)


_OPERATORS = {
    "equals": Operator.IN,
    "among": Operator.IN,
    "differs": Operator.NOT_IN,
    "not_among": Operator.NOT_IN,
    "has": Operator.EXISTS,
}


def _leaf(key: str, operator: Operator, values: tuple[str, ...], *, of_pods: bool) -> PodPeer:
    selector = Selector(requirements=(Requirement(key=key, operator=operator, values=values),))
    if of_pods:
        return PodPeer(namespaces=EVERYTHING, pods=selector)
    return PodPeer(namespaces=selector, pods=EVERYTHING)


def _all(parts: Sequence[Ends]) -> Ends:
    return parts[0] if len(parts) == 1 else AllOf(parts=tuple(parts))


def _placeholder(text: str) -> Party:
    """In place of what is wrong and was reported: nothing will come of the sentence."""
    return Party(ends=Word.WORLD, text=text)


def _network(text: str) -> Network | None:
    if not names.is_canonical_cidr(text):
        return None
    try:
        return ip_network(text, strict=False) if "/" in text else ip_network(ip_address(text))
    except ValueError:
        return None


_TOO_MUCH = (LARGEST + 1, DEEPEST + 1)


def _measure(ends: Ends, seen: dict[int, tuple[int, int]]) -> tuple[int, int]:
    """How many parts an expression has, and how deep they nest; or that either is too much."""
    if id(ends) in seen:
        return seen[id(ends)]
    match ends:
        case AllOf(parts=parts) | AnyOf(parts=parts):
            inner = [_measure(part, seen) for part in parts]
        case Complement(of=of):
            inner = [_measure(of, seen)]
        case _:
            inner = []
    size = 1 + sum(one[0] for one in inner)
    depth = 1 + max((one[1] for one in inner), default=0)
    seen[id(ends)] = (size, depth) if size <= LARGEST and depth <= DEEPEST else _TOO_MUCH
    return seen[id(ends)]
