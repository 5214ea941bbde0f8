"""What a loaded `filter` table does with one packet: the kernel's walk through its chains.

Written to be compared with ipt_do_table of the kernel (net/ipv4/netfilter/ip_tables.c) by eye; the kernel tests compare
it with the kernel itself.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum
from typing import assert_never

from npcompile.readers.packet import Packet, holds
from npcompile.readers.rules import Accept, Chain, Drop, Goto, Hook, Jump, Policy, Return, Rule, Ruleset, SetMark


class Ending(Enum):
    """How a packet leaves a hook."""

    ACCEPT = "ACCEPT"  # a rule said so
    DROP = "DROP"  # a rule said so
    POLICY = "POLICY"  # no rule did: it fell through, or returned from, the built-in chain


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A rule that matched, and the chain that it is in."""

    chain: str
    rule: Rule


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of a packet at a hook.  `policy` is the built-in chain's, `mark` the packet's in the end, and `walk`
    the rules that matched, in order.
    """

    ending: Ending
    policy: Policy
    mark: int
    walk: tuple[Step, ...]

    @property
    def dropped(self) -> bool:
        """Whether the packet is gone."""
        return self.ending is Ending.DROP or (self.ending is Ending.POLICY and self.policy is Policy.DROP)


def judge(ruleset: Ruleset, packet: Packet, hook: Hook) -> Outcome:
    """Take a packet of the ruleset's family through a hook."""
    if packet.family is not ruleset.family:
        raise ValueError(f"an IPv{packet.family} packet and an IPv{ruleset.family} ruleset")
    base = chain = ruleset.chains[hook.value]
    position = 0
    callers: list[tuple[Chain, int]] = []
    walk: list[Step] = []

    def outcome(ending: Ending) -> Outcome:
        return Outcome(ending=ending, policy=base.policy or Policy.ACCEPT, mark=packet.mark, walk=tuple(walk))

    while True:
        if position == len(chain.rules):  # a chain's end returns, and a built-in chain's end is its policy
            if not callers:
                return outcome(Ending.POLICY)
            chain, position = callers.pop()
            continue
        rule = chain.rules[position]
        position += 1
        if not all(holds(match, packet, ruleset.sets) for match in rule.matches):
            continue
        walk.append(Step(chain=chain.name, rule=rule))
        match rule.target:
            case None:
                pass
            case Accept() | Drop():
                return outcome(Ending.ACCEPT if isinstance(rule.target, Accept) else Ending.DROP)
            case Return():
                position = len(chain.rules)
            case Jump():
                callers.append((chain, position))
                chain, position = ruleset.chains[rule.target.chain], 0
            case Goto():
                chain, position = ruleset.chains[rule.target.chain], 0
            case SetMark(value=value, mask=mask):
                packet = replace(packet, mark=(packet.mark & ~mask) ^ value)
            case _:
                assert_never(rule.target)
