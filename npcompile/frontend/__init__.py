"""From text to IR.  Everything that Kubernetes leaves to defaults is decided here."""

from npcompile.frontend.load import Loaded, decode, load

__all__ = ["Loaded", "decode", "load"]
