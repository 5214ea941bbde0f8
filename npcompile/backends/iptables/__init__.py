"""iptables and ipset: lowering to chains and sets, and their text."""

from npcompile.backends.iptables.target import IptablesTarget

__all__ = ["IptablesTarget"]
