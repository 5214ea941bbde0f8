"""nftables: lowering to one table of chains, sets and verdict maps, and its text."""

from npcompile.backends.nftables.target import NftablesTarget

__all__ = ["NftablesTarget"]
