"""What is assumed of every pod and namespace that could exist (`assumptions`), as terms.  Everything else is free."""

from __future__ import annotations

from collections.abc import Iterator

import z3

from npcompile.netset.ports import Protocol
from npcompile.symbolic.encode import Encoding
from npcompile.symbolic.ends import End
from npcompile.symbolic.vocabulary import Vocabulary


def possible(encoding: Encoding, vocabulary: Vocabulary) -> Iterator[z3.BoolRef]:
    """What holds of every flow that could exist.  Satisfiable for every program."""
    flow = encoding.flow
    src, dst = flow.src, flow.dst
    yield (flow.port == 0) == encoding.carried_by(Protocol.ICMP)
    for end in (src, dst):
        yield z3.Or(end.is_pod, end.has_address)
        if vocabulary.possible != vocabulary.names.every:
            yield encoding.in_names(end, vocabulary.possible)
    yield z3.Implies(z3.And(src.has_address, dst.has_address), src.is_v6 == dst.is_v6)
    mentioned = vocabulary.names.every - vocabulary.listed - {vocabulary.names.other}
    if mentioned and vocabulary.namespace_labels.domains:
        same = z3.And(src.namespace == dst.namespace, encoding.in_names(src, mentioned))
        yield z3.Implies(same, src.namespace_labels == dst.namespace_labels)


def different_addresses(encoding: Encoding) -> z3.BoolRef:
    """What `possible` leaves out: the ends' addresses differ.  It costs 160 bits, and only matters where rules judge
    the addresses of both ends.
    """
    return apart(encoding.flow.src, encoding.flow.dst)


def apart(one: End, other: End) -> z3.BoolRef:
    """Of two ends that are of one family if both have addresses: those addresses differ."""
    differ = z3.If(one.is_v6, one.v6 != other.v6, one.v4 != other.v4)
    return z3.Implies(z3.And(one.has_address, other.has_address), differ)


def neighbours(one: End, other: End) -> z3.BoolRef:
    """Two pods of one namespace, which has one set of labels, that flows of one family can come to."""
    alike = one.namespace_labels == other.namespace_labels
    family = z3.Implies(z3.And(one.has_address, other.has_address), one.is_v6 == other.is_v6)
    return z3.And(alike, family, apart(one, other))
