"""The loaders, by the names of their targets."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from npcompile.runtime.bpf.loader import BpfLoader
from npcompile.runtime.iptables import IptablesLoader
from npcompile.runtime.loader import Delta, Loader, Stored
from npcompile.runtime.nftables import NftablesLoader


def loaders(variant: str | None = None, interfaces: Mapping[str, str] | None = None) -> Mapping[str, Loader]:
    """A loader for each target.

    `variant`: the back end of iptables, or None for the machine's own.  `interfaces`: by pod, the one that leads to it.
    """
    bpf = BpfLoader(bindings=interfaces or {})
    known: tuple[Loader, ...] = (IptablesLoader(variant=variant), NftablesLoader(), bpf)
    return {one.target: one for one in known}


def planners() -> Mapping[str, Callable[[Stored, Stored], Delta]]:
    """What leads from one artifact to another, by target, where that takes no look at the kernel: what `apply` would do
    if the first one were loaded as its files say.
    """
    return {"iptables": IptablesLoader().between, "nftables": NftablesLoader().between}
