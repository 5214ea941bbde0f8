"""Loading artifacts of the target iptables."""

from npcompile.runtime.iptables.loader import IptablesLoader

__all__ = ["IptablesLoader"]
