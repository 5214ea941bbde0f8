"""The front end of assertion files (`.npspec`): texts to sentences, or everything that is wrong with them."""

from npcompile.frontend.spec.load import load_assertions

__all__ = ["load_assertions"]
