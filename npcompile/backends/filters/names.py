"""Names of chains and sets, and ids of rules.

A name is a readable prefix and a digest of what the name stands for, so it survives restarts, says nothing that an
input could have put there, and is the same wherever the same meaning occurs.  Parts are length-prefixed before they
are hashed: no two meanings have the same bytes.
"""

from __future__ import annotations

from base64 import b32encode
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256

from npcompile.diagnostics.errors import InternalError
from npcompile.ir.policy import Direction, Policy, Rule
from npcompile.netset.cidrs import Family

RULE_ID = "np:"
BLOCKS = "net"  # the kind of sets of ipBlocks, whose members do not depend on pods

CHAIN_DIGITS = 20
SET_DIGITS = 18
_RULE_DIGITS = 10
_ID_LIMIT = 28
_KEPT = 1 << 14

Part = str | int | tuple["Part", ...]


def encode(part: Part) -> bytes:
    """The unambiguous bytes of a meaning: each part is tagged with its type and its length."""
    return _text(part).encode("utf-8", "surrogatepass")


def _text(part: Part) -> str:
    if isinstance(part, str):
        tag, body = "s", part
    elif isinstance(part, tuple):
        tag, body = "t", "".join([_text(one) for one in part])
    else:
        tag, body = "i", str(part)
    size = len(body) if body.isascii() else len(body.encode("utf-8", "surrogatepass"))
    return f"{tag}{size}:{body}"


@lru_cache(maxsize=_KEPT)
def digest(part: Part) -> str:
    """The digest of a meaning: 52 characters of a-z and 2-7.

    Digests are kept: a changed policy leaves most names as they were.
    """
    return b32encode(sha256(encode(part)).digest()).decode().rstrip("=").lower()


@lru_cache(maxsize=_KEPT)
def short_digest(part: Part) -> str:
    """The first 24 of them, which is as many as a name has room for, in half the time."""
    return b32encode(sha256(encode(part)).digest()[:15]).decode().lower()


@dataclass(frozen=True, slots=True, kw_only=True)
class Style:
    """How a target writes its names, and how long the kernel lets them be, in characters.

    `family_set`: the beginning of a set's name, with `{family}` and `{kind}`.
    """

    dispatch_chain: str
    profile_chain: str
    policy_chain: str
    family_set: str
    chain_limit: int
    set_limit: int


class RuleIds:
    """Hands out the ids of what decides, and gives up when two meanings would share one."""

    def __init__(self, digest: Callable[[Part], str] = short_digest) -> None:
        self._digest = digest
        self._meanings: dict[str, Part] = {}

    def rule(self, policy: Policy, rule: Rule) -> str:
        """The id of a policy's rule: where it stands in its policy, not what it says."""
        meaning: Part = (policy.namespace, policy.name, rule.direction.value, rule.index)
        return self._claim(RULE_ID, ("rule", meaning), _RULE_DIGITS, _ID_LIMIT)

    def isolation(self, policy: Policy, direction: Direction) -> str:
        """The id of a policy's isolating of its subjects."""
        meaning: Part = (policy.namespace, policy.name, direction.value)
        return self._claim(RULE_ID, ("isolation", meaning), _RULE_DIGITS, _ID_LIMIT)

    def _claim(self, prefix: str, meaning: Part, digits: int, limit: int) -> str:
        name = prefix + self._digest(meaning)[:digits]
        if len(name) > limit:
            raise InternalError(f"the name {name} is longer than {limit} characters")
        if self._meanings.setdefault(name, meaning) != meaning:
            raise InternalError(f"two meanings share the name {name}: {self._meanings[name]!r} and {meaning!r}")
        return name


class Names(RuleIds):
    """Hands out the names of one artifact beside its ids."""

    def __init__(self, style: Style, digest: Callable[[Part], str] = short_digest) -> None:
        super().__init__(digest)
        self._style = style

    def dispatch_chain(self, meaning: Part) -> str:
        """The chain in which one group of a direction's profiles is looked up."""
        return self._claim(self._style.dispatch_chain, ("dispatch", meaning), CHAIN_DIGITS, self._style.chain_limit)

    def profile_chain(self, meaning: Part) -> str:
        """The chain of a profile in one direction."""
        return self._claim(self._style.profile_chain, ("profile", meaning), CHAIN_DIGITS, self._style.chain_limit)

    def policy_chain(self, meaning: Part) -> str:
        """The chain of a policy in one direction."""
        return self._claim(self._style.policy_chain, ("policy", meaning), CHAIN_DIGITS, self._style.chain_limit)

    def set(self, family: Family, kind: str, meaning: Part) -> str:
        """A set of one family; `kind` is a short word that people see in the name."""
        prefix = self._style.family_set.format(family=family.value, kind=kind)
        return self._claim(prefix, (kind, meaning), SET_DIGITS, self._style.set_limit)
