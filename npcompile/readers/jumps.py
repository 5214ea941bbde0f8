"""Where chains lead: no circle, and no deeper than the kernel goes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from npcompile.readers.rules import Chain, Goto, Hook, Jump, Rule

DEEPEST = 15  # nft refuses to go from a built-in chain through more than 15 others


def next_chain(rule: Rule) -> str | None:
    """The chain that a rule leads to, if any."""
    return rule.target.chain if isinstance(rule.target, Jump | Goto) else None


def wrong_jumps(chains: Mapping[str, Chain]) -> Iterator[tuple[int, str]]:
    """The rules that close a circle, and those that lead too deep from a built-in chain."""
    depth: dict[str, int] = {}  # the most chains that follow a chain
    for name in chains:
        yield from _measure(chains, name, depth)
    for hook in Hook:
        for rule in chains[hook.value].rules:
            follower = next_chain(rule)
            if follower is not None and depth[follower] + 1 > DEEPEST:
                yield rule.line, f"from here on more than {DEEPEST} chains follow each other, which nft refuses"


def _measure(chains: Mapping[str, Chain], start: str, depth: dict[str, int]) -> Iterator[tuple[int, str]]:
    """Fill in `depth` for a chain and all that follow it; yields the rules that lead back."""
    path: list[tuple[str, Iterator[Rule]]] = []
    if start not in depth:
        path.append((start, iter(chains[start].rules)))
    while path:
        name, rules = path[-1]
        for rule in rules:
            follower = next_chain(rule)
            if follower is None or follower in depth:
                continue
            if any(follower == earlier for earlier, _ in path):
                yield rule.line, f"the jump to `{follower}` closes a circle"
                continue
            path.append((follower, iter(chains[follower].rules)))
            break
        else:
            followers = (depth.get(next_chain(rule) or "", -1) for rule in chains[name].rules)
            depth[name] = max((one + 1 for one in followers), default=0)
            path.pop()
