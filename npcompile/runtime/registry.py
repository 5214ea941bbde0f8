"""The loaders, by the names of their targets."""

from __future__ import annotations

from collections.abc import Mapping

from npcompile.runtime.iptables import IptablesLoader
from npcompile.runtime.loader import Loader
from npcompile.runtime.nftables import NftablesLoader


def loaders(variant: str | None = None) -> Mapping[str, Loader]:
    """A loader for each target.  `variant`: the back end of iptables, or None for the machine's own."""
    return {one.target: one for one in _loaders(variant)}


def _loaders(variant: str | None) -> tuple[Loader, ...]:
    return (IptablesLoader(variant=variant), NftablesLoader())
