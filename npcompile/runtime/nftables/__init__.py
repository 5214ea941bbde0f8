"""Loading artifacts of the target nftables."""

from npcompile.runtime.nftables.loader import NftablesLoader

__all__ = ["NftablesLoader"]
