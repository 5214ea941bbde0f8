"""The loaders, by the names of their targets."""

from __future__ import annotations

from collections.abc import Mapping

from npcompile.runtime.bpf.loader import BpfLoader
from npcompile.runtime.iptables import IptablesLoader
from npcompile.runtime.loader import Loader
from npcompile.runtime.nftables import NftablesLoader


def loaders(variant: str | None = None, interfaces: Mapping[str, str] | None = None) -> Mapping[str, Loader]:
    """A loader for each target.

    `variant`: the back end of iptables, or None for the machine's own.  `interfaces`: by pod, the one that leads to it.
    """
    bpf = BpfLoader(bindings=interfaces or {})
    known: tuple[Loader, ...] = (IptablesLoader(variant=variant), NftablesLoader(), bpf)
    return {one.target: one for one in known}
