"""Manifests of ../shared/realworld with one thing changed, to see that a comparison notices."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

_SEPARATOR = re.compile(r"^---.*\n", re.MULTILINE)
_NAME = re.compile(r"^  name: (\S+)", re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Edit:
    """Another text for the first place in a file where `old` stands."""

    folder: str
    file: str
    old: str
    new: str

    def __str__(self) -> str:
        return f"{self.folder}: {' '.join(self.new.split())}"

    def apply(self, source: Path, to: Path) -> Path:
        """The changed copy of the folder `source`, as `to`."""
        return _copy(source, to, self.file, self._change)

    def _change(self, text: str) -> str:
        if self.old not in text:
            raise ValueError(f"{self.folder}/{self.file} has no `{self.old}`")
        return text.replace(self.old, self.new, 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Drop:
    """One policy less: document number `index` of a file of policies."""

    folder: str
    file: str
    index: int
    policy: str

    def __str__(self) -> str:
        return f"{self.folder}: no {self.policy}"

    def apply(self, source: Path, to: Path) -> Path:
        """The changed copy of the folder `source`, as `to`."""
        return _copy(source, to, self.file, self._change)

    def _change(self, text: str) -> str:
        documents = _SEPARATOR.split(text)
        return "---\n".join(documents[: self.index] + documents[self.index + 1 :])


def drops(folder: Path) -> Iterator[Drop]:
    """One mutant for each policy of a folder."""
    for path in sorted(folder.rglob("*.y*ml")):
        for index, document in enumerate(_SEPARATOR.split(path.read_text())):
            name = _NAME.search(document)
            if name and re.search(r"^kind: NetworkPolicy\b", document, re.MULTILINE):
                yield Drop(folder=folder.name, file=str(path.relative_to(folder)), index=index, policy=name[1])


def _copy(source: Path, to: Path, file: str, change: Callable[[str], str]) -> Path:
    shutil.copytree(source, to)
    (to / file).write_text(change((source / file).read_text()))
    return to


EDITS = (
    Edit(folder="acs-security-demos", file="acs_netpols.yaml", old="app: reports", new="app: shipping"),
    Edit(folder="ipblockstest", file="netpols.yaml", old="172.30.0.0/16", new="172.30.0.0/17"),
    Edit(folder="ipblockstest", file="netpols.yaml", old="- port: 53", new="- port: 53\n          endPort: 60"),
    Edit(folder="ipblockstest", file="netpols.yaml", old="tier: frontend", new="k8s-app: heapster"),
    Edit(folder="multiple_topology_resources_1", file="policy1.yaml", old="protocol: TCP", new="protocol: UDP"),
    Edit(folder="multiple_topology_resources_1", file="policy1.yaml", old="app: bank-ui-selector", new="tier: none"),
    Edit(folder="netpol-analysis-example-minimal", file="netpols.yaml", old="port: 53", new="port: 5353"),
    Edit(folder="netpol_named_port_test", file="netpol.yaml", old="protocol: UDP", new="protocol: SCTP"),
    Edit(folder="onlineboutique", file="netpols.yaml", old="k8s-app: kube-dns", new="app: redis-cart"),
    Edit(folder="onlineboutique", file="netpols.yaml", old="app: loadgenerator", new="tier: none"),
    Edit(folder="onlineboutique_workloads", file="netpols.yaml", old="- port: 9555", new="- port: 9556"),
    Edit(folder="with_end_port_example", file="netpol.yaml", old="endPort: 65535", new="endPort: 65534"),
    Edit(folder="with_end_port_example", file="netpol.yaml", old="- port: 1", new="- port: 2"),
)
