"""What the input has of what sentences of assertion files name: for advice, never for an outcome."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import chain
from typing import assert_never

from npcompile.analyses.assertion_meaning import Meaning
from npcompile.diagnostics.model import Scope
from npcompile.ir.assertion import AllOf, AnyOf, Assertion, Complement, Ends, Party, Side, Word, mentions, sides_of
from npcompile.ir.cluster import Cluster, Pod
from npcompile.ir.flow import Endpoint
from npcompile.ir.labels import NAMESPACE_NAME, Operator
from npcompile.ir.policy import BlockPeer, PodPeer
from npcompile.source import Span


@dataclass(frozen=True, slots=True, kw_only=True)
class Remark:
    """A part of a sentence that says nothing."""

    message: str
    span: Span | None
    help: str = ""


class Known:
    """The input, asked about what sentences name."""

    def __init__(self, cluster: Cluster, scope: Scope) -> None:
        self._cluster = cluster
        self._scope = scope
        self._meaning = Meaning(cluster, scope)

    def nothing(self, party: Party, what: str) -> Remark:
        """That an endpoint is empty, and what may have been meant."""
        return Remark(message=f"`{party.text}` {what}", span=party.span, help=self.advice((party,)))

    def advice(self, side: Side) -> str:
        """Why some endpoint of a side may be empty."""
        for party in side:
            if unknown := next(self._unknown(party), None):
                return self._did_you_mean(unknown)
            if pods := self._hosts(party):
                return f"`{pods[0]}` is on its node's network, where no policy protects it: it is `node`"
            deserted = (name for name in _names(party) if all(pod.namespace != name for pod in self._cluster.pods))
            if name := next(deserted, None):
                return f"the input has no pod in namespace `{name}`"
        return ""

    def unknown_namespaces(self, assertion: Assertion) -> Iterator[Remark]:
        """Namespaces that a sentence names and the input does not have; an inventory makes it vacuous anyhow."""
        if self._scope is Scope.INVENTORY:
            return
        for party in chain.from_iterable(sides_of(assertion)):
            for name in self._unknown(party):
                message = f"the input has no namespace `{name}`: `{party.text}` is judged with any labels it may have"
                yield Remark(message=message, span=party.span, help=self._did_you_mean(name))

    def on_node_networks(self, assertion: Assertion) -> tuple[Pod, ...]:
        """The pods that would be among a sentence's endpoints, were they not on their node's network."""
        found = {pod.key: pod for side in sides_of(assertion) for party in side for pod in self._hosts(party)}
        return tuple(pod for _, pod in sorted(found.items()))

    def _hosts(self, party: Party) -> list[Pod]:
        if _has_word(party.ends):
            return []
        return [pod for pod in self._cluster.pods if pod.host_network and self._would_be(party.ends, pod)]

    def _would_be(self, ends: Ends, pod: Pod) -> bool:
        addresses = pod.addresses or (None,)
        ordinary = (Endpoint(pod=replace(pod, host_network=False), address=address) for address in addresses)
        return any(self._meaning.is_one(ends, one) for one in ordinary) and not any(
            self._meaning.is_one(ends, Endpoint(pod=pod, address=address)) for address in addresses
        )

    def _unknown(self, party: Party) -> Iterator[str]:
        """Names of namespaces that the input does not have."""
        return (name for name in _names(party) if name not in self._cluster.namespaces)

    def _did_you_mean(self, name: str) -> str:
        close = difflib.get_close_matches(name, sorted(self._cluster.namespaces), n=1)
        hint = f"; did you mean `{close[0]}`?" if close else ""
        return f"the input has no namespace `{name}`{hint}"


def _names(party: Party) -> Iterator[str]:
    """The namespaces that an endpoint names."""
    for mention in mentions(party.ends):
        if isinstance(mention, PodPeer) and mention.namespaces is not None:
            for one in mention.namespaces.requirements:
                if one.key == NAMESPACE_NAME and one.operator is Operator.IN:
                    yield from one.values


def _has_word(ends: Ends) -> bool:
    match ends:
        case Word():
            return True
        case AllOf(parts=parts) | AnyOf(parts=parts):
            return any(map(_has_word, parts))
        case Complement(of=of):
            return _has_word(of)
        case PodPeer() | BlockPeer():
            return False
        case _:
            assert_never(ends)
