"""An artifact of packet filters as a whole: from the bytes of its files to what each family's packets meet."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from npcompile.netset.cidrs import Family
from npcompile.readers.ipset import read_ipset
from npcompile.readers.iptables import read_iptables
from npcompile.readers.nftables import read_nftables
from npcompile.readers.passage import Rulesets
from npcompile.readers.problems import Problems, ReadingError, not_understood
from npcompile.readers.rules import InterfaceMatch
from npcompile.source import SourceFile

IPSET_FILE = "ipset.restore"
IPTABLES_FILES = {Family.V4: "iptables.restore", Family.V6: "ip6tables.restore"}
NFTABLES_FILE = "nftables.nft"


def read_artifact(target: str, files: Mapping[str, bytes]) -> Rulesets:
    """The rulesets of a node that has loaded these files of a target; raises ReadingError.

    Every file must be there, and no other: what a missing one would have filtered is not known.
    """
    if target not in _FORMATS:
        raise ReadingError([not_understood(f"artifacts of the target `{target}` are not understood here")])
    known = _FORMATS[target]
    wrong = [f"there is no file `{name}`" for name in sorted(known.files - files.keys())]
    wrong += [f"`{name}` is no file of the target `{target}`" for name in sorted(files.keys() - known.files)]
    if wrong:
        raise ReadingError([not_understood(message) for message in wrong])
    return known.read(files)


def rules_file(target: str, family: Family) -> str:
    """The file that holds the rules which packets of a family meet."""
    return _FORMATS[target].rules[family]


def ingress_chain(target: str) -> str:
    """The chain that a packet is sent to once its source's side has allowed it."""
    return _FORMATS[target].ingress


def _iptables(files: Mapping[str, bytes]) -> Rulesets:
    return load(files[IPSET_FILE], {family: files[name] for family, name in IPTABLES_FILES.items()})


def _nftables(files: Mapping[str, bytes]) -> Rulesets:
    return read_nftables(files[NFTABLES_FILE], path=NFTABLES_FILE)


def load(ipset: bytes, iptables: Mapping[Family, bytes]) -> Rulesets:
    """The rulesets of a node that has loaded these texts; raises ReadingError.

    `ipset`: the one text for both families.  `iptables`: a text for each family; one that is missing filters nothing.
    """
    sets = read_ipset(ipset, path=IPSET_FILE)
    texts = {family: iptables.get(family, b"") for family in Family}
    rulesets = {
        family: read_iptables(data, family, sets, path=IPTABLES_FILES[family]) for family, data in texts.items()
    }
    for family, ruleset in rulesets.items():
        problems = Problems(SourceFile(path=IPTABLES_FILES[family], text=texts[family].decode()))
        for chain in ruleset.chains.values():
            for rule in chain.rules:
                if any(isinstance(match, InterfaceMatch) for match in rule.matches):
                    problems.add(rule.line, "a match on an interface, whose names are not known")
        problems.raise_any()
    return rulesets


@dataclass(frozen=True, slots=True, kw_only=True)
class _Format:
    """An artifact's files, by what they hold: the rules of each family, and sets; and the chain that judges ingress."""

    rules: Mapping[Family, str]
    sets: frozenset[str] = frozenset()
    ingress: str
    read: Callable[[Mapping[str, bytes]], Rulesets]

    @property
    def files(self) -> frozenset[str]:
        return self.sets | {*self.rules.values()}


_FORMATS: Mapping[str, _Format] = {
    "iptables": _Format(rules=IPTABLES_FILES, sets=frozenset({IPSET_FILE}), ingress="NPC-INGRESS", read=_iptables),
    "nftables": _Format(rules=dict.fromkeys(Family, NFTABLES_FILE), ingress="ingress", read=_nftables),
}
