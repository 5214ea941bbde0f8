"""The targets, by the names of `--target`."""

from __future__ import annotations

from collections.abc import Mapping

from npcompile.backends.bpf import BpfTarget
from npcompile.backends.iptables import IptablesTarget
from npcompile.backends.nftables import NftablesTarget
from npcompile.backends.target import Target

_ALL: tuple[Target, ...] = (BpfTarget(), IptablesTarget(), NftablesTarget())
TARGETS: Mapping[str, Target] = {target.name: target for target in _ALL}
